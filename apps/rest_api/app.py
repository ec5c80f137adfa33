"""The resource over HTTP: what each method of `/items` and `/items/{id}` does.

A view reads the request, asks the storage, and gives the answer; all that can be wrong is raised,
and `problems` answers it. Preconditions come after all other checks but inside the transaction of
the change (RFC 9110, section 13.2.1).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, current_app, json, request
from werkzeug.exceptions import ClientDisconnected

from apps.kit.events import Events
from apps.kit.wsgi_front import traced
from apps.rest_api import openapi, problems
from apps.rest_api.core import (
    Content,
    Fault,
    Invalid,
    Tags,
    merge_patch,
    parse_json,
    parse_key,
    parse_tags,
    patch_that_fits,
    validated,
)
from apps.rest_api.problems import Problem
from apps.rest_api.schemas import PAGE, PAGE_MOST
from apps.rest_api.storage import Item, Matches, Storage

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


def create_app(storage: Storage, events: Events, *, body_limit: int = 65536) -> Flask:
    """Give the WSGI application over a storage; `body_limit` is in bytes."""
    app = Flask("rest_api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = body_limit
    app.url_map.merge_slashes = False  # //items is nothing, not a redirect
    problems.install(app, events)
    app.wsgi_app = traced(app.wsgi_app, events)  # type: ignore[method-assign, assignment]
    views = Views(storage)
    for rule, methods in views.routes().items():
        for method, view in methods.items():
            app.add_url_rule(rule, f"{method} {rule}", view, methods=[method])
    return app


class Views:
    """What the routes do, over one storage."""

    def __init__(self, storage: Storage) -> None:
        """The storage outlives the views."""
        self._storage = storage

    def routes(self) -> dict[str, dict[str, Callable[..., Response]]]:
        """Give path to method to view."""
        return {
            "/items": {"GET": self.page, "POST": self.create},
            "/items/<int:item_id>": {
                "GET": self.read,
                "PUT": self.replace,
                "PATCH": self.patch,
                "DELETE": self.delete,
            },
            "/health": {"GET": self.health},
            "/openapi.json": {"GET": self.describe},
        }

    def page(self) -> Response:
        """A page of items in order of their ids, and where the next one begins.

        The cursor is the last id seen: items that come or go meanwhile neither repeat nor hide
        others, as they would with an offset.
        """
        wanted = _query({"after": (0, None), "limit": (1, PAGE_MOST)})
        limit = wanted.get("limit", PAGE)
        items = self._storage.page(wanted.get("after", 0), limit + 1)
        shown = [item.document() for item in items[:limit]]
        if len(items) <= limit:
            return _json({"items": shown})
        following = f"/items?after={items[limit - 1].id}&limit={limit}"
        link = {"Link": f'<{following}>; rel="next"'}
        return _json({"items": shown, "next": following}, headers=link)

    def create(self) -> Response:
        """A new item; the server gives its id. With an Idempotency-Key, once however often sent."""
        _query({})
        content = validated(_body(JSON))
        now = time.time()
        item, replayed = self._storage.create(content, _key(), now, _stamp(now))
        headers = {"Location": f"/items/{item.id}"}
        if replayed:
            headers["Idempotency-Replayed"] = "true"
        return _item(item, 201, headers)

    def read(self, item_id: int) -> Response:
        """One item; 304 if the client has it already (If-None-Match)."""
        _query({})
        item = self._storage.get(item_id)
        seen = _tags("If-None-Match")
        if seen is not None and seen.match_weakly(item.etag):
            return Response(status=304, headers={"ETag": item.etag})
        return _item(item)

    def replace(self, item_id: int) -> Response:
        """The item is what the body says from now on."""
        _query({})
        content = validated(_body(JSON))
        return self._change(item_id, lambda _: content)

    def patch(self, item_id: int) -> Response:
        """The item differs in what the merge patch says."""
        _query({})
        patch = patch_that_fits(_body(MERGE_PATCH))
        return self._change(item_id, lambda content: validated(merge_patch(content, patch)))

    def delete(self, item_id: int) -> Response:
        """The item is gone."""
        _query({})
        self._storage.get(item_id)
        self._storage.delete(item_id, _precondition())
        return Response(status=204)

    def health(self) -> Response:
        """Whether the storage answers."""
        _query({})
        return _json({"status": "ok", "items": self._storage.count()})

    def describe(self) -> Response:
        """The OpenAPI document."""
        _query({})
        return _json(openapi.document(current_app.config["MAX_CONTENT_LENGTH"]))

    def _change(self, item_id: int, change: Callable[[Content], Content]) -> Response:
        self._storage.get(item_id)  # an item that is not there needs no precondition: 404
        matches = _precondition()
        return _item(self._storage.change(item_id, matches, change, _stamp(time.time())))


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(value) + "\n", status, headers, mimetype=JSON)


def _item(item: Item, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return _json(item.document(), status, {"ETag": item.etag, **(headers or {})})


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _body(media_type: str) -> Any:
    """Read the request's JSON; 415 if it does not say that it is `media_type`."""
    if request.mimetype != media_type:
        accept = {"Accept-Patch" if media_type == MERGE_PATCH else "Accept": media_type}
        raise Problem(415, f"the body must be {media_type}: say so in Content-Type", headers=accept)
    body = request.get_data()
    if len(body) < (request.content_length or 0):
        raise ClientDisconnected  # half a body may be JSON, and is not what was meant
    return parse_json(body)


def _key() -> str | None:
    """Read the request's Idempotency-Key; 400 if it is malformed."""
    header = request.headers.get("Idempotency-Key")
    try:
        return None if header is None else parse_key(header)
    except Invalid as error:
        raise Problem(400, "a header is malformed; see errors", faults=error.faults) from None


def _tags(name: str) -> Tags | None:
    """Read a header of entity tags; 400 if it is malformed."""
    header = request.headers.get(name)
    try:
        return None if header is None else parse_tags(name, header)
    except Invalid as error:
        raise Problem(400, "a header is malformed; see errors", faults=error.faults) from None


def _query(known: dict[str, tuple[int, int | None]]) -> dict[str, int]:
    """Read the query's integers, each within its bounds; 400 names what is wrong with it."""
    values: dict[str, int] = {}
    faults = []
    for name, given in request.args.lists():
        least, most = known.get(name, (0, None))
        if name not in known:
            what = f"unknown; this resource knows {sorted(known)}" if known else "unknown"
            faults.append(Fault("parameter", name, what))
        elif len(given) > 1 or not re.fullmatch("[0-9]{1,18}", given[0]):
            faults.append(Fault("parameter", name, "must be one non-negative integer"))
        elif not least <= int(given[0]) <= (most or int(given[0])):
            faults.append(Fault("parameter", name, f"must be from {least} to {most}"))
        else:
            values[name] = int(given[0])
    if faults:
        raise Problem(400, "the query has faults; see errors", faults=faults)
    return values


def _precondition() -> Matches:
    """Give what the request's If-Match demands; 428 if it has none (RFC 6585, section 3)."""
    tags = _tags("If-Match")
    if tags is None:
        what = "send the item's ETag in If-Match, or * for whatever version it is"
        raise Problem(428, f"a change must say which version it was made from: {what}")
    return tags.match

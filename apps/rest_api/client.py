"""The client: items by verbs, with what is known of each outcome, and no lost or doubled write.

What makes a repeated request safe is a different thing for each method. A creation carries an
idempotency key. A change carries the tag of the version it was made from, so that the second of
two equal requests finds another version, and the client looks whether that is its own doing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeAlias

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import Unknown
from apps.kit.retry import Deadline
from apps.rest_api.calls import Answer, Resource
from apps.rest_api.core import Content, entity_tag, merge_patch, with_defaults

Item: TypeAlias = Mapping[str, Any]
"""An item as the server gives it: `id`, `version`, `created`, `updated`, and its content."""

JSON = {"Content-Type": "application/json"}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
OWN = ("id", "version", "created", "updated")
"""What the server says of an item, besides its content."""


def content_of(item: Item) -> Content:
    """Give what of an item a client may say."""
    return {name: value for name, value in item.items() if name not in OWN}


class Items:
    """The items of one server. It remembers each version that it saw, and changes that one."""

    def __init__(
        self,
        server: Address,
        events: Events,
        *,
        timeout: float = 5.0,
        rng: random.Random | None = None,
    ) -> None:
        """`timeout` bounds a whole operation, its repetitions included (seconds)."""
        self._http = Resource(server, events, rng or random.Random())
        self._events = events
        self._timeout = timeout
        self.seen: dict[int, Item] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def create(self, content: Any, key: str | None = None) -> Item:
        """Create an item, once for each key; without one, a key of this operation's own."""
        op = self._events.operation()
        key = key or op
        headers = {**JSON, "Idempotency-Key": f'"{key}"'}
        with self._recorded(op, "create", content, key=key) as outcome:
            answer = self._call("POST", "/items", content, headers)
            return outcome.ok(self._see(answer))

    def get(self, item_id: int) -> Item:
        """Read an item; that there is none is an answer, too, if none that can be given here."""
        with self._recorded(self._events.operation(), "get", {"id": item_id}) as outcome:
            answer = self._call("GET", f"/items/{item_id}")
            outcome.ok(None if answer.status == 404 else answer.taken())
        return self._see(answer)

    def pages(self, after: int = 0, limit: int = 100) -> Iterator[list[Item]]:
        """Read page after page, by id."""
        path: str | None = f"/items?after={after}&limit={limit}"
        while path is not None:
            with self._recorded(self._events.operation(), "list", {"path": path}) as outcome:
                page = outcome.ok(self._call("GET", path).taken())
            self.seen.update({item["id"]: item for item in page["items"]})
            yield page["items"]
            path = page.get("next")

    def replace(self, item_id: int, content: Content) -> Item:
        """Replace the version of an item that was seen last, or the current one."""
        return self._change("PUT", item_id, content, content, JSON)

    def patch(self, item_id: int, patch: Any) -> Item:
        """Patch the version of an item that was seen last, or the current one."""
        expected = merge_patch(content_of(self._base(item_id)), patch)
        return self._change("PATCH", item_id, patch, expected, MERGE_PATCH)

    def delete(self, item_id: int) -> None:
        """Delete the version of an item that was seen last, or the current one."""
        base = self._base(item_id)
        headers = {"If-Match": entity_tag(base["version"])}
        value = {"id": item_id, "from": base["version"]}
        with self._recorded(self._events.operation(), "delete", value) as outcome:
            answer = self._call("DELETE", f"/items/{item_id}", None, headers)
            if not (answer.status == 404 and answer.after_unknown):
                answer.taken()  # else it is gone, as was asked, by an attempt that got no answer
            outcome.ok({"id": item_id})
            self.seen.pop(item_id, None)

    def _change(
        self, method: str, item_id: int, body: Any, expected: Content, headers: Mapping[str, str]
    ) -> Item:
        base = self._base(item_id)
        verb = {"PUT": "replace", "PATCH": "patch"}[method]
        value = {"id": item_id, "from": base["version"], "content": expected}
        headers = {**headers, "If-Match": entity_tag(base["version"])}
        with self._recorded(self._events.operation(), verb, value) as outcome:
            answer = self._call(method, f"/items/{item_id}", body, headers)
            if answer.status == 412 and answer.after_unknown:
                answer = self._own_doing(item_id, base["version"] + 1, expected)
            return outcome.ok(self._see(answer))

    def _own_doing(self, item_id: int, version: int, expected: Content) -> Answer:
        """Give the current version if an attempt of unknown outcome made it; else Unknown."""
        answer = self._call("GET", f"/items/{item_id}")
        found = answer.taken()
        if found["version"] == version and content_of(found) == with_defaults(expected):
            return answer
        raise Unknown("no answer at first, and another change came since: read the item again")

    def _base(self, item_id: int) -> Item:
        return self.seen.get(item_id) or self.get(item_id)

    def _see(self, answer: Answer) -> Item:
        item: Item = answer.taken()
        self.seen[item["id"]] = item
        return item

    def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return self._http.call(method, path, Deadline(self._timeout), body, headers or {})

    def _recorded(self, op: str, f: str, value: Any, **fields: Any) -> Operation:
        return Operation(self._events, f, value, op=op, **fields)

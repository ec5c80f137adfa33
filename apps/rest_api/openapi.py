"""The OpenAPI 3.1 document: what `app` does, said so that a program can check it.

Schemathesis is the judge (tests): every answer must be one that stands here, and every request
that stands here as valid must be taken.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeAlias

from apps.rest_api.core import (
    LABEL_KEY,
    LABEL_LENGTH,
    LABELS_MOST,
    NAME_LENGTH,
    NOTE_LENGTH,
    QUANTITY_MOST,
)
from apps.version import __version__

Node: TypeAlias = dict[str, Any]

PAGE = 20
PAGE_MOST = 100
NUMBER_MOST = 10**18 - 1
"""Of ids and cursors: what fits in 18 digits fits in SQLite's integers."""


def document(body_limit: int) -> Node:
    """Give the document of a server that takes bodies of at most `body_limit` bytes."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Items",
            "version": __version__,
            "description": "Items that survive lost answers, lost updates and kill -9. Bodies have"
            f" at most {body_limit} bytes.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/items": {"get": _page(), "post": _create()},
            "/items/{item_id}": {
                "parameters": [_ref("parameters", "ItemId")],
                "get": _read(),
                "put": _change("replaceItem", "Replace an item", "application/json", "Content"),
                "patch": _change(
                    "patchItem", "Patch an item", "application/merge-patch+json", "Patch"
                ),
                "delete": _delete(),
            },
            "/health": {"get": _plain("health", "Whether the storage answers", "Health")},
            "/openapi.json": {"get": _plain("describe", "This document", "Description")},
        },
        "components": {
            "schemas": _schemas(),
            "parameters": _parameters(),
            "headers": _headers(),
            "responses": {f"Problem{status}": _problem(status) for status in _PROBLEMS},
            "links": _links(),
        },
    }


_PROBLEMS = {
    400: "The request is malformed: not JSON, an unknown query parameter, a bad header.",
    404: "There is no such item.",
    408: "The request did not arrive in time.",
    412: "The item has another version than the one that If-Match names.",
    413: "The body is longer than the server takes.",
    415: "The body is not of the media type that the method takes.",
    422: "The item would break its rules, or the Idempotency-Key belongs to another request.",
    428: "A change needs If-Match.",
    500: "The server failed; whether the request was applied is unknown.",
    503: "Too many writers at once; nothing was changed.",
    507: "A bound is reached, or the disk is full; nothing was changed.",
}


def _page() -> Node:
    parameters = [_ref("parameters", "After"), _ref("parameters", "Limit")]
    answers = {"200": _answer("A page of items, by id.", "Page", ["Link"]), **_failures()}
    return _operation("listItems", "List items", answers, parameters=parameters)


def _create() -> Node:
    created = _answer(
        "The item was created; or, with Idempotency-Replayed, had been before.",
        "Item",
        ["ETag", "Location", "Idempotency-Replayed"],
    )
    created["links"] = {name: _ref("links", name) for name in _links()}
    return _operation(
        "createItem",
        "Create an item",
        {"201": created, **_failures(413, 415, 422, 507)},
        parameters=[_ref("parameters", "IdempotencyKey")],
        body=_content("application/json", "Content"),
    )


def _read() -> Node:
    unchanged = {
        "description": "The client has this version already.",
        "headers": {"ETag": _ref("headers", "ETag"), **_always()},
    }
    answers = {
        "200": _answer("The item.", "Item", ["ETag"]),
        "304": unchanged,
        **_failures(404),
    }
    parameters = [_ref("parameters", "IfNoneMatch")]
    return _operation("readItem", "Read an item", answers, parameters=parameters)


def _change(name: str, summary: str, media_type: str, schema: str) -> Node:
    answers = {
        "200": _answer("The item as it is now.", "Item", ["ETag"]),
        **_failures(404, 412, 413, 415, 422, 428, 507),
    }
    parameters = [_ref("parameters", "IfMatch")]
    body = _content(media_type, schema)
    return _operation(name, summary, answers, parameters=parameters, body=body)


def _delete() -> Node:
    answers = {
        "204": {"description": "The item is gone.", "headers": _always()},
        **_failures(404, 412, 428, 507),
    }
    parameters = [_ref("parameters", "IfMatch")]
    return _operation("deleteItem", "Delete an item", answers, parameters=parameters)


def _plain(name: str, summary: str, schema: str) -> Node:
    return _operation(name, summary, {"200": _answer(f"{summary}.", schema), **_failures()})


def _operation(name: str, summary: str, responses: Node, **more: Any) -> Node:
    operation = {"operationId": name, "summary": summary, "responses": responses}
    if "parameters" in more:
        operation["parameters"] = more["parameters"]
    if "body" in more:
        operation["requestBody"] = {"required": True, "content": more["body"]}
    return operation


def _failures(*statuses: int) -> Node:
    every = (400, 408, 500, 503)
    return {str(status): _ref("responses", f"Problem{status}") for status in (*every, *statuses)}


def _problem(status: int) -> Node:
    headers = _always()
    if status == 412:
        headers["ETag"] = _ref("headers", "ETag")
    if status == 503:
        headers["Retry-After"] = _ref("headers", "Retry-After")
    return {
        "description": f"{HTTPStatus(status).phrase}. {_PROBLEMS[status]}",
        "content": _content("application/problem+json", "Problem"),
        "headers": headers,
    }


def _answer(description: str, schema: str, headers: list[str] | None = None) -> Node:
    return {
        "description": description,
        "content": _content("application/json", schema),
        "headers": {name: _ref("headers", name) for name in headers or []} | _always(),
    }


def _always() -> Node:
    return {"X-Request-ID": _ref("headers", "X-Request-ID")}


def _content(media_type: str, schema: str) -> Node:
    return {media_type: {"schema": _ref("schemas", schema)}}


def _ref(kind: str, name: str) -> Node:
    return {"$ref": f"#/components/{kind}/{name}"}


def _links() -> Node:
    """After a creation, the item can be read and changed: what stateful testing follows."""
    known = {"item_id": "$response.body#/id", "If-Match": "$response.header.ETag"}
    return {
        "readIt": {"operationId": "readItem", "parameters": {"item_id": known["item_id"]}},
        "replaceIt": {"operationId": "replaceItem", "parameters": known},
        "patchIt": {"operationId": "patchItem", "parameters": known},
        "deleteIt": {"operationId": "deleteItem", "parameters": known},
    }


def _number(least: int, most: int = NUMBER_MOST) -> Node:
    return {"type": "integer", "minimum": least, "maximum": most}


def _text(least: int, most: int) -> Node:
    return {"type": "string", "minLength": least, "maxLength": most}


def _object(properties: Node, *required: str, closed: bool = True) -> Node:
    node: Node = {"type": "object", "properties": properties}
    if required:
        node["required"] = list(required)
    return node | ({"additionalProperties": False} if closed else {})


def _or_null(node: Node) -> Node:
    return node | {"type": [node["type"], "null"]}


def _labels(value: Node) -> Node:
    return {
        "type": "object",
        "maxProperties": LABELS_MOST,
        "propertyNames": {"pattern": LABEL_KEY},
        "additionalProperties": value,
    }


def _schemas() -> Node:
    label = _text(0, LABEL_LENGTH)
    content = {
        "name": _text(1, NAME_LENGTH),
        "quantity": _number(0, QUANTITY_MOST) | {"default": 0},
        "labels": _labels(label) | {"default": {}},
        "note": _text(0, NOTE_LENGTH),
    }
    time = {"type": "string", "format": "date-time"}
    item = {"id": _number(1), "version": _number(1), **content, "created": time, "updated": time}
    patch = {
        "name": _text(1, NAME_LENGTH),  # null would remove the name, which an item must have
        "quantity": _or_null(_number(0, QUANTITY_MOST)),
        "labels": _or_null(_labels(_or_null(label))),
        "note": _or_null(_text(0, NOTE_LENGTH)),
    }
    fault = {name: {"type": "string"} for name in ("pointer", "header", "parameter", "detail")}
    problem = {
        "title": {"type": "string"},
        "status": _number(400, 599),
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": _object(fault, "detail")},
    }
    return {
        "Content": _object(content, "name"),
        "Patch": _object(patch),
        "Item": _object(item, "id", "version", "name", "quantity", "labels", "created", "updated"),
        "Page": _object(
            {
                "items": {"type": "array", "items": _ref("schemas", "Item"), "maxItems": PAGE_MOST},
                "next": {"type": "string", "format": "uri-reference"},
            },
            "items",
        ),
        "Problem": _object(problem, "title", "status", "detail", closed=False),
        "Health": _object({"status": {"const": "ok"}, "items": _number(0)}, "status", "items"),
        "Description": _object({"openapi": {"type": "string"}}, "openapi", closed=False),
    }


def _parameters() -> Node:
    tags = {
        "type": "string",
        "pattern": r'^(\*|((W/)?"[!#-~]*"(, (W/)?"[!#-~]*")*)?)$',
        "examples": ["*", '"1"'],
    }
    bare = "[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,254}"
    key = {"type": "string", "pattern": rf'^("[ !#-\[\]-~]{{1,255}}"|{bare})$'}
    return {
        "ItemId": {"name": "item_id", "in": "path", "required": True, "schema": _number(1)},
        "After": {
            "name": "after",
            "in": "query",
            "description": "The id after which the page begins.",
            "schema": _number(0),
        },
        "Limit": {
            "name": "limit",
            "in": "query",
            "description": "The most items of a page.",
            "schema": _number(1, PAGE_MOST) | {"default": PAGE},
        },
        "IfMatch": {
            "name": "If-Match",
            "in": "header",
            "required": True,
            "description": "The entity tags of the versions that may be changed; * for any.",
            "schema": tags,
        },
        "IfNoneMatch": {
            "name": "If-None-Match",
            "in": "header",
            "description": "The entity tags of the versions that the client has already.",
            "schema": tags,
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A string, in double quotes where it is not plain. A creation"
            " repeated with it happens once; the server remembers it for a day by default.",
            "schema": key | {"examples": ['"k-17"']},
        },
    }


def _headers() -> Node:
    text = {"type": "string"}
    return {
        "ETag": {"required": True, "schema": {"type": "string", "pattern": '^"[0-9]+"$'}},
        "Location": {"required": True, "schema": text},
        "Link": {"description": "The next page (RFC 8288).", "schema": text},
        "Idempotency-Replayed": {"schema": {"const": "true"}},
        "Retry-After": {"description": "Seconds.", "schema": {"type": "string"}},
        "X-Request-ID": {"description": "The request's, or one made for it.", "schema": text},
    }

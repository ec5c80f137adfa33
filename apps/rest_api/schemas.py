"""The parts that the OpenAPI document is made of: schemas, parameters, headers.

What an item may be is said twice, here for clients and in `core.validated` for the server; the
tests hold the two together.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from apps.rest_api.core import (
    LABEL_KEY,
    LABEL_LENGTH,
    LABELS_MOST,
    NAME_LENGTH,
    NOTE_LENGTH,
    QUANTITY_MOST,
)

Node: TypeAlias = dict[str, Any]

PAGE = 20
PAGE_MOST = 100
NUMBER_MOST = 10**18 - 1
"""Of ids and cursors: what fits in 18 digits fits in SQLite's integers."""


def ref(kind: str, name: str) -> Node:
    """Refer to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


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


def schemas() -> Node:
    """Give the shapes of bodies."""
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
                "items": {"type": "array", "items": ref("schemas", "Item"), "maxItems": PAGE_MOST},
                "next": {"type": "string", "format": "uri-reference"},
            },
            "items",
        ),
        "Problem": _object(problem, "title", "status", "detail", closed=False),
        "Health": _object({"status": {"const": "ok"}, "items": _number(0)}, "status", "items"),
        "Description": _object({"openapi": {"type": "string"}}, "openapi", closed=False),
    }


def parameters() -> Node:
    """Give what requests carry besides bodies."""
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


def headers() -> Node:
    """Give what answers carry besides bodies."""
    text = {"type": "string"}
    return {
        "ETag": {"required": True, "schema": {"type": "string", "pattern": '^"[0-9]+"$'}},
        "Location": {"required": True, "schema": text},
        "Link": {"description": "The next page (RFC 8288).", "schema": text},
        "Idempotency-Replayed": {"schema": {"const": "true"}},
        "Retry-After": {"description": "Seconds.", "schema": {"type": "string"}},
        "X-Request-ID": {"description": "The request's, or one made for it.", "schema": text},
    }

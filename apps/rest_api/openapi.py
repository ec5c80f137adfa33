"""The OpenAPI 3.1 document: what `app` does, said so that a program can check it.

Schemathesis is the judge (tests): every answer must be one that stands here, and every request
that stands here as valid must be taken.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from apps.rest_api.schemas import Node, headers, parameters, ref, schemas
from apps.version import __version__


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
                "parameters": [ref("parameters", "ItemId")],
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
            "schemas": schemas(),
            "parameters": parameters(),
            "headers": headers(),
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
    parameters = [ref("parameters", "After"), ref("parameters", "Limit")]
    answers = {"200": _answer("A page of items, by id.", "Page", ["Link"]), **_failures()}
    return _operation("listItems", "List items", answers, parameters=parameters)


def _create() -> Node:
    created = _answer(
        "The item was created; or, with Idempotency-Replayed, had been before.",
        "Item",
        ["ETag", "Location", "Idempotency-Replayed"],
    )
    created["links"] = {name: ref("links", name) for name in _links()}
    return _operation(
        "createItem",
        "Create an item",
        {"201": created, **_failures(413, 415, 422, 507)},
        parameters=[ref("parameters", "IdempotencyKey")],
        body=_content("application/json", "Content"),
    )


def _read() -> Node:
    unchanged = {
        "description": "The client has this version already.",
        "headers": {"ETag": ref("headers", "ETag"), **_always()},
    }
    answers = {
        "200": _answer("The item.", "Item", ["ETag"]),
        "304": unchanged,
        **_failures(404),
    }
    parameters = [ref("parameters", "IfNoneMatch")]
    return _operation("readItem", "Read an item", answers, parameters=parameters)


def _change(name: str, summary: str, media_type: str, schema: str) -> Node:
    answers = {
        "200": _answer("The item as it is now.", "Item", ["ETag"]),
        **_failures(404, 412, 413, 415, 422, 428, 507),
    }
    parameters = [ref("parameters", "IfMatch")]
    body = _content(media_type, schema)
    return _operation(name, summary, answers, parameters=parameters, body=body)


def _delete() -> Node:
    answers = {
        "204": {"description": "The item is gone.", "headers": _always()},
        **_failures(404, 412, 428, 507),
    }
    parameters = [ref("parameters", "IfMatch")]
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
    return {str(status): ref("responses", f"Problem{status}") for status in (*every, *statuses)}


def _problem(status: int) -> Node:
    headers = _always()
    if status == 412:
        headers["ETag"] = ref("headers", "ETag")
    if status == 503:
        headers["Retry-After"] = ref("headers", "Retry-After")
    return {
        "description": f"{HTTPStatus(status).phrase}. {_PROBLEMS[status]}",
        "content": _content("application/problem+json", "Problem"),
        "headers": headers,
    }


def _answer(description: str, schema: str, headers: list[str] | None = None) -> Node:
    return {
        "description": description,
        "content": _content("application/json", schema),
        "headers": {name: ref("headers", name) for name in headers or []} | _always(),
    }


def _always() -> Node:
    return {"X-Request-ID": ref("headers", "X-Request-ID")}


def _content(media_type: str, schema: str) -> Node:
    return {media_type: {"schema": ref("schemas", schema)}}


def _links() -> Node:
    """After a creation, the item can be read and changed: what stateful testing follows."""
    known = {"item_id": "$response.body#/id", "If-Match": "$response.header.ETag"}
    return {
        "readIt": {"operationId": "readItem", "parameters": {"item_id": known["item_id"]}},
        "replaceIt": {"operationId": "replaceItem", "parameters": known},
        "patchIt": {"operationId": "patchItem", "parameters": known},
        "deleteIt": {"operationId": "deleteItem", "parameters": known},
    }

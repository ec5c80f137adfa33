"""Errors as problem documents (RFC 9457): every answer that is not a success is one.

`type` is left out, which means "about:blank": the status says what kind of problem it is, `detail`
what to do, and `errors` names each place that is wrong.
"""

from __future__ import annotations

import json
import sqlite3
import traceback
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, HTTPException

from apps.kit.events import Events
from apps.rest_api.core import Fault, Invalid, Malformed
from apps.rest_api.storage import Conflict, Full, KeyReused, NoSuchItem

PROBLEM_JSON = "application/problem+json"


class Problem(Exception):
    """Ends a request with this status."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`detail` tells a person what to do."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})


def document(status: int, detail: str, faults: Iterable[Fault] = ()) -> bytes:
    """Give a problem document as bytes."""
    problem: dict[str, object] = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    errors = [fault.document() for fault in faults]
    if errors:
        problem["errors"] = errors
    return json.dumps(problem).encode()


def respond(problem: Problem) -> Response:
    """Give the answer that carries a problem."""
    body = document(problem.status, problem.detail, problem.faults)
    return Response(body, problem.status, problem.headers, mimetype=PROBLEM_JSON)


def install(app: Flask, events: Events) -> None:
    """Have the app answer everything that is raised in it with a problem document."""

    def answer(error: Exception) -> Response:
        problem = _problem(error)
        if problem is None:
            events.emit("error", error=repr(error), trace=traceback.format_exception(error))
            problem = Problem(500, "the server failed; whether the request was applied is unknown")
        return respond(problem)

    app.register_error_handler(Exception, answer)


def _of_werkzeug(error: HTTPException) -> Problem:
    # What the framework found before any of our code ran: no route, no such method, too long.
    details = {
        404: "nothing is here; the resources are /items, /items/{id}, /health and /openapi.json",
        405: "the resource does not have this method; Allow names those that it has",
        413: "the body is longer than the server takes",
    }
    status = error.code or 500
    headers = {
        name: value for name, value in error.get_headers() if name.lower() in {"allow", "location"}
    }
    return Problem(status, details.get(status) or str(error.description), headers=headers)


def _of_sqlite(error: sqlite3.OperationalError) -> Problem | None:
    match error.sqlite_errorcode & 0xFF:  # without the extension of the result code
        case sqlite3.SQLITE_BUSY:
            wait = {"Retry-After": "1"}
            return Problem(503, "too many writers; nothing was changed: try again", headers=wait)
        case sqlite3.SQLITE_FULL:
            return Problem(507, "the disk is full; nothing was changed")
    return None


_GET_ANEW = "GET the item, make the change anew, and send that tag in If-Match"
_KEY_FAULT = Fault("header", "Idempotency-Key", "belongs to a request with another body")
_LATE = "the rest of the body did not come in time; nothing was changed"
_NEW_KEY = "a new request needs a new Idempotency-Key"

_PROBLEMS: dict[type[Exception], Callable[[Any], Problem | None]] = {
    Problem: lambda error: error,
    Malformed: lambda error: Problem(400, str(error)),
    Invalid: lambda error: Problem(
        422, "the item breaks its rules; see errors", faults=error.faults
    ),
    NoSuchItem: lambda error: Problem(404, f"there is no item {error}; GET /items lists them"),
    Conflict: lambda error: Problem(412, f"{error}: {_GET_ANEW}", headers={"ETag": error.etag}),
    KeyReused: lambda _: Problem(422, _NEW_KEY, faults=[_KEY_FAULT]),
    Full: lambda error: Problem(507, str(error)),
    ClientDisconnected: lambda _: Problem(408, _LATE),
    ParseException: lambda error: Problem(400, f"the body is no HTTP message body: {error}"),
    HTTPException: _of_werkzeug,
    sqlite3.OperationalError: _of_sqlite,
}
"""What is answered to what is raised: the first type that fits counts."""


def _problem(error: Exception) -> Problem | None:
    fitting = (answer for kind, answer in _PROBLEMS.items() if isinstance(error, kind))
    return next(fitting, lambda _: None)(error)

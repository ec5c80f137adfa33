"""The server: messages by HTTP POST, as `apps.kit.wsgi` serves them.

HTTP's status says what became of the message's transport: 200 with an answer, whatever the answer
says; 204 where there is nothing to answer; 4xx, with an error object, where the body is no message.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from apps.json_rpc.core import INTERNAL_ERROR, INVALID_REQUEST, error
from apps.json_rpc.endpoint import Endpoint
from apps.json_rpc.methods import OPENING, registry
from apps.kit.events import Events
from apps.kit.ledger import Ledger
from apps.kit.wsgi import Body, Wsgi
from apps.kit.wsgi_front import Environ, StartResponse, Unfit, body_of, respond, traced

JSON = "application/json"
MEDIA_TYPES = (JSON, "application/json-rpc", "application/jsonrequest")


class Calls:
    """The methods over one ledger, over HTTP."""

    def __init__(
        self, ledger: Path, most: int, events: Events, *, body_limit: int, batch_limit: int
    ) -> None:
        """ValueError if the ledger cannot be used: said once, before any worker tries."""
        Ledger(ledger, OPENING, most).close()
        self._path = ledger
        self._most = most
        self._events = events
        self._body_limit = body_limit
        self._batch_limit = batch_limit
        self._ledger: Ledger
        self._endpoint: Endpoint

    def open(self) -> Wsgi:
        """Open the ledger and give the application; each worker does so for itself."""
        self._ledger = Ledger(self._path, OPENING, self._most)
        self._endpoint = Endpoint(registry(self._ledger), self._failed, self._batch_limit)
        return traced(self._serve, self._events)

    def probe(self) -> int:
        """Ask the ledger."""
        return self._ledger.count()

    def complain(self, status: HTTPStatus, detail: str) -> Body:
        """Say it in an error object."""
        code = INVALID_REQUEST if status < HTTPStatus.INTERNAL_SERVER_ERROR else INTERNAL_ERROR
        return Body(JSON, error(code, None, data=detail).encode())

    def _serve(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            if environ.get("PATH_INFO", "/") not in {"", "/"}:
                raise Unfit(HTTPStatus.NOT_FOUND, "nothing is here; calls go to /")
            answer = self._endpoint.answer(body_of(environ, MEDIA_TYPES, self._body_limit))
        except Unfit as unfit:
            complaint = self.complain(unfit.status, str(unfit))
            return respond(start_response, unfit.status, complaint, **unfit.headers)
        if answer is None:
            return respond(start_response, HTTPStatus.NO_CONTENT, None)
        return respond(start_response, HTTPStatus.OK, Body(JSON, answer.encode()))

    def _failed(self, failure: Exception) -> None:
        self._events.emit("error", error=repr(failure), at=_place(failure))


def _place(failure: Exception) -> Any:
    trace = failure.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace and f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"

"""What stands before a WSGI application: a trace and a sample of each request, and bounds on it.

The request's id comes in `X-Request-ID`, so that its sending and its receipt are known to be one
message; it goes back with the answer.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Collection, Iterable
from http import HTTPStatus
from typing import Any, TypeAlias

from apps.kit.events import Events
from apps.kit.metrics import sample
from apps.kit.wsgi import Body, Wsgi

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


def traced(application: Wsgi, events: Events) -> Wsgi:
    """Record each request and its answer, by the id that the client gave or one made here."""

    def serve(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else events.operation()
        peer = f"{environ.get('REMOTE_ADDR', '')}:{environ.get('REMOTE_PORT', 0)}"
        began = time.perf_counter()
        events.recv(
            request_id, peer, method=environ["REQUEST_METHOD"], path=environ.get("PATH_INFO", "")
        )

        def answer(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            took = time.perf_counter() - began
            sample(events, environ["REQUEST_METHOD"], took)
            told = {"status": int(status[:3]), "ms": round(took * 1e3, 3)}
            events.send(f"{request_id}/answer", peer, **told)
            return start_response(status, [*headers, ("X-Request-ID", request_id)], *rest)

        return application(environ, answer)

    return serve


class Unfit(Exception):
    """A request is not what this place takes; nothing was done."""

    def __init__(self, status: HTTPStatus, detail: str, **headers: str) -> None:
        """`detail` tells a person what to do."""
        super().__init__(detail)
        self.status = status
        self.headers = headers


def body_of(environ: Environ, media_types: Collection[str], most: int) -> bytes:
    """Read the whole body of a POST of one of these media types, at most so many bytes; Unfit.

    All of it is read before anything is done: half a document may be one, and is not what was
    meant.
    """
    if environ["REQUEST_METHOD"] != "POST":
        raise Unfit(HTTPStatus.METHOD_NOT_ALLOWED, "calls are made by POST", Allow="POST")
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if kind not in media_types:
        what = f"the body must be {' or '.join(media_types)}: say so in Content-Type"
        raise Unfit(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, what)
    length = int(environ["CONTENT_LENGTH"]) if environ.get("CONTENT_LENGTH") else None
    if (length or 0) > most:
        raise _too_long(most)
    body: bytes = environ["wsgi.input"].read(most + 1 if length is None else length)
    if len(body) > most:
        raise _too_long(most)
    if length is not None and len(body) < length:
        what = "the rest of the body did not come in time; nothing was done"
        raise Unfit(HTTPStatus.REQUEST_TIMEOUT, what)
    return body


def _too_long(most: int) -> Unfit:
    what = f"the body is longer than the {most} bytes that the server takes"
    return Unfit(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, what)


def respond(
    start_response: StartResponse, status: HTTPStatus, answer: Body | None, **headers: str
) -> Iterable[bytes]:
    """Give an answer, or one without a body."""
    fields = list(headers.items())
    if answer is None:
        start_response(f"{status.value} {status.phrase}", fields)
        return []
    fields += [("Content-Type", answer.media_type), ("Content-Length", str(len(answer.body)))]
    start_response(f"{status.value} {status.phrase}", fields)
    return [answer.body]


def with_body(environ: Environ, body: bytes, media_type: str) -> Environ:
    """Give a request again whose body was read, as one of this body."""
    length = str(len(body))
    ours = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": length, "CONTENT_TYPE": media_type}
    return {**environ, **ours}

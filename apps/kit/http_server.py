"""An aiohttp application, served within bounds: connections, patience, and errors that say what.

Every request is traced by the id that it carries in `X-Request-ID`, every error is a problem
document (RFC 9457), and a connection on which no request begins for a while is cut, whether its
peer is silent, drips a request in byte by byte, or does not take its answer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from apps.kit.address import Address
from apps.kit.events import Events

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_NAMED = "X-Request-ID"
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one peer, and all of them, may ask of a server."""

    connections: int = 1000
    """At once; one more is cut off."""
    idle: float = 20.0
    """Seconds without a new request after which a connection is cut."""
    answer: float | None = 10.0
    """Seconds that an answer may take, its request's body included. None: the handlers see to it
    themselves, and `idle` cuts off whoever does not send a body."""
    body: int = 1 << 20
    """Bytes of a request's body."""


class Problem(Exception):
    """Ends a request with this status."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        """`detail` tells a person what to do."""
        super().__init__(detail)
        self.status = status
        self.headers = headers


class HttpServer:
    """An async context manager: the application answers while it is entered."""

    def __init__(
        self,
        listen: Address,
        routes: list[web.RouteDef],
        events: Events,
        bounds: Bounds,
        problem_of: Callable[[Exception], Problem | None] = lambda _: None,
    ) -> None:
        """Serve these routes at `listen`; `problem_of` gives what a handler's own error says."""
        self._listen = listen
        self._bounds = bounds
        self._application = web.Application(
            middlewares=[_served(events, bounds, problem_of)],
            client_max_size=bounds.body,
        )
        self._application.add_routes(routes)
        self._open: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(self._application, access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._connection, *self._listen, backlog=1024)
        except BaseException:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop accepting, let the requests under way finish, then close."""
        self._server.close()
        await self._runner.cleanup()
        for connection in self._open.copy():
            connection.cut()

    @property
    def address(self) -> Address:
        """Where it listens, while it is entered."""
        return Address(*self._server.sockets[0].getsockname()[:2])

    def _connection(self) -> _Connection:
        assert self._runner.server is not None  # noqa: S101  (it was set up)
        return _Connection(self._runner.server, self._open, self._bounds)


class _Connection(RequestHandler):
    """A connection of aiohttp's that is one of so many at most, and is cut when nothing happens."""

    __slots__ = ("_bounds", "_expiry", "_others", "_since", "peer")

    def __init__(self, server: web.Server, others: set[_Connection], bounds: Bounds) -> None:
        self._others = others
        self._bounds = bounds
        self._expiry: asyncio.TimerHandle | None = None
        self.peer = ""
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=bounds.idle,
            access_log=None,  # type: ignore[arg-type]  # as AppRunner hands it on
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")  # None, if it is gone already
        self.peer = str(Address(*peer[:2])) if peer else ""
        if len(self._others) >= self._bounds.connections:
            self.cut()
            return
        self._others.add(self)
        self.begin()
        self._look_at_the_clock()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._others.discard(self)
        if self._expiry is not None:
            self._expiry.cancel()
        super().connection_lost(exc)

    def begin(self) -> None:
        """Take note that a request has begun; to set a timer for each would cost more."""
        self._since = asyncio.get_running_loop().time()

    def _look_at_the_clock(self) -> None:
        """Cut the connection if nothing has begun for long; else look again when that may be."""
        loop = asyncio.get_running_loop()
        left = self._since + self._bounds.idle - loop.time()
        if left > 0:
            self._expiry = loop.call_later(left, self._look_at_the_clock)
        else:
            self.cut()

    def cut(self) -> None:
        """End the connection at once."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()


def _served(
    events: Events, bounds: Bounds, problem_of: Callable[[Exception], Problem | None]
) -> Any:
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer in time; an error is a problem document."""
        try:
            async with asyncio.timeout(bounds.answer):
                return await handler(request)
        except web.HTTPException as error:
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return _problem(error.status, error.reason, allow)
        except TimeoutError:
            said = f"within {bounds.answer:g} s" if bounds.answer else "in time"
            return _problem(503, f"no answer {said}", {"Retry-After": "1"})
        except Exception as error:
            problem = error if isinstance(error, Problem) else problem_of(error)
            if problem is None:
                raise
            return _problem(problem.status, str(problem), problem.headers)

    @web.middleware
    async def served(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record the request and its answer."""
        connection = request.protocol
        assert isinstance(connection, _Connection)  # noqa: S101  the server makes no others
        connection.begin()
        given = request.headers.get(_NAMED, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else events.operation()
        began = time.perf_counter()
        events.recv(request_id, connection.peer, method=request.method, path=request.raw_path[:200])
        response = await answer(request, handler)
        response.headers[_NAMED] = request_id
        took = round((time.perf_counter() - began) * 1e3, 3)
        events.send(f"{request_id}/answer", connection.peer, status=response.status, ms=took)
        return response

    return served


def _problem(status: int, detail: str, headers: dict[str, str]) -> web.Response:
    return web.json_response(
        {"status": status, "detail": detail},
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )

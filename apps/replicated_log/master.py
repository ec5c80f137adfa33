"""The master, live: takes messages over HTTP, and answers each when enough disks have it."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

from apps.kit.address import Address
from apps.kit.effects import Reject, Reply
from apps.kit.events import Events
from apps.kit.http_server import Bounds, HttpServer, Problem
from apps.kit.lifecycle import running
from apps.kit.transport import Transport
from apps.replicated_log.api import Pages, json_body
from apps.replicated_log.core import Master
from apps.replicated_log.requests import BadRequest, asked
from apps.replicated_log.shell import Shell
from apps.replicated_log.stages import Stage
from apps.replicated_log.storage import LogFile

REFUSALS = {
    "read_only": (503, "fewer than a majority of the nodes are there: the log can only be read"),
    "busy": (503, "too many messages wait for their acknowledgement already"),
    "full": (507, "the disk is full; nothing was appended, and nothing is lost"),
    "outdated": (409, "this client has made a later request since; this one was not appended"),
    "lost": (
        503,
        "a secondary has more than this master, whose disk has lost something: see README",
    ),
}
"""What the core's refusals say: the message is not in the log, for certain."""


class _Waiting(NamedTuple):
    """A request that waits for its disks."""

    since: float
    answer: asyncio.Future[Reply | Reject]


class MasterServer:
    """An async context manager that serves the log while it is entered."""

    def __init__(
        self,
        listen: Address,
        core: Master,
        log: LogFile,
        transport: Transport,
        *,
        stage: Stage,
        events: Events,
        bounds: Bounds,
        patience: float,
    ) -> None:
        """`patience` is the seconds that a message may wait for its disks."""
        self._core = core
        self._stage = stage
        self._events = events
        self._log = log
        self._patience = patience
        self._waiting: dict[str, _Waiting] = {}
        self._numbers = itertools.count(1)
        self._shell = Shell(core, log, transport, events, settle=self._settle)
        routes = [*Pages(log, self._health).routes, web.post("/messages", self._append)]
        self._server = HttpServer(listen, routes, events, bounds, problem_of)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._loop = asyncio.get_running_loop()
            await stack.enter_async_context(running(self._give_up()))
            await stack.enter_async_context(self._shell)
            await stack.enter_async_context(self._server)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    @property
    def address(self) -> Address:
        """Where it listens, while it is entered."""
        return self._server.address

    async def _append(self, http: web.Request) -> web.Response:
        """Append a message; 201 once it is on as many disks as were asked for."""
        wanted = asked(await json_body(http), self._core.nodes, self._stage)
        request = f"r{next(self._numbers)}"
        waiting = _Waiting(self._loop.time(), self._loop.create_future())
        self._waiting[request] = waiting
        try:
            self._shell.feed(lambda now: self._core.request(now, request, wanted))
            answer = await waiting.answer
        except TimeoutError:
            raise Problem(
                504,
                f"not on {wanted.w} disks within {self._patience:g} s; it may be in the log, and"
                " may get there still: ask again with the same client and seq",
            ) from None
        finally:
            del self._waiting[request]
            self._core.forget(request)
        if isinstance(answer, Reject):
            status, detail = REFUSALS[answer.reason]
            raise Problem(status, detail)
        return web.json_response(answer.result, status=201)

    def _settle(self, answer: Reply | Reject) -> None:
        waiting = self._waiting.get(answer.request)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_result(answer)

    async def _give_up(self) -> None:
        """Answer those that have waited for long. One clock for all costs less than one for each.

        They are in the order in which they came.
        """
        while True:
            late = self._loop.time() - self._patience
            for waiting in self._waiting.values():
                if waiting.since > late:
                    break
                if not waiting.answer.done():
                    waiting.answer.set_exception(TimeoutError())
            await asyncio.sleep(self._patience / 10)

    def _health(self) -> dict[str, Any]:
        secondaries = {
            secondary.name: {"state": secondary.state, "length": secondary.acked}
            for secondary in self._core.secondaries.values()
        }
        told = {"status": self._core.state, "role": "master", "node": self._events.node}
        length = {"length": self._log.length, "log": self._log.identity}
        return {**told, "stage": self._stage.number, **length, "secondaries": secondaries}


def problem_of(error: Exception) -> Problem | None:
    """Give what an error says; None if it is a fault of the server."""
    return Problem(400, str(error)) if isinstance(error, BadRequest) else None

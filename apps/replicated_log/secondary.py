"""A secondary, live: keeps what the master sends, and lets everybody read it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.http_server import Bounds, HttpServer
from apps.kit.transport import Transport
from apps.replicated_log.api import Pages
from apps.replicated_log.follower import SILENCE, Follower
from apps.replicated_log.shell import Shell
from apps.replicated_log.storage import LogFile


class SecondaryServer:
    """An async context manager that follows the master, and serves, while it is entered."""

    def __init__(
        self,
        listen: Address,
        core: Follower,
        log: LogFile,
        transport: Transport,
        *,
        events: Events,
        bounds: Bounds,
        delay: float,
    ) -> None:
        """Each write waits for `delay` seconds."""
        self._core = core
        self._log = log
        self._events = events
        self._shell = Shell(core, log, transport, events, delay=delay)
        self._server = HttpServer(listen, Pages(log, self._health).routes, events, bounds)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
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

    def _health(self) -> dict[str, Any]:
        follows = asyncio.get_running_loop().time() - self._core.heard <= SILENCE
        status = "disk_full" if self._core.full else "ok" if follows else "no_master"
        told = {"status": status, "role": "secondary", "node": self._events.node}
        return {**told, "length": self._log.length, "log": self._log.identity}

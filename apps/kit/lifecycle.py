"""The life of a service under systemd: ready when it serves, watched while it does, stopped well.

A component is an async context manager: entering it opens what it serves, leaving it drains and
closes. READY is said between the two, the watchdog is fed from the same event loop that serves
(a loop that hangs is killed and restarted), and SIGTERM ends it.

Source: sd_notify(3), systemd.service(5) `Type=notify`, `WatchdogSec=`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from apps.kit.events import Events


class CannotServe(Exception):
    """What a service needs could not be opened: a port that is taken, a disk that is full."""


def notify(state: str) -> None:
    """Tell the service manager, if one listens; `state` as in sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with (
        contextlib.suppress(OSError),  # a manager that cannot hear is no reason to stop serving
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.sendto(state.encode(), address)


def watchdog_interval() -> float | None:
    """Give the seconds between two signs of life, a third of what is allowed; None if unwatched."""
    allowed = int(os.environ.get("WATCHDOG_USEC") or 0)
    return allowed / 3e6 if allowed > 0 else None


async def _feed_watchdog() -> None:
    interval = watchdog_interval()
    while interval is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)


async def _serve(events: Events, serving: AbstractAsyncContextManager[Any]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(serving)
        except OSError as error:
            raise CannotServe(f"cannot serve: {error}") from error
        gc.freeze()  # what was loaded until now stays, and need not be searched for garbage
        events.emit("ready", pid=os.getpid())
        notify("READY=1")
        watchdog = asyncio.create_task(_feed_watchdog())
        try:
            await stop.wait()
        finally:
            watchdog.cancel()
        notify("STOPPING=1")
        events.emit("stopping")
    events.emit("stopped")


def run_service(events: Events, serving: AbstractAsyncContextManager[Any]) -> None:
    """Serve until SIGTERM or SIGINT, then leave `serving`, which drains.

    Where serving cannot begin, the process ends with status 1 and a line that says why.
    """
    try:
        asyncio.run(_serve(events, serving))
    except CannotServe as error:
        events.emit("failed", error=str(error))
        sys.exit(str(error))


@contextlib.asynccontextmanager
async def running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a service's loops while this is entered; one that fails ends it, and the process."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

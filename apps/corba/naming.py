"""The naming service: omniORB's own daemon, under a parent that says when it really serves.

The daemon knows nothing of sd_notify, and the package's own `omniNames` command is a wrapper that
leaves it behind when it is killed. So this process starts the program itself, bound to one address,
asks it by CORBA whether it answers, says READY then, and ends with it: systemd starts both anew.

What it knows lies in a directory that goes with it. Names are their servants' to renew (see
`names.py`), so there is nothing on a disk that could be lost, or be stale.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import jeteve_omniorb

from apps.corba.names import Names
from apps.corba.orb import start
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.retry import Deadline

PROGRAM = Path(jeteve_omniorb.__file__).parent / "bin" / "omniNames"
BEGIN = 20.0
"""Seconds that it has to answer for the first time."""
LOOK = 1.0
"""Seconds between two looks whether it answers, and that it has to do so."""
MISSES = 4
"""Looks in a row without an answer after which it is ended."""


class NamingService:
    """An async context manager that serves names while it is entered."""

    def __init__(self, listen: Address, events: Events, *, idle: int, threads: int) -> None:
        """Close connections after `idle` seconds of silence; answer so many at once."""
        self._listen = listen
        self._events = events
        self._options = {
            "endPoint": f"giop:tcp:{listen}",
            "giopMaxMsgSize": 1 << 16,
            "threadPerConnectionPolicy": 0,
            "maxServerThreadPoolSize": threads,
            "inConScanPeriod": idle,
            "serverCallTimeOutPeriod": idle * 1000,
            "scanGranularity": 1,
        }

    async def __aenter__(self) -> Self:
        # Else whoever has the port already would answer for a daemon that could not have it.
        family = socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET
        socket.create_server(self._listen, family=family).close()
        self._names = Names(start({}), self._listen, LOOK)
        self._place = tempfile.TemporaryDirectory(prefix="omninames-")
        options = [text for k, v in self._options.items() for text in (f"-ORB{k}", str(v))]
        self._events.emit("begins", knows=0)
        self._daemon = await asyncio.create_subprocess_exec(
            str(PROGRAM),
            *("-start", str(self._listen.port), "-always", "-nohostname"),
            *("-datadir", self._place.name, "-errlog", os.devnull, *options),
        )
        deadline = Deadline(BEGIN)
        while not await self._answers():
            if self._daemon.returncode is not None or deadline.passed:
                await self._end()
                raise OSError(f"omniNames does not answer at {self._listen}: is the port taken?")
            await asyncio.sleep(0.05)
        self._look = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the daemon."""
        self._look.cancel()
        await self._end()

    async def _answers(self) -> bool:
        return await asyncio.to_thread(self._names.answers)

    async def _watch(self) -> None:
        """End this process when the daemon has ended, or answers no longer."""
        missed = 0
        while self._daemon.returncode is None and missed < MISSES:
            await asyncio.sleep(LOOK)
            missed = 0 if await self._answers() else missed + 1
        self._events.emit("error", error="omniNames ended, or answers no longer")
        os.kill(os.getpid(), signal.SIGTERM)

    async def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._daemon.terminate()
        try:
            async with asyncio.timeout(2):
                await self._daemon.wait()
        except TimeoutError:
            self._daemon.kill()
            await self._daemon.wait()
        self._place.cleanup()

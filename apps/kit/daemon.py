"""Somebody else's daemon as a component: started, asked whether it serves, ended with its parent.

A broker or a database knows nothing of this lab's units: whether it is ready, that it still
answers and what it does must be found out from outside. So a component of ours is its parent. It
starts the program, says READY when a probe has been answered, keeps asking, and ends when the
daemon ends or falls silent: systemd starts both anew. The daemon's lines become its events.

    class Broker(Daemon):
        def command(self): return ["/usr/sbin/mosquitto", "-c", "mosquitto.conf"]
        async def answers(self): …

It is in the same unit, hence in the same sandbox, and faults meet both: a kill ends the unit whole,
a pause stops every process of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import ClassVar, Self

from apps.kit.events import Events
from apps.kit.retry import Deadline

LOOK = 1.0
"""Seconds between two looks whether it answers."""
MISSES = 5
"""Looks in a row without an answer after which it is ended."""
LONGEST = 1 << 16
"""Bytes of the daemon's longest line; more of it is another line."""


class Daemon(ABC):
    """An async context manager: the daemon serves while it is entered."""

    name: ClassVar[str]
    """What it is called in errors: `mosquitto`."""
    begin: float = 60.0
    """Seconds that it has to answer for the first time; below the unit's TimeoutStartSec.

    One that ends is not waited for: this is for a machine that is emulated, or busy.
    """
    end: float = 3.0
    """Seconds that it has to end after SIGTERM; below the unit's TimeoutStopSec."""

    def __init__(self, events: Events) -> None:
        """Tell its lines as `said` events."""
        self.events = events

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Write what configuration it needs; give the program and its arguments."""

    @abstractmethod
    async def answers(self) -> bool:
        """Whether it serves; False or an OSError if not, soon (it is asked every second)."""

    def environment(self) -> Mapping[str, str]:
        """What is added to the environment that it inherits."""
        return {}

    def heard(self, line: str) -> None:
        """Take a line that it wrote; told as it is, unless a subclass knows better."""
        self.events.emit("said", line=line)

    async def __aenter__(self) -> Self:
        """Start it, and wait until it serves. OSError if it ends or does not answer in time."""
        self._process = await asyncio.create_subprocess_exec(
            *self.command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LONGEST,
            # Its own readiness protocol, where it has one, would speak too early for the parent.
            env={k: v for k, v in os.environ.items() if k not in _NOTIFY} | {**self.environment()},
        )
        self._listening = asyncio.create_task(self._listen())
        deadline = Deadline(self.begin)
        while not await self._serves():
            if self._process.returncode is not None or deadline.passed:
                status = self._process.returncode
                await self._end()
                raise OSError(
                    f"{self.name} did not begin to serve: "
                    + (f"no answer in {self.begin:g} s" if status is None else f"status {status}")
                    + "; its own lines above say more"
                )
            await asyncio.sleep(0.05)
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self._watching.cancel()
        await self._end()

    async def _serves(self) -> bool:
        try:
            async with asyncio.timeout(LOOK):
                return await self.answers()
        except (OSError, TimeoutError, EOFError):
            return False

    async def _listen(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101  (it was asked for)
        while True:
            try:
                line = await stdout.readuntil()
            except asyncio.IncompleteReadError as last:
                if last.partial:
                    self.heard(last.partial.decode(errors="replace"))
                return
            except asyncio.LimitOverrunError as long:
                line = await stdout.readexactly(long.consumed)
            if text := line.decode(errors="replace").rstrip():
                self.heard(text)

    async def _watch(self) -> None:
        """End this process when the daemon has ended, or answers no longer."""
        missed = 0
        ended = asyncio.create_task(self._process.wait())
        while missed < MISSES:
            await asyncio.wait([ended], timeout=LOOK)
            if ended.done():
                break
            missed = 0 if await self._serves() else missed + 1
        if not ended.done():
            self.events.emit("error", error=f"{self.name} answers no longer")
        elif ended.result():
            self.events.emit("error", error=f"{self.name} ended with status {ended.result()}")
        # Status 0 is an end that it was asked for: systemd asks all processes of a unit at once.
        os.kill(os.getpid(), signal.SIGTERM)

    async def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(self.end):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._listening


_NOTIFY = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}

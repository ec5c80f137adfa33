"""One stage as a child process, with a pipe to it and a pipe from it that nobody else holds.

Pipes of one's own are what makes a killed stage harmless. A queue that processes share
(`multiprocessing.Queue`) has a lock in it, and a process killed while it holds that lock stops all
others for ever; and a pipe whose writing end is open in a second process has no end when the first
one dies. Here the end of the pipe is the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from apps.kit.events import Events

_LONGEST = 16384


class Child:
    """An async context manager: the process runs inside, and is gone afterwards."""

    def __init__(self, name: str, *stage: object) -> None:
        """`stage` is what `apps.concurrency.filters` is started with."""
        self.name = name
        self._stage = [*map(str, stage)]

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "apps.concurrency.filters", *self._stage),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST,
            start_new_session=True,  # Ctrl-C is for the supervisor, which ends its children
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        await self._gone()
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()
            with contextlib.suppress(OSError):
                await stdin.wait_closed()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def started(self, events: Events) -> None:
        """Record who runs."""
        events.emit("started", stage=self._stage[0], name=self.name, pid=self.pid)

    def say(self, line: str) -> None:
        """Write a line to it; if it is gone, the end of its other pipe will tell."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(f"{line}\n".encode())

    def kill(self) -> None:
        """End it for certain, if it has not ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def lines(
        self, patience: float, owed: Callable[[], object] = lambda: None
    ) -> AsyncIterator[str]:
        """Yield its lines until its pipe ends.

        While it owes something, the same for `patience` seconds, it is stuck, and is killed.
        """
        stdout = self._process.stdout
        while stdout is not None:
            debt = owed()
            try:
                async with asyncio.timeout(patience):
                    line = await stdout.readline()
            except TimeoutError:
                if debt is not None and debt == owed():
                    self.kill()
                continue
            except ValueError:  # a line that is no stage's
                self.kill()
                return
            if not line.endswith(b"\n"):
                return
            yield line.decode("ascii", "backslashreplace").rstrip("\n")

    async def end(self) -> str:
        """Wait until it is gone, and say how it ended."""
        self._close_stdin()
        try:
            async with asyncio.timeout(1):
                status = await self._gone()
        except TimeoutError:
            self.kill()
            status = await self._gone()
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    async def _gone(self) -> int:
        """Wait for its end; lines that nobody read are dropped, or asyncio would wait for them."""
        if self._process.stdout is not None:
            await self._process.stdout.read()
        return await self._process.wait()

    def _close_stdin(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

"""Round after round, as a unit: which one is next, the files say that it left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from apps.concurrency.pool import PoolRound
from apps.concurrency.results import Round, forget_old, next_round, read
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Rejected
from apps.kit.retry import set_within

_MOST_TOLD = 1000
"""Squares that an event tells one by one."""
_DRAIN = 4.0
"""Seconds that a round has to end when it is told to; systemd allows 5."""


class Working(Protocol):
    """A round under way."""

    @property
    def given_up(self) -> list[int]:
        """The numbers that nobody could square."""

    async def run(self) -> bool:
        """Work; whether all is done."""

    def drain(self) -> None:
        """End as soon as what is under way is done."""


class Threads:
    """A pool's round, for an event loop."""

    def __init__(self, round_: PoolRound) -> None:
        """It is worked in a thread of its own."""
        self._round = round_

    @property
    def given_up(self) -> list[int]:
        """The numbers at which consumer after consumer died."""
        return self._round.given_up

    async def run(self) -> bool:
        """Work; whether all is done."""
        return await asyncio.to_thread(self._round.work)

    def drain(self) -> None:
        """Finish what is in the queue, and no more."""
        self._round.drain()


async def work_once(events: Events, round_: Round, working: Working) -> bool:
    """Work a round as `work` does; Ctrl-C and SIGTERM drain it."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.drain)
    return await work(events, round_, working)


async def work(events: Events, round_: Round, working: Working) -> bool:
    """Work a round and read back what was kept of it; whether all is done.

    It is an operation: `ok` if all is kept, Rejected if some numbers were given up.
    """
    first, last, path = round_
    with Operation(events, "square", [first, last]) as operation:
        if not await working.run():
            events.emit("broken_off", first=first, last=last)
            return False
        pairs, closed = read(path)
        told = pairs if len(pairs) <= _MOST_TOLD else None
        events.emit(
            "finished",
            first=first,
            last=last,
            kept=len(pairs),
            closed=closed,
            output=told,
            given_up=working.given_up,
        )
        if working.given_up:
            raise Rejected(f"given up, for whoever took it died: {working.given_up}")
        operation.ok(len(pairs))
    return True


class Rounds:
    """An async context manager that works one round after the other, with a rest between.

    SIGHUP: there is no rest before the next round.
    """

    def __init__(
        self,
        events: Events,
        directory: Path,
        begin: Callable[[Round], Working],
        *,
        count: int,
        rest: float,
        keep: int,
    ) -> None:
        """Each round has `count` numbers; the files of the last `keep` rounds stay."""
        self._events = events
        self._directory = directory
        self._begin = begin
        self._count = count
        self._rest = rest
        self._keep = keep
        self._stopping = False
        self._rested = asyncio.Event()
        self._working: Working | None = None

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._rested.set)
        self._task = asyncio.create_task(self._go_on())
        self._task.add_done_callback(_end_with_it)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping = True
        self._rested.set()
        if self._working is not None:
            self._working.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN):
                await self._task
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)

    async def _go_on(self) -> None:
        while not self._stopping:
            self._rested.clear()
            try:
                await self._next()
            except (CallFailed, OSError) as error:
                self._events.emit("failed", error=str(error))
            await set_within(self._rested, self._rest)

    async def _next(self) -> None:
        round_ = next_round(self._directory, self._count)
        self._working = self._begin(round_)
        try:
            await work(self._events, round_, self._working)
        finally:
            self._working = None
        forget_old(self._directory, self._keep)


def _end_with_it(task: asyncio.Task[None]) -> None:
    """End the unit if its rounds ended by themselves: systemd starts it anew."""
    if not task.cancelled() and task.exception() is not None:
        signal.raise_signal(signal.SIGTERM)

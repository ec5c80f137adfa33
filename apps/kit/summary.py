"""How a client measures: many calls, by several callers at once, summed up in one event.

A load is so many calls, or goes on for a time, whatever becomes of each call.

The load is closed-loop: each caller asks again when it was answered, so a server that stalls is
asked less, and the quantiles are those of the calls that were made (G. Tene, "How NOT to Measure
Latency", 2013, names what that leaves out: coordinated omission).
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import signal
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from apps.kit.events import Events
from apps.kit.outcome import CallFailed
from apps.kit.retry import Deadline, set_within

Connection = TypeVar("Connection")
Client = TypeVar("Client", bound=AbstractContextManager[Any])
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Load:
    """How many calls are made, and for how long, by how many callers at once.

    Each caller rests `think` seconds between two calls, so that together they make at most
    `callers / think` a second; `seed` is of all that is random.
    """

    count: int | None = None
    callers: int = 1
    think: float = 0.0
    seed: int = 0
    seconds: float = math.inf
    """No call begins later; one that has begun ends as it may."""


async def crowd(
    events: Events,
    connect: Callable[[random.Random], AbstractAsyncContextManager[Connection]],
    ask: Callable[[Connection, random.Random], Awaitable[object]],
    load: Load,
) -> None:
    """Let the callers of a load ask until all its calls were made or its time is over, and sum up.

    SIGTERM or Ctrl-C ends its time. Each caller has a connection and a randomness of its own. `ask`
    makes one call and records its outcome; a call that fails is counted, and the next one is made.
    """
    over = asyncio.Event()
    ends = Deadline(load.seconds)
    numbers = itertools.count() if load.count is None else range(load.count)
    calls = itertools.takewhile(lambda _: not (ends.passed or over.is_set()), numbers)
    latencies: list[float] = []
    failed = 0

    async def one(name: str) -> None:
        nonlocal failed
        rng = random.Random(f"{load.seed}/{name}")
        async with connect(rng) as connection:
            for _ in calls:
                began = time.perf_counter()
                try:
                    await ask(connection, rng)
                except CallFailed as error:
                    failed += 1
                    events.say(f"{type(error).__name__.lower()}: {error}")
                else:
                    latencies.append(time.perf_counter() - began)
                if load.think:
                    await set_within(over, min(load.think, ends.remaining))

    began = time.perf_counter()
    with set_by_signals(over):
        await asyncio.gather(*(one(f"{events.node}-{number}") for number in range(load.callers)))
    summarise(events, latencies, failed, time.perf_counter() - began)


@contextmanager
def set_by_signals(over: asyncio.Event) -> Iterator[None]:
    """Have the first SIGTERM or Ctrl-C set the event; a second one ends the process."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def end() -> None:
        over.set()
        forget()

    def forget() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        forget()


class Threaded(Generic[Client]):
    """A caller whose client blocks: it has a thread of its own, which is left in good order."""

    def __init__(self, client: Client) -> None:
        """The client is entered and left in that thread, too."""
        self.client = client
        self._thread = ThreadPoolExecutor(max_workers=1)

    async def __aenter__(self) -> Self:
        await self.run(self.client.__enter__)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.run(lambda: self.client.__exit__(None, None, None))
        self._thread.shutdown()

    async def run(self, function: Callable[[], Result]) -> Result:
        """Call it in this caller's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def summarise(events: Events, latencies: Sequence[float], failed: int, took: float) -> None:
    """Give the rate (per second) and the quantiles (ms) of these latencies (s), had in `took` s."""
    cuts = (
        statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [*latencies, 0.0][:1] * 99
    )
    rate, p50, p99 = len(latencies) / took, cuts[49] * 1e3, cuts[98] * 1e3
    summary = {"rate": round(rate, 1), "p50_ms": round(p50, 3), "p99_ms": round(p99, 3)}
    events.emit("summary", answered=len(latencies), failed=failed, **summary)
    events.say(
        f"{len(latencies)} answered, {failed} failed: {rate:.0f} a second, "
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    )

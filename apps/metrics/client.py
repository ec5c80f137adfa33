"""The clients: publish numbered samples, hand one to the agent, ask what the database has."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.metrics import Samples, sample
from apps.kit.outcome import Refused, Unknown
from apps.kit.summary import set_by_signals
from apps.metrics.core import LATENCY, NUMBERED, Answer, Sample, Stamps, encode, ranges
from apps.metrics.influx import Influx, select
from apps.metrics.uplink import Uplink

PATTERN = "metrics"


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is published: so many samples, or for so many seconds."""

    count: int | None
    seconds: float | None
    batch: int
    rate: float
    """Samples a second; 0 is as fast as they are taken."""
    twice: bool
    """Each batch goes twice, as if its first answer were lost."""
    timeout: float
    """Seconds that it waits for an acknowledgement."""


class Publisher:
    """Publishes samples that are numbered from 0: a sample's value is its number.

    So what the database has of this source can be compared with what was sent, one by one.
    """

    def __init__(self, collector: Address, events: Events, amount: Amount) -> None:
        """The batches go straight to the collector: no agent is between."""
        self._collector = collector
        self._events = events
        self._amount = amount
        self._stamps = Stamps()
        self._made = 0
        self._kept = 0
        self._put = 0
        self._batches: dict[int, list[int]] = {}
        """First and last of each batch that is under way, by its number."""
        self._began: dict[int, float] = {}
        """When each of them was handed over."""
        self._room = asyncio.Event()

    async def publish(self) -> None:
        """Publish all, and sum up; Unknown if some of it may not have been kept."""
        began = time.perf_counter()
        async with Uplink(self._collector, self._events, lambda _: None, self._settled) as uplink:
            self._uplink = uplink
            await _until_signalled(self._make())
            await self._settles(lambda: uplink.window.empty)
            lost = self._give_up(uplink)
            full = uplink.full
        took = time.perf_counter() - began
        told = {"sent": self._made, "kept": self._kept, "full": full, "lost": lost}
        self._events.emit("summary", **told, rate=round(self._kept / took, 1), source=uplink.source)
        self._events.say(
            f"{self._kept} of {self._made} samples kept as {uplink.source}, {self._kept / took:.0f}"
            f" a second; {full} times there was no room"
        )
        if lost:
            raise Unknown(f"{lost} batches were not acknowledged in time; they may be kept")

    async def _make(self) -> None:
        """Make samples until there are enough, time is over, or too long nothing was kept."""
        amount, loop = self._amount, asyncio.get_running_loop()
        began = loop.time()
        ends = math.inf if amount.seconds is None else began + amount.seconds
        most = math.inf if amount.count is None else amount.count
        while loop.time() < ends and self._made < most:
            if not await self._settles(lambda: self._uplink.window.open, ends):
                break
            self._batch(int(min(amount.batch, most - self._made)))
            due = began + self._made / amount.rate if amount.rate else 0.0
            await asyncio.sleep(max(0.0, min(due, ends) - loop.time()))

    async def _settles(self, condition: Callable[[], bool], ends: float = math.inf) -> bool:
        """Wait for a condition while batches are settled; whether it came true in time."""
        now = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(now + self._amount.timeout, ends)):
                while not condition():
                    self._room.clear()
                    await self._room.wait()
        return condition()

    def _batch(self, size: int) -> None:
        numbers = range(self._made, self._made + size)
        source, now = self._uplink.source, time.time_ns()
        payload = encode(
            self._events.node,
            [Sample(self._stamps.give(now, now), PATTERN, NUMBERED, source, n) for n in numbers],
        )
        self._made += size
        for _ in range(2 if self._amount.twice else 1):
            self._put += 1
            self._batches[self._put] = [numbers[0], numbers[-1]]
            self._began[self._put] = time.perf_counter()
            self._tell("invoke", self._put)
            self._uplink.put(self._put, payload)
        self._uplink.wake()

    def _settled(self, number: int, answer: Answer, why: str) -> None:
        first, last = self._batches[number]
        if answer is Answer.KEPT and why == "0":
            self._kept += last - first + 1
            sample(self._events, "publish", time.perf_counter() - self._began.pop(number))
            self._tell("ok", number)
        else:
            self._tell("fail", number, error=why)
        del self._batches[number]
        self._room.set()

    def _give_up(self, uplink: Uplink) -> int:
        """Say of each batch that is left whether it may have been kept."""
        left = list(uplink.window.left())
        for number, doubtful in left:
            self._tell("unknown" if doubtful else "fail", number, error="not acknowledged in time")
        return len(left)

    def _tell(self, event: str, number: int, **fields: str) -> None:
        source = self._uplink.source
        op = f"{source}#{number}"
        value = self._batches[number]
        self._events.emit(event, op=op, f="publish", value=value, source=source, **fields)


async def _until_signalled(work: Coroutine[Any, Any, None]) -> None:
    """Work until it is done, or SIGTERM or Ctrl-C ends it."""
    over = asyncio.Event()
    with set_by_signals(over):
        tasks = [asyncio.create_task(work), asyncio.create_task(over.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not tasks[0].cancelled():
        tasks[0].result()


def hand_over(events: Events, operation: str, ms: float, count: int) -> None:
    """Hand samples to this host's agent as any pattern does, and say how many were dropped."""
    samples = Samples()
    dropped = 0
    for _ in range(count):
        before = samples.dropped
        samples.add(events.pattern, events.component, operation, ms / 1e3)
        dropped += samples.dropped > before
    samples.tell_dropped(events.pattern, events.component)
    untold = samples.dropped
    samples.close()
    events.emit("summary", operation=operation, taken=count - dropped, dropped=dropped)
    events.say(f"{count - dropped} taken by this host's agent, {dropped} dropped")
    if dropped == count:
        raise Refused("no agent takes samples on this host")
    if untold:
        raise Unknown(f"{untold} of them were dropped, and the agent could not be told")


def query(store: Address, events: Events, database: str, asked: str) -> None:
    """Ask InfluxQL, and show what it finds."""
    influx = Influx(store, database)
    try:
        found = influx.query(asked)
    finally:
        influx.close()
    events.emit("answer", query=asked, series=found)
    for series in found:
        tags = series.get("tags", {})
        events.say(" ".join([series.get("name", ""), *(f"{k}={v}" for k, v in tags.items())]))
        events.say("  ".join(series["columns"]))
        for row in series["values"]:
            events.say("  ".join(map(str, row)))


def stored(store: Address, events: Events, database: str, sources: Sequence[str]) -> None:
    """Tell which of some sources' numbers the database has, and how many points it counts."""
    influx = Influx(store, database)
    try:
        for source in sources:
            tags = {"pattern": PATTERN, "component": NUMBERED, "operation": source}
            numbers = [int(row[1]) for row in _rows(influx.query(select("ms", LATENCY, **tags)))]
            counts = _rows(influx.query(select("count(ms)", LATENCY, **tags)))
            counted = sum(int(row[1]) for row in counts)
            found: dict[str, Any] = {"source": source, "points": counted, "has": ranges(numbers)}
            events.emit("stored", **found)
            events.say(f"{source}: {counted} points, numbers {found['has']}")
    finally:
        influx.close()


def _rows(series: Iterable[dict[str, Any]]) -> Iterable[list[Any]]:
    return (row for one in series for row in one["values"])

"""The publisher: a sensor, whose readings are published at each quality of service.

What it has not had confirmed it sends again when it is connected again, for as long as its process
lives: paho has that in memory alone. So what is under way when the process ends is unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from types import TracebackType
from typing import Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Rejected
from apps.mqtt import topics
from apps.mqtt.core import Message
from apps.mqtt.session import Session
from apps.mqtt.wire import Terms

_MOST = 1000
"""Readings that wait to be confirmed; then it takes no more until the broker is back."""
_DRAIN = 2.0


class Publisher:
    """An async context manager: it publishes while it is entered."""

    def __init__(self, broker: Address, terms: Terms, interval: float, events: Events) -> None:
        """Take a reading every `interval` seconds, and publish it once at each QoS.

        The terms do not resume a session: an earlier process's identifiers would be taken for ours.
        """
        self._events = events
        self._interval = interval
        self._rng = random.Random(events.node)
        self._tasks: set[asyncio.Task[None]] = set()
        self._session = Session(broker, topics.present(terms), events)

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        self._measuring = asyncio.create_task(self._measure())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take no more readings, and have those under way confirmed, if that is soon."""
        self._measuring.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._measuring
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_DRAIN if self._session.up else 0)
        await topics.leave(self._session)
        await self._session.__aexit__(kind, error, trace)
        await asyncio.gather(*self._tasks)

    async def _measure(self) -> None:
        seq, value = 0, 20.0
        while True:
            seq += 1
            value += self._rng.uniform(-0.5, 0.5)
            for qos in (0, 1, 2):
                self._publish(seq, value, qos)
            await asyncio.sleep(self._interval)

    def _publish(self, seq: int, value: float, qos: int) -> None:
        if self._session.unconfirmed >= _MOST or (qos == 0 and not self._session.up):
            self._events.bounded("skipped", seq=seq, qos=qos)
            return
        topic = f"readings/{self._events.node}/{qos}"
        op = Operation(self._events, f"publish{qos}", seq, topic=topic)
        message = topics.reading(topic, op.op, seq, value, qos)
        if qos == 0:  # nobody confirms it: there is no more to tell than that it was sent
            with contextlib.suppress(Rejected):
                self._session.post(message).add_done_callback(_forget)
            return
        task = asyncio.create_task(self._confirmed(op, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _confirmed(self, op: Operation, message: Message) -> None:
        with contextlib.suppress(CallFailed), op:
            op.ok(await self._session.post(message))


def _forget(done: asyncio.Future[str]) -> None:
    if not done.cancelled():
        done.exception()

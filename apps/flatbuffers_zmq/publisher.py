"""The publisher: one socket, bound; what it publishes goes to whoever has subscribed by then.

ZeroMQ's XPUB hears of subscriptions, so a publisher can wait for a first audience (zguide, chapter
2, "Getting the Message Out"). Where a subscriber takes too little, what does not fit its queue is
dropped there, and for it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio

from apps.flatbuffers_zmq.codec import QUALITY, Schema, Topic, encode, numbers
from apps.flatbuffers_zmq.hostile import spoil
from apps.flatbuffers_zmq.verifier import LONGEST
from apps.flatbuffers_zmq.wire import LAST, Label, frames
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Rejected
from apps.kit.zeromq import Bounds, asynchronous

NAMES = {"temperature": "mK", "pressure": "Pa", "humidity": "permille"}
"""What made-up messages are about, and their units."""


def bounds(waiting: int) -> Bounds:
    """Give the bounds of both ends' sockets: `waiting` messages, and a peer's silence noticed."""
    return Bounds(waiting=waiting, message=LONGEST, linger=2.0, heartbeat=0.5, silence=1.5)


class Publisher:
    """An async context manager that is bound while it is entered."""

    def __init__(
        self, listen: Address, events: Events, *, schemas: Sequence[Schema], waiting: int
    ) -> None:
        """Write with these schemas in turn; at most so many messages wait for a subscriber."""
        self._listen = listen
        self._events = events
        self._schemas = schemas
        self._waiting = waiting
        self._audience = 0
        self._joined = asyncio.Condition()
        self.run = f"{events.node}/{secrets.token_hex(4)}"
        self.numbers: Counter[str] = Counter()
        self.hostile = 0

    async def __aenter__(self) -> Self:
        self._sockets = asynchronous(self._events, bounds(self._waiting))
        try:
            self._socket = self._sockets.open(
                "publisher", zmq.XPUB, bind=[self._listen], options={zmq.XPUB_VERBOSER: 1}
            )
        except OSError:
            self._sockets.close()
            raise
        self._listening = asyncio.create_task(self._listen_to_subscribers())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening
        await asyncio.to_thread(self._sockets.close)

    @property
    def sent(self) -> int:
        """How many messages were published, hostile ones among them."""
        return self.numbers.total()

    async def audience(self, count: int) -> None:
        """Wait until there are so many subscriptions."""
        async with self._joined:
            await self._joined.wait_for(lambda: self._audience >= count)

    async def publish(
        self,
        name: str,
        values: Sequence[int],
        unit: str = "",
        quality: int = QUALITY,
        spoiling: random.Random | None = None,
    ) -> None:
        """Publish a message; with `spoiling`, one that must be refused. Rejected if it is none."""
        label = Label(f"{self.run}/{name}", self.numbers[name] + 1)
        schema = self._schemas[self.sent % len(self._schemas)]
        if label.number > LAST or not name:
            raise Rejected(f"a run has {LAST} messages" if name else "a topic needs a name")
        try:
            data = numbers(values)
            topic = Topic(label.number, time.time(), name, data, unit, quality)
            buffer = encode(topic, schema)
        except ValueError as error:
            raise Rejected(str(error)) from None
        about: dict[str, Any] = {"schema": schema.value, "crc": topic.crc, "bytes": len(buffer)}
        if schema is Schema.NEW:
            about |= {"unit": unit, "quality": quality}
        if spoiling is not None:
            about["hostile"], buffer = spoil(buffer, spoiling)
            self.hostile += 1
        self.numbers[name] += 1
        self._events.send(str(label), "subscribers", **about)
        await self._socket.send_multipart(frames(label, buffer))

    async def _listen_to_subscribers(self) -> None:
        while True:
            asked = await self._socket.recv()
            if asked[:1] in {b"\0", b"\1"}:
                async with self._joined:
                    self._audience += 1 if asked[0] else -1
                    self._joined.notify_all()


async def publish_for_ever(publisher: Publisher, rate: float, count: int) -> None:
    """Publish made-up messages of `count` numbers, so many a second."""
    rng = random.Random(publisher.run)
    async for _ in paced(rate):
        await publish_one(publisher, rng, count)


async def publish_one(
    publisher: Publisher, rng: random.Random, count: int, share: float = 0.0
) -> None:
    """Publish a made-up message; with probability `share` one that must be refused."""
    name = rng.choice(list(NAMES))
    values = [rng.getrandbits(32) for _ in range(count)]
    spoiling = rng if rng.random() < share else None
    await publisher.publish(name, values, NAMES[name], rng.randrange(QUALITY), spoiling)


async def paced(rate: float) -> AsyncIterator[int]:
    """Give numbers from 0, so many a second without drifting; if `rate` is 0, all at once."""
    loop = asyncio.get_running_loop()
    began, number = loop.time(), 0
    while True:
        ahead = began + number / rate - loop.time() if rate else 0.0
        await asyncio.sleep(max(0.0, ahead))
        yield number
        number += 1


class PublisherService:
    """The unit: publishes made-up messages while it is entered."""

    def __init__(self, publisher: Publisher, rate: float, count: int) -> None:
        """So many messages a second, of so many numbers."""
        self._publisher = publisher
        self._rate = rate
        self._count = count

    async def __aenter__(self) -> Self:
        await self._publisher.__aenter__()
        self._publishing = asyncio.create_task(
            publish_for_ever(self._publisher, self._rate, self._count)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._publishing
        await self._publisher.__aexit__(kind, error, trace)

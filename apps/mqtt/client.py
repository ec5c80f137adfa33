"""What a person types: publish, and subscribe."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed
from apps.kit.retry import set_within
from apps.kit.summary import Load, crowd
from apps.mqtt import topics
from apps.mqtt.core import Message
from apps.mqtt.session import Session
from apps.mqtt.wire import Terms


def named(events: Events) -> str:
    """Make up a client's name."""
    return f"{events.node}-{secrets.token_hex(4)}"


async def publish(session: Session, message: Message, events: Events, patience: float) -> str:
    """Publish a message and record what is known of it; MQTT 5 tells subscribers its id, too."""
    with Operation(events, f"publish{message.qos}", message.text, topic=message.topic) as op:
        if not message.id and session.terms.modern:
            message = replace(message, properties=(*message.properties, ("id", op.op)))
        return op.ok(await session.publish(message, patience))


async def publish_all(
    server: Address,
    terms: Terms,
    message: Message,
    texts: Iterable[str],
    events: Events,
    *,
    patience: float,
    persist: bool,
) -> None:
    """Publish each text as `message` is; `persist` goes on after one that failed."""
    async with Session(server, terms, events) as session:
        for text in texts:
            payload = text.encode(errors="surrogateescape")
            try:
                said = await publish(session, replace(message, payload=payload), events, patience)
            except CallFailed as error:
                if not persist:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}")
            else:
                events.say("sent; nobody confirms QoS 0" if not message.qos else f"ok: {said}")
            await asyncio.sleep(0)  # what came meanwhile is said before the next line is read


async def publish_load(
    server: Address,
    terms: Terms,
    message: Message,
    load: Load,
    events: Events,
    *,
    size: int,
    patience: float,
) -> None:
    """Publish made-up readings over one connection, so many at once, and sum up."""
    seq = 0
    async with Session(server, terms, events) as session:
        await session.connected(patience)

        @contextlib.asynccontextmanager
        async def connect(_: random.Random) -> AsyncIterator[Session]:
            yield session

        async def one(session: Session, rng: random.Random) -> object:
            nonlocal seq
            seq += 1
            f, value = f"publish{message.qos}", rng.uniform(15, 25)
            with Operation(events, f, seq, topic=message.topic) as op:
                reading = topics.reading(message.topic, op.op, seq, value, message.qos, size=size)
                return op.ok(await session.publish(reading, patience))

        await crowd(events, connect, one, load)


@dataclass(slots=True)
class Ear:
    """A receiver that tells each message at once, and counts them."""

    events: Events
    count: int | None
    """After so many it is over."""
    had: int = 0
    first: float = 0.0
    last: float = 0.0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def hold(self, mid: int, message: Message) -> None:
        """Nothing: it will be delivered."""

    def settle(self) -> None:
        """Nothing: it is told already."""

    def deliver(self, message: Message, _mid: int | None) -> None:
        """Tell it."""
        if self.over.is_set():
            return
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.had += 1
        how = {"topic": message.topic, "qos": message.qos, "retain": message.retain}
        id_ = message.id
        peer = id_.partition(":")[0].rpartition("-")[0]
        self.events.recv(id_, peer, **how, again=message.again, text=message.text[:1000])
        marks = [mark for mark, is_so in (("retained", message.retain),) if is_so]
        marks += [f"{name}={value}" for name, value in message.properties if name != "id"]
        told = f" ({', '.join(marks)})" if marks else ""
        self.events.say(f"{message.topic}: {message.text}{told}")
        if self.had == self.count:
            self.over.set()

    def sum_up(self) -> None:
        """Tell how many came, and how fast: from the first to the last."""
        took = self.last - self.first
        rate = (self.had - 1) / took if took else 0.0
        self.events.emit("summary", received=self.had, rate=round(rate, 1))
        self.events.say(f"{self.had} received")


async def subscribe(
    server: Address,
    terms: Terms,
    filters: Mapping[str, int],
    events: Events,
    *,
    count: int | None,
    seconds: float | None,
    patience: float,
) -> None:
    """Tell what is published, until Ctrl-C, for so long, or so many messages."""
    ear, loop = Ear(events, count), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ear.over.set)
    async with Session(server, terms, events, filters=filters, receiver=ear) as session:
        await session.subscribed(patience)
        events.emit("subscribed", filters=list(filters), client=terms.client_id)
        events.say(f"subscribed to {', '.join(filters)}; Ctrl-C ends it")
        await set_within(ear.over, seconds)
    ear.sum_up()

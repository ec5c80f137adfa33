"""Publishers and subscribers that find each other in the hash table, and then speak by ZeroMQ.

Neither is told where the other is, nor is there a broker that everybody knows. A publisher binds,
registers `topic -> address` with a lease, and registers again three times in the time of a lease; a
subscriber looks the topic up every now and then, connects to who is new and disconnects from who is
gone. What they exchange never passes the hash table. So while that cannot be asked, what is
connected stays connected.

An update is four frames: the topic, the publisher's run, its number in that run, the text.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket as net
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import zmq
import zmq.asyncio

from apps.kademlia.client import NodeClient
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import running
from apps.kit.outcome import CallFailed, Refused
from apps.kit.retry import Deadline, set_within
from apps.kit.summary import set_by_signals
from apps.kit.zeromq import asynchronous, endpoint

RENEWALS = 3
"""How often a publisher registers within the time of a lease."""
PATIENCE = 3.0
"""Seconds that a registration or a search may take."""


class Pace(NamedTuple):
    """How fast a publisher speaks, and for how long."""

    rate: float
    """Updates a second."""
    seconds: float


class Update(NamedTuple):
    """What a publisher says."""

    topic: str
    run: str
    number: int
    text: str

    @property
    def id(self) -> str:
        """What names it in events, alike at both ends."""
        return f"{self.run}/{self.topic}#{self.number}"

    def frames(self) -> list[bytes]:
        """Give it as ZeroMQ sends it."""
        return [part.encode() for part in (self.topic, self.run, str(self.number), self.text)]

    @classmethod
    def read(cls, frames: Sequence[bytes]) -> Self:
        """Read it; ValueError."""
        if len(frames) != 4:
            raise ValueError(f"{len(frames)} frames, and an update has 4")
        topic, run, number, text = (frame.decode() for frame in frames)
        if not number.isdecimal() or len(number) > 15:
            raise ValueError(f"no number: {number[:20]!r}")
        return cls(topic, run, int(number), text)


def made_up(topic: str, run: str) -> Iterator[Update]:
    """Yield a run's updates, without end."""
    for number in itertools.count(1):
        yield Update(topic, run, number, f"{topic} {number}")


class Registration:
    """A publisher's place in the hash table, kept alive while it publishes."""

    def __init__(self, client: NodeClient, where: Mapping[str, str], lease: float) -> None:
        """`where` is its topic, publisher and address; the lease is in seconds."""
        self._client = client
        self._where = where
        self._lease = lease

    async def keep(self, events: Events) -> None:
        """Register, again and again; who cannot says so, and tries again."""
        while True:
            due = Deadline(self._lease / RENEWALS)
            with told(events):
                body = {"f": "register", **self._where, "lease": self._lease}
                stored = await self._client.ask(body)
                events.say(f"registered on {stored['stored']} of {stored['of']} nodes")
            await asyncio.sleep(due.remaining)

    async def withdraw(self, events: Events) -> None:
        """Say that it publishes no longer; otherwise its lease would have to end."""
        with told(events):
            body = {name: self._where[name] for name in ("topic", "publisher")}
            await self._client.ask({"f": "withdraw", **body, "lease": self._lease})


@contextlib.contextmanager
def told(events: Events) -> Iterator[None]:
    """Say that a call failed, and go on: the next one may not."""
    try:
        yield
    except CallFailed as error:
        events.say(f"{type(error).__name__.lower()}: {error}")


async def publish(
    node: Address,
    events: Events,
    topic: str,
    *,
    listen: Address,
    lease: float,
    pace: Pace,
) -> None:
    """Publish numbered updates on a topic, until Ctrl-C or its pace has an end."""
    run = f"{events.node}-{secrets.token_hex(4)}"
    with asynchronous(events) as sockets:
        try:
            socket = sockets.open("updates", zmq.PUB, bind=[listen])
        except OSError as error:
            raise Refused(f"cannot publish at {listen}: {error.strerror}") from error
        at = socket.getsockopt_string(zmq.LAST_ENDPOINT).removeprefix("tcp://")
        async with NodeClient(node, events, PATIENCE) as client:
            where = {"topic": topic, "publisher": events.node, "address": at}
            place = Registration(client, where, lease)
            async with running(place.keep(events)):
                events.say(f"publishing at {at}")
                count = await _speak(socket, events, made_up(topic, run), pace)
            await place.withdraw(events)
    events.emit("summary", topic=topic, run=run, published=count)
    events.say(f"{count} published")


async def _speak(
    socket: zmq.asyncio.Socket, events: Events, updates: Iterator[Update], pace: Pace
) -> int:
    """Publish updates at their pace until its end; give how many."""
    over, count, ends = asyncio.Event(), 0, Deadline(pace.seconds)
    with set_by_signals(over):
        while not (over.is_set() or ends.passed):
            update = next(updates)
            events.send(update.id, "subscribers", topic=update.topic)
            await socket.send_multipart(update.frames())
            count += 1
            await set_within(over, min(1 / pace.rate, ends.remaining))
    return count


class Subscription:
    """What a subscriber is connected to."""

    def __init__(self, socket: zmq.asyncio.Socket, client: NodeClient, events: Events) -> None:
        """Nothing yet."""
        self._socket = socket
        self._client = client
        self._events = events
        self._at: dict[str, str] = {}
        self.had: Counter[str] = Counter()

    async def follow(self, topic: str, every: float) -> None:
        """Look the topic up, again and again, and be connected to whom that gives."""
        while True:
            with told(self._events):
                found = await self._client.ask({"f": "lookup", "topic": topic})
                publishers = found["publishers"].items()
                self._connect({name: str(about["address"]) for name, about in publishers})
            await asyncio.sleep(every)

    def _connect(self, wanted: dict[str, str]) -> None:
        for name, at in sorted(self._at.items() - wanted.items()):
            self._socket.disconnect(endpoint(Address.parse(at)))
            self._events.emit("publisher_gone", publisher=name, at=at)
            self._events.say(f"{name} at {at} is gone")
        for name, at in sorted(wanted.items() - self._at.items()):
            self._socket.connect(endpoint(Address.parse(at)))
            self._events.emit("publisher_found", publisher=name, at=at)
            self._events.say(f"{name} is at {at}")
        self._at = wanted

    async def hear(self, topic: str) -> None:
        """Tell each update."""
        while True:
            frames = await self._socket.recv_multipart()
            try:
                update = Update.read(frames)
            except ValueError as error:
                self._events.bounded("garbled", error=str(error))
                continue
            if update.topic == topic:
                self.had[update.run] += 1
                self._events.recv(update.id, update.run, topic=topic)
                self._events.say(f"  {update.run} #{update.number}: {update.text}")


async def subscribe(
    node: Address, events: Events, topic: str, *, every: float, seconds: float
) -> None:
    """Hear who publishes on a topic, for so many seconds or until Ctrl-C."""
    over = asyncio.Event()
    with asynchronous(events) as sockets, set_by_signals(over):
        socket = sockets.open("updates", zmq.SUB)
        socket.subscribe(topic)
        async with NodeClient(node, events, PATIENCE) as client:
            subscription = Subscription(socket, client, events)
            async with running(subscription.follow(topic, every), subscription.hear(topic)):
                await set_within(over, seconds)
    events.emit("summary", topic=topic, had=dict(subscription.had))
    events.say(f"{subscription.had.total()} updates of {len(subscription.had)} publishers")


def bound_to(listen: Address | None) -> Address:
    """Give where a publisher binds: this host's own name, and any port, if it is not told."""
    return listen or Address(net.gethostname(), 0)

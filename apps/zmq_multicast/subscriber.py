"""The subscriber: reads what the transport hands over, and follows each stream by its numbers."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from apps.kit.events import Events
from apps.zmq_multicast.binding import zmq
from apps.zmq_multicast.core import Fate, Follower, Stream, Taken
from apps.zmq_multicast.network import Network, subscribing
from apps.zmq_multicast.wire import Message, Unreadable, decode

STREAMS = 100
"""Streams that are followed at once, at most."""
_BATCH = 256
"""Messages read before anybody else gets a turn."""
_SHOWN = 200


class Subscriber:
    """A context manager that is subscribed while it is entered; `take` reads what is there."""

    def __init__(self, network: Network, events: Events, topic: str) -> None:
        """`topic` is a prefix; all topics begin with the empty one."""
        self._network = network
        self._events = events
        self._topic = topic
        self._follower = Follower(STREAMS)
        self.received = 0
        self.unreadable = 0

    def __enter__(self) -> Self:
        """Join the network; CannotOpen."""
        self._context = zmq.Context()
        try:
            self.socket = subscribing(self._context, self._network, self._topic)
        except OSError:
            self._context.term()
            raise
        endpoint = self._network.endpoint(publishes=False)
        self._events.emit("subscribed", endpoint=endpoint, topic=self._topic)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave."""
        self.socket.close()
        self._context.term()

    @property
    def streams(self) -> Mapping[str, Stream]:
        """What is known of each stream."""
        return self._follower.streams

    def take(self, until: int | None = None) -> int:
        """Read what waits, at most a batch, and until so many were delivered in all; how many."""
        delivered = 0
        for _ in range(_BATCH):
            if until is not None and self.received + delivered >= until:
                break
            try:
                data = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            delivered += self._take(data)
        self.received += delivered
        return delivered

    def _take(self, data: bytes) -> bool:
        try:
            message = decode(data)
        except Unreadable as error:
            self.unreadable += 1
            self._events.bounded("unreadable", why=str(error), bytes=len(data))
            return False
        taken = self._follower.take(message)
        self._tell(message, taken)
        return taken.fate is Fate.RECEIVED

    def _tell(self, message: Message, taken: Taken) -> None:
        stream, gap = taken.stream, taken.gap
        if taken.joined:
            joined = {"stream": stream.name, "topic": message.topic, "first": stream.joined}
            self._events.bounded("joined", **joined)
            if stream.joined > 1:
                self._events.say(f"joined {stream.name} late: it is at {stream.joined}")
        if gap:
            span = {"first": gap.start, "missing": len(gap)}
            self._events.bounded("gap", stream=stream.name, **span)
            self._events.say(f"gap: {len(gap)} of {stream.name} are missing, from {gap.start} on")
        match taken.fate:
            case Fate.RECEIVED:
                crc = f"{zlib.crc32(message.payload):08x}"
                self._events.recv(message.id, message.publisher, crc=crc)
                if self._events.text:
                    text = message.payload[:_SHOWN].decode(errors="replace")
                    self._events.say(f"{message.id} {message.topic}: {text}")
            case Fate.REPEATED:
                self._events.bounded("repeated", id=message.id, peer=message.publisher)
            case Fate.ENDED:
                self._events.bounded("followed", **stream.report())


class SubscriberService:
    """An async context manager that is subscribed to everything while it is entered."""

    def __init__(self, network: Network, events: Events, *, topic: str) -> None:
        """See `Subscriber`."""
        self._events = events
        self._subscriber = Subscriber(network, events, topic)

    async def __aenter__(self) -> Self:
        self._subscriber.__enter__()
        self._poller = zmq.asyncio.Poller()
        self._poller.register(self._subscriber.socket, zmq.POLLIN)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
        for stream in self._subscriber.streams.values():
            if not stream.ended:
                self._events.emit("followed", **stream.report())
        self._subscriber.__exit__(kind, error, trace)

    async def _read(self) -> None:
        while True:
            await self._poller.poll()
            self._subscriber.take()
            await asyncio.sleep(0)  # the watchdog's turn, whatever comes in

    def report(self) -> list[dict[str, Any]]:
        """Give what is known of each stream."""
        return [stream.report() for stream in self._subscriber.streams.values()]

"""The publisher: numbers what it says, and hands it to ZeroMQ no faster than the network takes it.

A PUB socket drops what is too much, silently. Here it waits instead (ZMQ_XPUB_NODROP): over epgm
the queue empties at ZMQ_RATE, so a publisher that is too fast is slowed down to that.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from types import TracebackType
from typing import Any, Self

from apps.kit.events import Events
from apps.zmq_multicast.binding import zmq
from apps.zmq_multicast.network import Network, publishing
from apps.zmq_multicast.wire import Kind, Message, encode

SETTLE = 0.2
"""Seconds between the announcement of a stream and its first message: who hears either, joins."""
STAY = 0.5
"""Seconds that the unit still answers requests for repairs when it has been told to stop."""


class Publisher:
    """One stream; a context manager that announces it, and says its end."""

    def __init__(self, network: Network, events: Events, topic: str, *, stay: float) -> None:
        """`stay`: seconds, after the end, in which repairs can still be asked for."""
        self._network = network
        self._events = events
        self._topic = topic
        self._stay = stay
        self.stream = f"{events.node}/{time.time_ns():x}"
        self.sent = 0

    def __enter__(self) -> Self:
        """Open the network and announce the stream; CannotOpen."""
        encode(self._message("open", 0))
        self._context = zmq.Context()
        try:
            self._socket = publishing(self._context, self._network)
        except OSError:
            self._context.term()
            raise
        self._say("open", 0)
        self._events.emit(
            "opened", stream=self.stream, endpoint=self._network.endpoint(publishes=True)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say the end, stay for repairs, and close."""
        self.end()
        if kind is None:
            time.sleep(self._stay)
        self.close()

    def end(self) -> None:
        """Say that the stream is over."""
        with contextlib.suppress(zmq.Again):
            self._say("end", self.sent)
        self._events.emit("closed", **self.figures())

    def close(self) -> None:
        """Let go of the network."""
        self._socket.close()
        self._context.term()

    def await_subscribers(self, count: int, seconds: float) -> bool:
        """Wait until so many have subscribed, which only tcp tells; whether they did in time."""
        deadline = time.monotonic() + seconds
        while count > 0 and (left := deadline - time.monotonic()) > 0:
            if self._socket.poll(round(left * 1000)):
                count -= self._socket.recv().startswith(b"\x01")
        return count <= 0

    def publish(self, payload: bytes, *, wait: bool = True) -> int:
        """Publish the next message, when there is room for it; give its number.

        Without `wait`, zmq.Again if there is no room now. ValueError if it is too long.
        """
        message = self._message("data", self.sent + 1, payload)
        self._socket.send(encode(message), 0 if wait else zmq.NOBLOCK)
        self.sent += 1
        crc = f"{zlib.crc32(payload):08x}"
        self._events.send(message.id, self._network.group, bytes=len(payload), crc=crc)
        return self.sent

    def figures(self) -> dict[str, Any]:
        """Give what was published."""
        return {"stream": self.stream, "sent": self.sent}

    def _say(self, kind: Kind, number: int) -> None:
        self._socket.send(encode(self._message(kind, number)))

    def _message(self, kind: Kind, number: int, payload: bytes = b"") -> Message:
        return Message(self._topic, self.stream, number, kind, time.time_ns(), payload)


class PublisherService:
    """An async context manager that publishes a little, all the time, while it is entered."""

    def __init__(self, network: Network, events: Events, *, topic: str, rate: float) -> None:
        """Publish so many messages a second."""
        self._publisher = Publisher(network, events, topic, stay=0.0)
        self._every = 1.0 / rate

    async def __aenter__(self) -> Self:
        self._publisher.__enter__()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ticking.cancel()
        self._publisher.end()
        await asyncio.sleep(STAY)
        self._publisher.close()

    async def _tick(self) -> None:
        await asyncio.sleep(SETTLE)
        while True:
            said = f"tick {self._publisher.sent + 1}".encode()
            with contextlib.suppress(zmq.Again):  # it is said at the next tick
                self._publisher.publish(said, wait=False)
            await asyncio.sleep(self._every)

"""PUB into a forwarder (zguide chapter 2, "The Dynamic Discovery Problem").

PUB sends to who has subscribed, as far as it knows. At first it knows of nobody: it is not
connected yet, and subscriptions take their time to come. So what it sends in its first moment is
dropped ("the slow joiner"), and numbered updates show how much that was. `--settle` waits for the
first subscription; `synchronised.py` waits for every subscriber.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import zmq

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Refused
from apps.kit.zeromq import Blocking, Bounds, blocking
from apps.zeromq.wire import Update


@dataclass(frozen=True, slots=True)
class Pace:
    """How many made-up updates are published, how fast, and how long each is."""

    count: int | None
    seconds: float
    rate: float
    """A second; 0 is as fast as it goes."""
    size: int

    def texts(self) -> Iterator[str]:
        """Yield the texts, each at its time."""
        began = time.perf_counter()
        numbers = range(sys.maxsize if self.count is None else self.count)
        for number in numbers:
            if self.rate:
                time.sleep(max(0.0, began + number / self.rate - time.perf_counter()))
            if time.perf_counter() - began >= self.seconds:
                return
            yield "x" * self.size


class Stream:
    """One run of a publisher: it numbers what it sends on its topic."""

    def __init__(self, socket: Blocking, events: Events, topic: str) -> None:
        """Send by this socket."""
        self._socket = socket
        self._events = events
        self._topic = topic
        self.name = f"{events.node}-{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self.published = 0

    def publish(self, text: str) -> None:
        """Send the next update; it is dropped for whom it has no room, or who is not known yet."""
        update = Update(self._topic, next(self._numbers), self.name, text)
        self.send(update)
        self.published = update.number

    def send(self, update: Update, leg: str = "in") -> None:
        """Send an update as it is."""
        frame = update.encode()
        self._events.send(f"{update.id}/{leg}", "subscribers", bytes=len(frame))
        self._socket.send(frame)


def publish(
    forwarder: Address,
    events: Events,
    texts: Iterable[str],
    *,
    topic: str,
    settle: float,
    bounds: Bounds,
) -> None:
    """Publish each text, until Ctrl-C; with `settle`, wait so long for the first subscription."""
    with blocking(events, bounds) as sockets:
        # XPUB is PUB that can read the subscriptions.
        socket = sockets.open("updates", zmq.XPUB, connect=[forwarder])
        if settle and not socket.poll(round(settle * 1000)):
            raise Refused(f"{forwarder}: nobody has subscribed in {settle:g} s")
        stream = Stream(socket, events, topic)
        began = time.perf_counter()
        with contextlib.suppress(KeyboardInterrupt):
            for text in texts:
                stream.publish(text)
        rate = stream.published / (time.perf_counter() - began)
        told = {"published": stream.published, "rate": round(rate, 1)}
        events.emit("summary", stream=stream.name, topic=topic, **told)
        events.say(f"{stream.published} published as {stream.name}, {rate:.0f} a second")

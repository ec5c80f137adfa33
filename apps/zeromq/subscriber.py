"""SUB, as a service and as a person uses it (zguide chapter 1, "Getting the Message Out").

A subscription is the beginning of a message; without one, nothing comes. What is not subscribed
does not cross the network: it is the publisher's side that compares. A subscriber that is too slow
loses what its queue, and the publisher's for it, have no room for; with ZMQ_CONFLATE the queue has
room for the newest message alone, which is what a display wants (chapter 5 has more on slow ones).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import running
from apps.kit.outcome import Refused
from apps.kit.retry import Deadline
from apps.kit.zeromq import Blocking, Bounds, asynchronous, blocking, bursts
from apps.zeromq.core import Tally
from apps.zeromq.wire import Garbled, Update

MOST_STREAMS = 1000
REPORT = 0.25
"""Seconds between two reports of what was counted, if it has changed."""


class Tallies:
    """What a subscriber had of each topic of each stream; the oldest are forgotten."""

    def __init__(self, events: Events) -> None:
        """Report by these events."""
        self._events = events
        self._kept: dict[tuple[str, str], Tally] = {}
        self._changed: set[tuple[str, str]] = set()

    def take(self, frame: bytes) -> Update | None:
        """Count an update, and give it if it is new; what is none is told."""
        try:
            update = Update.decode(frame)
        except Garbled as error:
            self._events.bounded("garbled", error=str(error))
            return None
        place = update.stream, update.topic
        tally = self._kept.get(place)
        if tally is None:
            if len(self._kept) >= MOST_STREAMS:
                del self._kept[next(iter(self._kept))]
            tally = self._kept[place] = Tally()
        self._changed.add(place)
        if not tally.take(update.number):
            return None
        self._events.recv(f"{update.id}/out", update.stream, bytes=len(frame))
        return update

    def report(self) -> None:
        """Tell what has changed since the last report."""
        for stream, topic in sorted(self._changed & self._kept.keys()):
            tally = self._kept[stream, topic]
            self._events.emit("tally", stream=stream, topic=topic, **tally.as_json())
        self._changed.clear()


@asynccontextmanager
async def subscriber(
    events: Events, forwarder: Address, topic: str, bounds: Bounds
) -> AsyncIterator[None]:
    """Count what is published on topics that begin so."""
    tallies = Tallies(events)
    with asynchronous(events, bounds) as sockets:
        socket = sockets.open("updates", zmq.SUB, connect=[forwarder])
        socket.subscribe(topic)
        async with running(_count(socket, tallies), _report(tallies)):
            yield


async def _count(socket: zmq.asyncio.Socket, tallies: Tallies) -> None:
    async for burst in bursts(socket):
        for frames in burst:
            tallies.take(frames[0])


async def _report(tallies: Tallies) -> None:
    while True:
        tallies.report()
        await asyncio.sleep(REPORT)


def subscribe(
    publisher: Address,
    events: Events,
    topics: Sequence[str],
    *,
    count: int | None,
    seconds: float,
    conflate: bool,
    delay: float,
    bounds: Bounds,
) -> None:
    """Show what is published on these topics, all if none is named; then what was counted.

    It rests `delay` seconds after each update, so that it can be too slow. Refused if nothing came
    in so many `seconds`.
    """
    tallies, ends, shown = Tallies(events), Deadline(seconds), 0
    with blocking(events, bounds) as sockets:
        options = {zmq.CONFLATE: int(conflate)}
        socket = sockets.open("updates", zmq.SUB, connect=[publisher], options=options)
        for topic in topics or [""]:
            socket.subscribe(topic)
        with contextlib.suppress(KeyboardInterrupt):
            for frame in received(socket, ends):
                update = tallies.take(frame)
                if update is not None:
                    shown += 1
                    events.say(f"{update.topic} #{update.number} of {update.stream}: {update.text}")
                    time.sleep(delay)
                if shown == count:
                    break
    tallies.report()
    if not shown and seconds != float("inf"):
        raise Refused(f"{publisher}: nothing came in {seconds:g} s")


def received(socket: Blocking, ends: Deadline) -> Iterator[bytes]:
    """Yield the messages that come until then; of several frames, the first."""
    while not ends.passed:
        # In steps: what is infinite has no milliseconds, and Ctrl-C is heard between two.
        if socket.poll(round(min(ends.remaining, 1.0) * 1000)):
            yield socket.recv_multipart()[0]

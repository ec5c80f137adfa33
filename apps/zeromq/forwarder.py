"""The forwarder: XSUB to the publishers, XPUB to the subscribers (zguide chapter 2, "The Dynamic
Discovery Problem"), with the last value of each topic kept for who comes late (chapter 5, "Last
Value Caching").

Publishers and subscribers know the forwarder alone. A subscription is itself a message: XPUB
receives it, so here it can be seen, and XSUB sends it on, so publishers send only what somebody
wants. XPUB_VERBOSER shows each subscriber's, not only the first of a kind and the last that ends.
Each is answered with the last values. XPUB sends these to all who have that subscription: who had
one already counts a copy.

What a subscriber is too slow for is dropped at the high-water mark, without a word to anybody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import running
from apps.kit.zeromq import Bounds, asynchronous, bursts
from apps.zeromq.wire import Garbled, Update


class LastValues:
    """The last update of each topic; the oldest topic is forgotten for a new one."""

    def __init__(self, most: int) -> None:
        """Keep so many topics."""
        self._most = most
        self._kept: dict[str, bytes] = {}

    def keep(self, topic: str, frame: bytes) -> None:
        """Remember it in the place of the topic's one before."""
        self._kept.pop(topic, None)
        if len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]
        self._kept[topic] = frame

    def matching(self, subscription: bytes) -> list[bytes]:
        """Give what somebody with this subscription has missed: it is the beginning of a frame."""
        return [frame for frame in self._kept.values() if frame.startswith(subscription)]


@asynccontextmanager
async def forwarder(
    events: Events, publishers: Address, subscribers: Address, topics: int, bounds: Bounds
) -> AsyncIterator[None]:
    """Forward from `publishers` to `subscribers`; keep the last values of so many topics."""
    with asynchronous(events, bounds) as sockets:
        verbose = {zmq.XPUB_VERBOSER: 1}
        outlet = sockets.open("subscribers", zmq.XPUB, bind=[subscribers], options=verbose)
        inlet = sockets.open("publishers", zmq.XSUB, bind=[publishers])
        last = LastValues(topics)
        async with running(
            _forward(events, inlet, outlet, last), _subscribe(events, outlet, inlet, last)
        ):
            yield


async def _forward(
    events: Events, inlet: zmq.asyncio.Socket, outlet: zmq.asyncio.Socket, last: LastValues
) -> None:
    """Pass updates on to whoever subscribed."""
    async for burst in bursts(inlet):
        for frames in burst:
            try:
                update = Update.decode(b"".join(frames))
            except Garbled as error:
                events.bounded("garbled", error=str(error))
                continue
            events.recv(f"{update.id}/in", update.stream, bytes=len(frames[0]))
            last.keep(update.topic, frames[0])
            await outlet.send(frames[0])
            events.send(f"{update.id}/out", "subscribers")


async def _subscribe(
    events: Events, outlet: zmq.asyncio.Socket, inlet: zmq.asyncio.Socket, last: LastValues
) -> None:
    """Pass subscriptions on to the publishers; answer each with the last values."""
    while True:
        frame = await outlet.recv()
        if frame[:1] not in {b"\0", b"\1"}:
            events.bounded("garbled", error=f"no subscription: {frame[:80]!r}")
            continue
        topic = frame[1:]
        what = "subscribed" if frame[0] else "unsubscribed"
        events.bounded(what, topic=topic.decode(errors="replace")[:100])
        await inlet.send(frame)
        for update in last.matching(topic) if frame[0] else ():
            await outlet.send(update)

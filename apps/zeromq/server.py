"""REQ/REP, the side that answers (zguide chapter 1, "Ask and Ye Shall Receive").

A REP socket takes a request and must answer it before it takes the next: in lockstep, one client
after the other, fairly. Who asked is remembered by the socket, in an envelope that is not shown.

The same socket serves behind a broker, where it connects instead of being bound (chapter 2, "Shared
Queue"). It takes no other line of code: that is what the broker's envelopes are for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import running
from apps.kit.zeromq import Bounds, asynchronous, peer_of
from apps.zeromq import wire


@asynccontextmanager
async def server(events: Events, listen: Address, bounds: Bounds) -> AsyncIterator[None]:
    """Answer whoever connects."""
    async with _replying(events, "front", bounds, bind=[listen]):
        yield


@asynccontextmanager
async def replier(events: Events, broker: Address, bounds: Bounds) -> AsyncIterator[None]:
    """Answer what a broker passes on."""
    async with _replying(events, "back", bounds, connect=[broker]):
        yield


@asynccontextmanager
async def _replying(
    events: Events,
    leg: str,
    bounds: Bounds,
    *,
    bind: Iterable[Address] = (),
    connect: Iterable[Address] = (),
) -> AsyncIterator[None]:
    with asynchronous(events, bounds) as sockets:
        socket = sockets.open("requests", zmq.REP, bind=bind, connect=connect)
        async with running(_answer(events, leg, socket)):
            yield


async def _answer(events: Events, leg: str, socket: zmq.asyncio.Socket) -> None:
    """Answer one request after the other; the leg is that of the way on which it came."""
    while True:
        received = await socket.recv_multipart(copy=False)
        frames, peer = [frame.bytes for frame in received], peer_of(received[0])
        name = wire.id_of(frames)
        if name is not None:
            events.recv(f"{name}?{leg}", peer, bytes=len(frames[0]))
        answer = wire.reply(events.node, frames)
        if name is not None:
            events.send(f"{name}!{leg}", peer, bytes=len(answer[0]))
        await socket.send_multipart(answer)

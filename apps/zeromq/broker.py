"""The broker: ROUTER to the clients, DEALER to the repliers (zguide chapter 2, "Shared Queue").

Clients and repliers both connect to it and need not know of each other. ROUTER puts the asker's
identity before each request, the replier's REP socket keeps that envelope and gives it back, and
ROUTER finds the asker by it (chapter 3, "The Extended Reply Envelope"). DEALER deals to the
repliers in turn, whether they are busy, paused or about to die: see zeromq_reliable for better.

Nothing is stored. What a replier had when it died is gone, and so is all that the broker had: its
clients connect again by themselves, but a REQ that was sent is not sent again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import running
from apps.kit.zeromq import Bounds, asynchronous
from apps.zeromq.wire import id_of


@asynccontextmanager
async def broker(
    events: Events, front: Address, back: Address, bounds: Bounds
) -> AsyncIterator[None]:
    """Pass requests on from `front` to `back`, and replies from there to who asked."""
    with asynchronous(events, bounds) as sockets:
        # Without this a reply to a client that is gone would be dropped without a word.
        strict = {zmq.ROUTER_MANDATORY: 1}
        clients = sockets.open("clients", zmq.ROUTER, bind=[front], options=strict)
        repliers = sockets.open("repliers", zmq.DEALER, bind=[back])
        async with running(_ask(events, clients, repliers), _return(events, repliers, clients)):
            yield


async def _ask(events: Events, clients: zmq.asyncio.Socket, repliers: zmq.asyncio.Socket) -> None:
    """Pass requests on; while no replier has room they wait, here and then at the clients."""
    while True:
        frames = await clients.recv_multipart()
        name = id_of(frames)
        if name is not None:
            events.recv(f"{name}?front", frames[0].hex())
        await repliers.send_multipart(frames)
        if name is not None:
            events.send(f"{name}?back", "replier")


async def _return(
    events: Events, repliers: zmq.asyncio.Socket, clients: zmq.asyncio.Socket
) -> None:
    """Pass replies on to who asked, if that one is still there."""
    while True:
        frames = await repliers.recv_multipart()
        name = id_of(frames)
        if name is not None:
            events.recv(f"{name}!back", "replier")
        try:
            await clients.send_multipart(frames)
        except zmq.ZMQError as error:  # EHOSTUNREACH; or no envelope, of a peer that made it up
            events.bounded("unroutable", to=frames[0].hex(), error=str(error))
            continue
        if name is not None:
            events.send(f"{name}!front", frames[0].hex())

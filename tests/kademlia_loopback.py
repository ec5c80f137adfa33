"""Nodes of the hash table on loopback: ours, the library's own, and peers that misbehave."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kademlia.network import Server
from kademlia.node import Node

from apps.kademlia import wire
from apps.kademlia.core import PLAIN
from apps.kademlia.dht import Dht, Stored, key_of, plain_of
from apps.kademlia.wire import Request, Response
from apps.kit.address import Address
from tests.loopback import Record

HOME = "127.0.0.1"


@asynccontextmanager
async def nodes(count: int, record: Record | None = None, k: int = 20) -> AsyncIterator[list[Dht]]:
    """Nodes that have joined by way of the first one."""
    events = (record or Record()).events
    made = [Dht(events, ksize=k) for _ in range(count)]
    try:
        for node in made:
            await node.listen(0, HOME)
        for node in made[1:]:
            assert await node.join([made[0].address])
        yield made
    finally:
        await asyncio.gather(*(node.close() for node in made))
        await asyncio.sleep(0)  # the transports close in the loop's next turn


async def put(node: Dht, key: str, value: str, copies: int = 20) -> Stored:
    """Set a value by way of a node."""
    writer = str(node.address)
    return await node.put(key_of(key), PLAIN, value, lease=86400.0, copies=copies, writer=writer)


async def get(node: Dht, key: str) -> Any:
    """Get a value by way of a node; None if it finds none."""
    entries, _ = await node.get_entries(key_of(key))
    entry = plain_of(entries)
    return None if entry is None else entry.value


def nearest(made: list[Dht], key: str, count: int) -> list[Dht]:
    """Give the nodes that should keep a key."""
    target = Node(key_of(key))
    return sorted(made, key=lambda node: target.distance_to(node.node))[:count]


class Peer(asyncio.DatagramProtocol):
    """Answers pings with its id, says that it keeps all, and helps no search."""

    def __init__(self) -> None:
        self.id = os.urandom(20)
        self.silent = False
        self.losing = 0
        """Of what it is asked first, so much is lost."""
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.DatagramProtocol."""
        self.transport: Any = transport
        self.address = Address(*transport.get_extra_info("sockname"))
        self.node = Node(self.id, *self.address)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """See asyncio.DatagramProtocol."""
        message = wire.decode(data)
        if not isinstance(message, Request):
            return
        self.asked.append(message.name)
        lies = {"find": "here and there", "keep": [True], "find_node": []}
        answers: dict[str, Any] = {"ping": self.id, **lies}
        if not self.silent and len(self.asked) > self.losing and message.name in answers:
            answer = Response(message.id, answers[message.name])
            self.transport.sendto(wire.encode(answer), addr)

    def ask(self, to: Address, name: str, *arguments: Any) -> None:
        """Send a request, and look for no answer."""
        self.transport.sendto(wire.encode(Request(os.urandom(20), name, [*arguments])), to)


@asynccontextmanager
async def stranger() -> AsyncIterator[Peer]:
    """A peer that is no node."""
    transport, peer = await asyncio.get_running_loop().create_datagram_endpoint(
        Peer, local_addr=(HOME, 0)
    )
    try:
        yield peer
    finally:
        transport.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def library(*peers: Address, wait: float = 0.1) -> AsyncIterator[Any]:
    """The library's own node."""
    server = Server()
    await server.listen(0, HOME)
    server.protocol._wait_timeout = wait
    try:
        if peers:
            await server.bootstrap([tuple(peer) for peer in peers])
        yield server
    finally:
        server.stop()
        await asyncio.sleep(0)


def where(server: Any) -> Address:
    """Give where a node of the library listens."""
    return Address(*server.transport.get_extra_info("sockname"))


def knows(server: Any, id_: bytes) -> bool:
    """Whether a node of the library has a contact of this id."""
    return not server.protocol.router.is_new_node(Node(id_, HOME, 1))

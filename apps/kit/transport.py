"""How a node's messages cross the network: as UDP datagrams, or as frames over TCP.

Both promise little: a message may be lost. UDP may also repeat and reorder; TCP keeps the order
of what it delivers over one connection. Only addresses of known peers are listened to.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.framing import FrameError, LengthPrefixed
from apps.kit.retry import Backoff
from apps.kit.tcp import read_frames
from apps.kit.udp import UdpEndpoint

Receive = Callable[[str, bytes], None]
"""Takes a peer's name and what it sent."""
QUEUE = 1000
"""Messages that wait for a peer's TCP connection; when it is full, new ones are lost."""
IDLE = 3600.0


class Transport(Protocol):
    """Carries messages between named peers."""

    async def open(self, receive: Receive) -> None:
        """Begin to listen; each message that arrives goes to `receive`."""

    def send(self, to: str, data: bytes) -> None:
        """Hand a message to the network."""

    async def close(self) -> None:
        """Stop, dropping what waits."""


class Peers:
    """Names and addresses of a node's peers, resolved once."""

    def __init__(self, addresses: Mapping[str, Address]) -> None:
        """Resolve every name; OSError says which has no address."""
        self._addresses = {
            name: Address(_resolve(address.host), address.port)
            for name, address in addresses.items()
        }
        self._names = {address: name for name, address in self._addresses.items()}

    def __getitem__(self, name: str) -> Address:
        return self._addresses[name]

    def name(self, address: Address) -> str | None:
        """Give who sends from this address and port."""
        return self._names.get(address)

    def names_at(self, host: str) -> set[str]:
        """Give who lives at this address, whatever the port."""
        return {name for name, address in self._addresses.items() if address.host == host}


class UdpTransport:
    """A message is a datagram, sent from the port that it would be answered on."""

    def __init__(self, listen: Address, peers: Mapping[str, Address], events: Events) -> None:
        """`peers` are the other nodes; what comes from anyone else is counted and ignored."""
        self._listen = listen
        self._peers = Peers(peers)
        self._events = events

    async def open(self, receive: Receive) -> None:
        """See `Transport.open`."""
        self._receive = receive
        self._endpoint = UdpEndpoint(self._listen, self._arrive)
        await self._endpoint.__aenter__()

    def send(self, to: str, data: bytes) -> None:
        """See `Transport.send`."""
        self._endpoint.send(data, self._peers[to])

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._endpoint.__aexit__(None, None, None)

    def _arrive(self, data: bytes, sender: Address) -> None:
        name = self._peers.name(sender)
        if name is None:
            self._events.bounded("stranger", peer=str(sender), bytes=len(data))
        else:
            self._receive(name, data)


class TcpTransport:
    """A message is a frame; each node dials each peer, and speaks on the connection it dialled.

    The first frame of a connection is the dialler's name.
    """

    def __init__(
        self,
        name: str,
        listen: Address,
        peers: Mapping[str, Address],
        events: Events,
        *,
        tls: ssl.SSLContext | None = None,
        tls_dial: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` is for connections that come, `tls_dial` for those that go out."""
        self._name = name
        self._listen = listen
        self._peers = Peers(peers)
        self._events = events
        self._tls = tls
        self._tls_dial = tls_dial
        self._queues = {peer: asyncio.Queue[bytes](QUEUE) for peer in peers}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, receive: Receive) -> None:
        """See `Transport.open`."""
        self._receive = receive
        self._server = await asyncio.start_server(self._accept, *self._listen, ssl=self._tls)
        for peer in self._queues:
            self._tasks.add(asyncio.create_task(self._dial(peer)))

    def send(self, to: str, data: bytes) -> None:
        """See `Transport.send`."""
        queue = self._queues[to]
        if not queue.full():
            queue.put_nowait(data)

    async def close(self) -> None:
        """See `Transport.close`."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  asyncio.start_server runs this in a task
        self._tasks.add(task)
        here = str(writer.get_extra_info("peername")[0])
        name: str | None = None
        try:
            async for frame in read_frames(reader, LengthPrefixed(), IDLE):
                if name is not None:
                    self._receive(name, frame)
                elif (said := frame.decode(errors="replace")) in self._peers.names_at(here):
                    name = said
                else:
                    self._events.bounded("stranger", peer=here, error=f"calls itself {said[:50]!r}")
                    return
        except (FrameError, TimeoutError, OSError) as error:
            self._events.bounded("peer_error", peer=name or here, error=str(error))
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _dial(self, peer: str) -> None:
        """Keep a connection to a peer and send what is queued; what breaks on the way is lost."""
        rng = random.Random()
        while True:
            writer = await self._connect(peer, rng)
            try:
                await self._speak(writer, self._queues[peer])
            except OSError:
                continue
            finally:
                writer.close()

    async def _connect(self, peer: str, rng: random.Random) -> asyncio.StreamWriter:
        delays = Backoff(retries=sys.maxsize).delays(rng)
        while True:
            try:
                address = self._peers[peer]
                _, writer = await asyncio.open_connection(*address, ssl=self._tls_dial)
            except OSError:
                await asyncio.sleep(next(delays))
            else:
                return writer

    async def _speak(self, writer: asyncio.StreamWriter, queue: asyncio.Queue[bytes]) -> None:
        framing = LengthPrefixed()
        writer.write(framing.encode(self._name.encode()))
        while True:
            writer.write(framing.encode(await queue.get()))
            await writer.drain()


def _resolve(host: str) -> str:
    return str(socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0][4][0])

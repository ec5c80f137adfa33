"""How a node's messages cross the network: as UDP datagrams, or as frames over TCP.

Both promise little: a message may be lost. UDP may also repeat and reorder; TCP keeps the order
of what it delivers over one connection. Only addresses of known peers are listened to.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from apps.kit.udp import UdpEndpoint

Receive = Callable[[str, bytes], None]
"""Takes a peer's name and what it sent."""
QUEUE = 1000
"""Messages that wait for a peer's TCP connection; when it is full, new ones are lost."""
PATIENCE = 3.0
"""Seconds for a TCP peer to take a connection, to say its name, and to acknowledge what was sent.

A connection that breaks this is given up and dialled anew, so that a partition's end is noticed
within seconds; TCP by itself waits minutes (RFC 5482, RFC 6298 section 5).
"""
IDLE = 3600.0
"""Seconds without a message after which a connection that a peer dialled is closed."""
_CHUNK = 65536
_NAMELESS = 64
"""Connections that may be open at once without having said whose they are."""
_LONGEST_DATAGRAM = 65507
"""Bytes that UDP over IPv4 carries."""


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
        self.hosts = {name: address.host for name, address in addresses.items()}
        """How the peers' hosts were written: the names that their TLS certificates have."""
        self._addresses = {
            name: Address(_resolve(name, address.host), address.port)
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
        if len(data) > _LONGEST_DATAGRAM:
            why = f"{len(data)} bytes; a datagram holds at most {_LONGEST_DATAGRAM}"
            self._events.bounded("unsent", peer=to, error=why)
        else:
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

    The first frame of a connection is the dialler's name. A peer that dials anew has left the
    connection that it dialled before.
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
        self._framing = LengthPrefixed()
        self._queues = {peer: asyncio.Queue[bytes](QUEUE) for peer in peers}
        self._speaking: dict[str, asyncio.StreamWriter] = {}
        """By peer, what was dialled and is open."""
        self._dialling: list[asyncio.Task[None]] = []
        self._hearing: set[_Hearing] = set()

    async def open(self, receive: Receive) -> None:
        """See `Transport.open`."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Hearing(self._peers, receive, self._hearing, self._events),
            *self._listen,
            ssl=self._tls,
            ssl_handshake_timeout=PATIENCE if self._tls else None,
        )
        self._dialling = [asyncio.create_task(self._dial(peer)) for peer in self._queues]

    def send(self, to: str, data: bytes) -> None:
        """See `Transport.send`."""
        queue, writer = self._queues[to], self._speaking.get(to)
        try:
            frame = self._framing.encode(data)
            if writer and queue.empty() and not writer.transport.get_write_buffer_size():
                writer.write(frame)  # nothing is before it
            else:
                queue.put_nowait(frame)
        except asyncio.QueueFull:
            self._events.bounded("unsent", peer=to, error=f"{QUEUE} messages wait already")
        except FrameError as error:
            self._events.bounded("unsent", peer=to, error=str(error))

    async def close(self) -> None:
        """See `Transport.close`."""
        self._server.close()
        for connection in self._hearing.copy():
            connection.cut()
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)

    async def _dial(self, peer: str) -> None:
        """Keep a connection to a peer; what was said on one that breaks is lost."""
        loop, rng = asyncio.get_running_loop(), random.Random()
        backoff = Backoff(retries=sys.maxsize)
        delays = backoff.delays(rng)
        while True:
            began = loop.time()
            with contextlib.suppress(OSError):  # it is away, or went away
                await self._talk(peer)
            if loop.time() - began > PATIENCE:
                delays = backoff.delays(rng)
            await asyncio.sleep(next(delays))

    async def _talk(self, peer: str) -> None:
        """Connect, say who we are, and send what is queued until the connection ends."""
        name = self._peers.hosts[peer] if self._tls_dial else None
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(
                *self._peers[peer], ssl=self._tls_dial, server_hostname=name
            )
        try:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(PATIENCE * 1000))
            writer.write(self._framing.encode(self._name.encode()))
            self._speaking[peer] = writer
            speaking = asyncio.create_task(self._speak(writer, self._queues[peer]))
            try:
                while await reader.read(_CHUNK):
                    continue  # a peer that is dialled says nothing: only its end matters
            finally:
                speaking.cancel()
                await asyncio.wait([speaking])
        finally:
            self._speaking.pop(peer, None)
            writer.transport.abort()

    async def _speak(self, writer: asyncio.StreamWriter, queue: asyncio.Queue[bytes]) -> None:
        """Send what is queued, until the connection ends; end it if the peer takes nothing.

        In a TaskGroup its error would take the place of the cancellation that `close` asks for.
        """
        with contextlib.suppress(OSError):
            while True:
                writer.write(await queue.get())
                async with asyncio.timeout(PATIENCE):
                    await writer.drain()
        writer.transport.abort()


class _Hearing(asyncio.Protocol):
    """A connection that a peer dialled: the first frame is its name, the others are messages."""

    def __init__(
        self, peers: Peers, receive: Receive, others: set[_Hearing], events: Events
    ) -> None:
        """`others` are the connections that are open, this one too while it is."""
        self.name = ""
        """Who speaks; "" before that is known."""
        self._peers = peers
        self._receive = receive
        self._others = others
        self._events = events
        self._framing = LengthPrefixed()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  it is a stream
        self._transport = transport
        self._here = str((transport.get_extra_info("peername") or ["nobody"])[0])
        self._since = self._loop.time()
        self._timer = self._loop.call_later(PATIENCE, self._look_at_the_clock)
        nameless = sum(not connection.name for connection in self._others)
        self._others.add(self)
        if nameless >= _NAMELESS:
            self.cut()

    def data_received(self, data: bytes) -> None:
        """Take what came; see asyncio.Protocol."""
        try:
            frames = self._framing.feed(data)
        except FrameError as error:
            self._complain("peer_error", str(error))
            return
        if frames:
            self._since = self._loop.time()
        for frame in frames:
            if self._transport.is_closing():
                return
            if self.name:
                self._receive(self.name, frame)
            else:
                self._meet(frame.decode(errors="replace"))

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        try:
            self._framing.end()
        except FrameError as error:
            self._complain("peer_error", str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self._timer.cancel()
        self._others.discard(self)
        if exc is not None:
            self._complain("peer_error", str(exc))

    def cut(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def _meet(self, name: str) -> None:
        if name not in self._peers.names_at(self._here):
            self._complain("stranger", f"calls itself {name[:50]!r}")
            return
        for other in self._others:
            if other.name == name:
                other.cut()
        self.name = name

    def _look_at_the_clock(self) -> None:
        """Cut a peer off that has said nothing for long; else look again when it may have."""
        patience = IDLE if self.name else PATIENCE
        left = self._since + patience - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look_at_the_clock)
        else:
            self._complain("peer_error", f"idle: no whole frame for {patience:g} s")

    def _complain(self, event: str, error: str) -> None:
        self._events.bounded(event, peer=self.name or self._here, error=error)
        self.cut()


def _resolve(name: str, host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise OSError(
            f"the peer {name} cannot be found: {host!r} has no address ({error})"
        ) from error

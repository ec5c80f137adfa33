"""ZeroMQ sockets for services and clients: bounded, watched, and closed without waiting for ever.

A ZeroMQ socket is many connections behind one queue each. What it does by itself (connect again,
queue, drop at the high-water mark) is what makes it pleasant, and invisible. So every socket here
has its bounds set, and its monitor (zmq_socket_monitor(3)) tells of each connection as an event:

    {"event": "link", "socket": "backend", "what": "accepted", "endpoint": "tcp://198.18.0.10:5552"}

    with blocking(events) as sockets:
        requests = sockets.open("requests", zmq.REQ, connect=[server])

Of an asyncio program the sockets are those of `asynchronous(events)`; they are awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket as net
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from apps.kit.address import Address
from apps.kit.events import Events

AnySocket = TypeVar("AnySocket", bound="zmq.Socket[Any]")
Blocking: TypeAlias = "zmq.Socket[bytes]"
Options: TypeAlias = Mapping[Any, int | bytes]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a socket takes at most, of each peer."""

    waiting: int = 1000
    """Messages that wait to be sent, and as many to be read: the high-water marks (chapter 2)."""
    message: int = 1 << 16
    """Bytes of a frame; a peer that sends a longer one is disconnected before it is read."""
    buffer: int = 0
    """Bytes of the kernel's buffers, on either way; 0 leaves them to the kernel. What lies there
    waits, too: where a queue's length matters, they are small."""
    linger: float = 0.0
    """Seconds that closing waits for what is not sent yet; then it is dropped."""
    handshake: float = 3.0
    """Seconds in which a peer must have said that it speaks ZMTP."""
    heartbeat: float = 1.0
    """Seconds between two ZMTP pings; 0 is none."""
    silence: float = 5.0
    """Seconds without a pong, or anything else, after which a connection counts as lost."""
    reconnect: tuple[float, float] = (0.1, 1.0)
    """Seconds until the first attempt to connect again, and the longest between two."""


def endpoint(address: Address) -> str:
    """Give the address as ZeroMQ writes it."""
    return f"tcp://{address}"


def bounded(socket: zmq.Socket[Any], bounds: Bounds) -> None:
    """Set the bounds of a socket that is not bound or connected yet."""
    socket.sndhwm = socket.rcvhwm = bounds.waiting
    socket.maxmsgsize = bounds.message
    if bounds.buffer:
        socket.sndbuf = socket.rcvbuf = bounds.buffer
    socket.linger = _ms(bounds.linger)
    socket.handshake_ivl = _ms(bounds.handshake)
    socket.reconnect_ivl, socket.reconnect_ivl_max = map(_ms, bounds.reconnect)
    # With a domain peers of ZMTP 1 and 2 are refused. Without, whatever sends no greeting counts as
    # one of ZMTP 1, which has no handshake: a DEALER or PUSH would deal messages to garbage.
    socket.zap_domain = b"distlab"
    if bounds.heartbeat:
        socket.heartbeat_ivl = _ms(bounds.heartbeat)
        socket.heartbeat_timeout = _ms(bounds.silence)


class Sockets(Generic[AnySocket]):
    """The sockets of a process; a context manager that closes them, and all that watches them."""

    def __init__(
        self, context: zmq.Context[AnySocket], events: Events, bounds: Bounds | None = None
    ) -> None:
        """Sockets of this context, with these bounds unless told otherwise."""
        self._context = context
        self._events = events
        self._bounds = bounds or Bounds()
        self._open: list[AnySocket] = []
        self._monitors: list[Blocking] = []
        self._watching: list[threading.Thread] = []

    def open(
        self,
        name: str,
        kind: int,
        *,
        bind: Iterable[Address] = (),
        connect: Iterable[Address] = (),
        options: Options | None = None,
        bounds: Bounds | None = None,
        watched: bool = True,
    ) -> AnySocket:
        """Open a socket; `name` is what its events call it, `options` are set before all else.

        OSError if it cannot be bound. To connect never fails: it is tried until the socket closes.
        """
        socket = self._context.socket(kind)
        self._open.append(socket)
        bounded(socket, bounds or self._bounds)
        for option, value in (options or {}).items():
            socket.set(option, value)
        if watched:
            told = self.monitor(socket)
            watching = threading.Thread(target=_tell, args=(self._events, name, told), daemon=True)
            watching.start()
            self._watching.append(watching)
        for address in bind:
            _bind(socket, address, (bounds or self._bounds).buffer)
        for address in connect:
            _connect(socket, address)
        return socket

    def monitor(self, socket: zmq.Socket[Any]) -> Blocking:
        """Give a socket that receives what befalls the connections of another one; see `seen`.

        It must be read: a monitor that is full holds up all sockets.
        """
        place = f"inproc://monitor-{id(socket)}"
        socket.monitor(place, WATCHED | zmq.EVENT_MONITOR_STOPPED)
        monitor: Blocking = zmq.Context.shadow(self._context.underlying).socket(zmq.PAIR)
        self._monitors.append(monitor)
        monitor.linger = 0
        monitor.connect(place)
        return monitor

    def drop(self, socket: AnySocket) -> None:
        """Close one socket now, with what it still had to send."""
        self._open.remove(socket)
        socket.close(0)

    def close(self) -> None:
        """Close all; what was not sent yet has each socket's `linger` to be so."""
        for socket in self._open:
            socket.close()
        for watching in self._watching:
            watching.join()
        for monitor in self._monitors:
            monitor.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def blocking(events: Events, bounds: Bounds | None = None) -> Sockets[Blocking]:
    """Give the sockets of a program that waits in its calls; each is for one thread."""
    return Sockets(zmq.Context(), events, bounds)


def asynchronous(events: Events, bounds: Bounds | None = None) -> Sockets[zmq.asyncio.Socket]:
    """Give the sockets of a program that awaits; they are closed in its event loop."""
    return Sockets(zmq.asyncio.Context(), events, bounds)


WATCHED = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_ACCEPT_FAILED
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
"""What of a connection is told; the rest are steps between these."""


def seen(frames: Sequence[bytes]) -> dict[str, Any]:
    """Give what a monitor's message says, as the fields of a `link` event: `what`, `endpoint`.

    What failed has an `error`, an attempt to connect again says `in_ms` when the next one is.
    """
    told = parse_monitor_message(list(frames))
    what = told["event"]
    fields: dict[str, Any] = {
        "what": (zmq.Event(what).name or "").lower(),
        "endpoint": told["endpoint"].decode(),
    }
    if what == zmq.EVENT_CONNECT_RETRIED:
        fields["in_ms"] = told["value"]
    elif what == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        fields["error"] = zmq.strerror(told["value"])
    elif what == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        fields["error"] = f"ZMTP error {told['value']:#x}"
    elif what == zmq.EVENT_ACCEPT_FAILED:
        fields["error"] = zmq.strerror(told["value"])
    return fields


def peer_of(frame: zmq.Frame) -> str:
    """Give the IP address that a message came from, of a frame received with `copy=False`."""
    return str(frame.get("Peer-Address"))


def _tell(events: Events, name: str, monitor: Blocking) -> None:
    """Tell what a monitor sees, until its socket is closed."""
    while (fields := seen(monitor.recv_multipart()))["what"] != "monitor_stopped":
        # A peer can bring these about at will, hence bounded.
        events.bounded("link", socket=name, **fields)
    monitor.close()


async def bursts(socket: zmq.asyncio.Socket, most: int = 100) -> AsyncIterator[list[list[bytes]]]:
    """Yield the messages that are there, up to `most` at once: awaiting each costs far more."""
    now: Blocking = zmq.Socket.shadow(socket.underlying)
    while True:
        await socket.poll()
        burst: list[list[bytes]] = []
        with contextlib.suppress(zmq.Again):
            while len(burst) < most:
                burst.append(now.recv_multipart(zmq.NOBLOCK))
        yield burst
        await asyncio.sleep(0)  # under a flood, too, the rest of the program has its turn


def _bind(socket: zmq.Socket[Any], address: Address, buffer: int) -> None:
    """Have it listen, by a socket that we open ourselves.

    libzmq would list the host's interfaces first, for which a unit's sandbox has no netlink, and
    it would forget why it failed.
    """
    family = net.AF_INET6 if ":" in address.host else net.AF_INET
    listening = net.create_server((address.host, address.port), family=family)
    if buffer:
        for option in (net.SO_SNDBUF, net.SO_RCVBUF):
            listening.setsockopt(net.SOL_SOCKET, option, buffer)
    bound = Address(*listening.getsockname()[:2])
    socket.use_fd = listening.detach()
    socket.bind(endpoint(bound))
    socket.use_fd = -1


def _connect(socket: zmq.Socket[Any], address: Address) -> None:
    socket.ipv6 = ":" in address.host
    try:
        socket.connect(endpoint(address))
    except zmq.ZMQError as error:
        number = error.errno or errno.EINVAL
        raise OSError(number, f"{endpoint(address)}: {zmq.strerror(number)}") from None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

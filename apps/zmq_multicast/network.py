"""The transports: how a socket reaches all subscribers at once, and how fast.

    epgm   PGM (RFC 3208) in UDP: subscribers ask for what they miss (NAK), the publisher repeats it
    norm   NORM (RFC 5740): the same idea, with a rate that it finds by itself
    tcp    a copy for each subscriber, beside which to measure the other two

epgm goes by ZMQ_RATE, which is 100 kbit/s if nobody says otherwise, and repairs what is in its
window: ZMQ_RATE times ZMQ_RECOVERY_IVL. The interface is always given by its numeric address. A
name would be looked up as a host's, and without one libzmq takes what this host's own name means,
which on many systems is 127.0.1.1: everything then looks well, and nothing arrives. Where the
network cannot be joined, libzmq's thread aborts the process, so it is tried out before: `rehearse`.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import Literal, TypeAlias

from apps.zmq_multicast.binding import PACKAGE, zmq
from apps.zmq_multicast.shield import guard
from apps.zmq_multicast.wire import LONGEST

Transport: TypeAlias = Literal["epgm", "norm", "tcp"]

_CAPABILITY = {"epgm": "pgm", "norm": "norm"}
"""What zmq_has(3) calls it."""
HOPS = 1
"""How many networks a datagram may pass: none but the one that it was sent to."""
OUTGOING = 1000
"""Messages that wait for their turn at the publisher."""
INCOMING = 100_000
"""Messages that wait at a subscriber until it reads them."""
RECEIVE_BUFFER = 4 << 20
PATIENCE = 10_000
"""ms that the publisher waits for room; with a rate above 0 there is some much sooner."""


class CannotOpen(OSError):
    """A transport cannot be opened on this host; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Network:
    """Where a publisher and its subscribers meet, and at which pace."""

    transport: Transport
    interface: str
    """The numeric address of this host in the network."""
    group: str
    """The multicast group; with tcp, the publisher's address."""
    port: int
    bandwidth: int
    """kbit/s that the publisher may send, headers and repairs included: ZMQ_RATE."""
    recovery: float
    """Seconds, at that bandwidth, that can be repaired: ZMQ_RECOVERY_IVL."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def window(self) -> int:
        """Bytes that the publisher keeps for repairs."""
        return round(self.bandwidth * 125 * self.recovery)

    def endpoint(self, *, publishes: bool) -> str:
        """Give it as ZeroMQ has it."""
        if self.transport == "tcp":
            host = self.interface if publishes else self.group
            return f"tcp://{host}:{self.port}"
        # NORM takes this host's address for its number, so that two of one host would be one.
        own = f"{_number(self.interface)}," if self.transport == "norm" else ""
        return f"{self.transport}://{own}{self.interface};{self.group}:{self.port}"


def _check(network: Network) -> None:
    try:
        interface = ipaddress.IPv4Address(network.interface)
    except ValueError:
        raise CannotOpen(
            f"interface {network.interface!r} is no numeric address; libzmq would look it up as a "
            "host's name: give this host's address in the lab's network, such as 198.18.0.11"
        ) from None
    if network.transport == "tcp":
        return
    if interface.is_loopback:
        raise CannotOpen(
            f"{interface} is this host's loopback: nothing sent there reaches another host; give "
            "its address in the lab's network"
        )
    try:
        group = ipaddress.IPv4Address(network.group)
    except ValueError:
        raise CannotOpen(f"{network.group!r} is no address of a group") from None
    if not group.is_multicast:
        raise CannotOpen(
            f"{group} is no multicast group: those are 224.0.0.0/4, such as 239.192.0.1"
        )


def rehearse(network: Network) -> None:
    """Do as libzmq will, with a socket of the kernel; CannotOpen says what is wrong."""
    with group_socket() as sock:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
                own.bind((network.interface, 0))
        except OSError as error:
            raise CannotOpen(
                f"{network.interface} is no address of this host ({error.strerror}); "
                "`ip -4 address` shows them"
            ) from error
        try:
            join(sock, network)
        except OSError as error:
            raise CannotOpen(
                f"{network.interface} cannot join {network.group}: {error.strerror}"
            ) from error
        try:
            sock.bind(("", network.port))
        except OSError as error:
            raise CannotOpen(
                f"port {network.port}: {error.strerror}; processes of one user can share it, and "
                "another user of this host has it: take another host, or another --port"
            ) from error


def group_socket() -> socket.socket:
    """Give a socket that shares its port with others of this user, as OpenPGM's does."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock


def join(sock: socket.socket, network: Network) -> None:
    """Have what comes for the group at the interface come to the socket; OSError."""
    own, group = (socket.inet_aton(name) for name in (network.interface, network.group))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + own)


def _number(interface: str) -> int:
    """Give a number of 31 bits: of this process, of this host."""
    low = int(ipaddress.IPv4Address(interface)) & 0xFFFF
    return low << 15 | os.getpid() & 0x7FFF


def publishing(context: zmq.Context[zmq.Socket[bytes]], network: Network) -> zmq.Socket[bytes]:
    """Open a socket that publishes; CannotOpen. It waits, rather than drop, when it is too fast."""
    sock = context.socket(zmq.XPUB)
    sock.setsockopt(zmq.XPUB_NODROP, 1)
    sock.setsockopt(zmq.XPUB_VERBOSE, 1)  # tell of each subscriber over tcp, not of each topic
    sock.setsockopt(zmq.SNDHWM, OUTGOING)
    sock.setsockopt(zmq.SNDTIMEO, PATIENCE)
    return _opened(sock, network, publishes=True)


def subscribing(
    context: zmq.Context[zmq.Socket[bytes]], network: Network, topic: str
) -> zmq.Socket[bytes]:
    """Open a socket that subscribes to topics that begin so; CannotOpen."""
    sock = context.socket(zmq.SUB)
    sock.setsockopt(zmq.RCVHWM, INCOMING)
    sock.setsockopt(zmq.RCVBUF, RECEIVE_BUFFER)
    sock.setsockopt(zmq.SUBSCRIBE, topic.encode())
    return _opened(sock, network, publishes=False)


def _opened(sock: zmq.Socket[bytes], network: Network, *, publishes: bool) -> zmq.Socket[bytes]:
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.MAXMSGSIZE, LONGEST)
    sock.setsockopt(zmq.MULTICAST_HOPS, HOPS)
    sock.setsockopt(zmq.RATE, network.bandwidth)
    sock.setsockopt(zmq.RECOVERY_IVL, max(1, round(network.recovery * 1000)))
    endpoint = network.endpoint(publishes=publishes)
    if network.transport != "tcp" and zmq.has(_CAPABILITY[network.transport]):
        try:
            rehearse(network)
        except CannotOpen:
            sock.close()
            raise
    try:
        if publishes and network.transport == "tcp":
            sock.bind(endpoint)
        else:
            sock.connect(endpoint)
    except zmq.ZMQError as error:
        sock.close()
        raise CannotOpen(f"{endpoint}: {_why(error, network)}") from error
    if network.transport == "epgm" and not guard(network.port):
        sock.close()
        raise CannotOpen(f"{endpoint}: libzmq did not open it")
    return sock


def _why(error: zmq.ZMQError, network: Network) -> str:
    if error.errno == errno.EPROTONOSUPPORT:
        return (
            f"this libzmq {zmq.zmq_version()} ({zmq.__file__}) was built without "
            f"{network.transport}; Debian's has it: apt-get install {PACKAGE}"
        )
    return f"{error.strerror or error}; `probe` tells what this host can do"

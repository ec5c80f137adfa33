"""What the installed libzmq can do on this host, and why a transport would not work here.

Each check is one of the ways in which multicast over ZeroMQ fails without a word. What can be
known is told: a check that cannot tell says so, and what to do.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apps.zmq_multicast.binding import PACKAGE, SYSTEM, zmq
from apps.zmq_multicast.network import CannotOpen, Network, Transport, group_socket, join, rehearse

BUILT_IN = ("pgm", "norm")
DEFAULT_RATE = 100
"""kbit/s: ZMQ_RATE where nobody sets it."""
_TRY = 10.0
"""Seconds that a try in a process of its own may take."""
_SIOCGIFADDR, _SIOCGIFFLAGS = 0x8915, 0x8913
_IFF_UP, _IFF_MULTICAST = 0x1, 0x1000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool | None
    """None if it cannot be told, or is only worth knowing."""
    detail: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return asdict(self)


def checks(
    transport: Transport, meeting: tuple[str, str, int], *, bandwidth: int, wait: float
) -> Iterator[Check]:
    """Look at everything, the cheapest first; what makes a transport impossible ends it.

    They meet at an interface, a group and a port; `wait` seconds for a datagram are worth it.
    """
    interface, group, port = meeting
    yield from build(transport)
    place = where(interface)
    yield place
    if not place.ok:
        return
    try:
        network = Network(transport, interface, group, port, bandwidth, recovery=1.0)
    except CannotOpen as error:
        yield Check("group", False, str(error))
        return
    yield device(interface)
    yield route(group)
    joined = membership(network)
    yield joined
    yield pace(bandwidth)
    yield neighbours(port)
    if joined.ok and zmq.has({"epgm": "pgm"}.get(transport, transport)):
        yield opens(network)
        yield heard(network, wait)


def build(transport: Transport) -> Iterator[Check]:
    """Tell which libzmq this is, and what it was built with."""
    has = {name: bool(zmq.has(name)) for name in BUILT_IN}
    told = ", ".join(f"{name}: {'yes' if there else 'no'}" for name, there in has.items())
    which = (
        f"libzmq {zmq.zmq_version()}, pyzmq {zmq.pyzmq_version()} in {Path(zmq.__file__).parent}"
    )
    yield Check("libzmq", None, f"{which}; {told}")
    if transport == "tcp":
        return
    name = {"epgm": "pgm"}.get(transport, transport)
    debian = Path(SYSTEM, "zmq").is_dir()
    why = "the wheels of PyPI bundle a libzmq without it" if not debian else "it was built without"
    yield Check(
        "build",
        has[name],
        f"{transport} is in this libzmq" if has[name] else f"no {transport}: {why}",
        "" if has[name] else f"apt-get install {PACKAGE}, and a Python made from /usr/bin/python3",
    )


def where(interface: str) -> Check:
    """Tell whether this names one of this host's ways to others, by number."""
    try:
        address = ipaddress.IPv4Address(interface)
    except ValueError:
        return _no_address(interface)
    if address.is_loopback:
        return Check(
            "interface",
            False,
            f"{address} is the loopback: what is sent there stays on this host",
            "give this host's address in the lab's network",
        )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((interface, 0))
        except OSError as error:
            what = f"{address} is no address of this host ({error.strerror}): libzmq would abort"
            return Check("interface", False, what, "ip -4 address")
    return Check("interface", True, f"{address} is an address of this host, given as a number")


def _no_address(interface: str) -> Check:
    """Tell what libzmq would make of an interface that is none, or is a name."""
    asked = interface or socket.gethostname()
    try:
        found = socket.gethostbyname(asked)
    except OSError as error:
        found = f"nothing ({error.strerror})"
    what = (
        f"{interface!r} goes through DNS like a host's name, and means {found}"
        if interface
        else f"without one, libzmq takes what this host's name {asked} means: {found}"
    )
    if found.startswith("127."):
        what += ", the loopback: nothing that is sent would arrive anywhere"
    return Check("interface", False, what, "give the numeric address: ip -4 address")


def device(interface: str) -> Check:
    """Tell whether the interface is up, and carries multicast."""
    name, flags = _device_of(interface)
    if name is None:
        return Check("device", None, f"it was not found which device has {interface}")
    able = flags & _IFF_UP and flags & _IFF_MULTICAST
    what = f"{name} is {'up' if flags & _IFF_UP else 'down'}"
    what += " and carries multicast" if able else " and carries no multicast"
    return Check("device", bool(able), what, "" if able else f"ip link set {name} up multicast on")


def _device_of(interface: str) -> tuple[str | None, int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            asked = struct.pack("256s", name.encode())
            with contextlib.suppress(OSError):  # it has no address
                address = fcntl.ioctl(sock, _SIOCGIFADDR, asked)[20:24]
                if address == socket.inet_aton(interface):
                    flags = fcntl.ioctl(sock, _SIOCGIFFLAGS, asked)[16:18]
                    return name, int.from_bytes(flags, sys.byteorder)
    return None, 0


def route(group: str) -> Check:
    """Tell whether the kernel has a way to the group by itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((group, 9))
        except OSError as error:
            if error.errno != errno.ENETUNREACH:
                return Check("route", None, f"{group}: {error.strerror}")
            what = f"no route to {group}, and none is needed where the interface is an address"
            return Check("route", None, what)
        return Check("route", None, f"to {group} from {sock.getsockname()[0]}")


def membership(network: Network) -> Check:
    """Tell whether the kernel lets this host join the group."""
    try:
        rehearse(network)
    except CannotOpen as error:
        return Check("membership", False, str(error))
    what = f"{network.interface} can join {network.group} and take port {network.port}"
    return Check("membership", True, what)


def pace(bandwidth: int) -> Check:
    """Tell what the bandwidth comes to."""
    each = 200  # of a message of some words, with its headers
    told = f"ZMQ_RATE {bandwidth} kbit/s: some {bandwidth * 125 // each} short messages a second"
    if bandwidth > DEFAULT_RATE:
        return Check("pace", True, told)
    return Check("pace", None, f"{told}; {DEFAULT_RATE} is the default", "give --bandwidth")


def neighbours(port: int) -> Check:
    """Tell whether others of this host have the port: they and we would not hear each other."""
    hexed = f":{port:04X}"
    try:
        lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    except OSError as error:
        return Check("neighbours", None, f"/proc/net/udp: {error.strerror}")
    users = {line.split()[7] for line in lines if line.split()[1].endswith(hexed)}
    if not users:
        return Check("neighbours", True, f"no other process of this host has port {port}")
    return Check(
        "neighbours",
        None,
        f"another process of this host has port {port} (user {', '.join(sorted(users))}): over "
        "epgm the two never hear each other (loop is off), and requests for repairs that are "
        "meant for one may reach the other",
        "publish from a host that does not subscribe",
    )


def opens(network: Network) -> Check:
    """Open it in a process of its own: where libzmq cannot, it aborts."""
    program = (
        "import sys\n"
        "from apps.zmq_multicast.binding import zmq\n"
        "context = zmq.Context()\n"
        "with context.socket(zmq.SUB) as sock:\n"
        "    sock.connect(sys.argv[1])\n"
        "    sock.poll(100)\n"
        "context.term()\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, network.endpoint(publishes=False)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TRY,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check("opens", False, f"opening it took more than {_TRY:g} s")
    if done.returncode == 0:
        return Check("opens", True, f"{network.endpoint(publishes=False)} opens")
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    ended = f"libzmq aborted: {said}" if done.returncode < 0 else said
    return Check(
        "opens", False, ended, "in a sandbox: let it open AF_NETLINK, call sched_setscheduler"
    )


def heard(network: Network, seconds: float) -> Check:
    """Listen for datagrams of the group: what arrives has passed bridge, switch and firewall."""
    with group_socket() as sock:
        join(sock, network)
        sock.bind((network.group, network.port))
        sender = _first_of_another(sock, network.interface, seconds)
    where_to = f"{network.group}:{network.port}"
    if sender:
        return Check("heard", True, f"a datagram of {sender} for {where_to} arrived here")
    return Check(
        "heard",
        None,
        f"nothing for {where_to} arrived in {seconds:g} s: nobody publishes, or it is kept away",
        "publish from another host; if it still does not arrive: this host's firewall (nft list "
        "ruleset), a bridge that snoops without a querier (mcast_snooping 0), a fault of the lab",
    )


def _first_of_another(sock: socket.socket, own: str, seconds: float) -> str | None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            _, (sender, _) = sock.recvfrom(65535)
        except TimeoutError:
            return None
        if sender != own:
            return str(sender)
    return None

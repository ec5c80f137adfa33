"""What leaves this host, seen where it leaves: echo requests to a peer, caught behind its faults.

The kernel tells when each frame went to the device, so one way is measured alone: whatever befalls
the answers, here or there, does not count, and a peer may be cut off or silent. All that it takes
is that its link address is known.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.faults.onhost.command import run
from lab.faults.onhost.emulator import HEADER
from lab.faults.onhost.network import routes
from lab.faults.onhost.waiting import becomes

_MAGIC = 8
_SHORTEST = _MAGIC + 4
_BEFORE = HEADER + 20
"""Bytes of Ethernet's and IP's headers."""
_ECHO_REQUEST = 8
_ALL_PROTOCOLS = 0x0003
_OUTGOING = 4
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_ROOM = 8 * 2**20
_ASKED = 8
_SECONDS = 0.5
_UNKNOWN = {"INCOMPLETE", "FAILED", "NONE"}


@dataclass(frozen=True)
class Route:
    """How a peer is reached."""

    peer: str
    device: str
    next_hop: str


@dataclass(frozen=True)
class Salvo:
    """Some probes to be sent."""

    count: int
    payload: int
    """Bytes of each, after ICMP's header."""
    pace: float
    """Seconds from one to the next."""
    patience: float
    """Seconds that the last one has to leave."""

    @property
    def frame(self) -> int:
        """Bytes of each on the wire."""
        return _BEFORE + 8 + self.payload


@dataclass
class Sample:
    """What became of a salvo."""

    sent: list[float] = field(default_factory=list)
    """When each was sent."""
    left: list[tuple[int | None, float]] = field(default_factory=list)
    """Which left, and when, in order; None stands for one that was damaged."""


def reachable(peers: Sequence[str]) -> Route | None:
    """Give the route to one of some peers whose link address is known; None if none's is."""
    asked = random.sample(peers, min(_ASKED, len(peers)))
    ways = [
        Route(route["dst"], route["dev"], route.get("gateway", route["dst"]))
        for route in routes(tuple(asked))
    ]
    found: list[Route] = []

    def resolved() -> bool:
        shown = json.loads(run("ip", "-json", "neigh", "show").stdout or "[]")
        known = {at["dst"] for at in shown if not _UNKNOWN.intersection(at["state"])}
        found[:] = [route for route in ways if route.next_hop in known]
        return bool(found)

    if not resolved():
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as out:
            for peer in asked:
                out.sendto(_request(b""), (peer, 0))
        becomes(resolved, _SECONDS)
    return found[0] if found else None


def fire(route: Route, salvo: Salvo) -> Sample:
    """Send the probes, and see what leaves."""
    payload = max(salvo.payload, _SHORTEST)
    magic = os.urandom(_MAGIC)
    filling = bytes(payload - _SHORTEST)
    requests = [_request(magic + struct.pack("!I", i) + filling) for i in range(salvo.count)]
    places = {request: place for place, request in enumerate(requests)}
    sample = Sample()
    with (
        _sniffer(route.device, _BEFORE + len(requests[0])) as seen,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as out,
    ):
        began = time.monotonic()
        for place, request in enumerate(requests):
            ahead = began + place * salvo.pace - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            sample.sent.append(time.time())
            out.sendto(request, (route.peer, 0))
        deadline = time.monotonic() + salvo.patience
        to = socket.inet_aton(route.peer)
        while (ahead := deadline - time.monotonic()) > 0:
            if not select.select([seen], [], [], ahead)[0]:
                break
            frame, told, _, _ = seen.recvmsg(65536, 64)
            met = places.get(frame[_BEFORE:])
            ours = frame[_BEFORE - 4 : _BEFORE] == to and frame[_BEFORE] == _ECHO_REQUEST
            if met is None and magic not in frame and not ours:
                continue  # our answer to a probe of the peer, or as long as ours by chance
            seconds, nanoseconds = struct.unpack("qq", told[0][2][:16])
            whole = _sum(frame[HEADER:_BEFORE]) == 0
            sample.left.append((met if whole else None, seconds + nanoseconds / 1e9))
    return sample


def _request(payload: bytes) -> bytes:
    """Give an ICMP echo request (RFC 792)."""
    blank = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, os.getpid() & 0xFFFF, 0) + payload
    return blank[:2] + struct.pack("!H", _sum(blank)) + blank[4:]


def _sum(data: bytes) -> int:
    """Give the Internet checksum (RFC 1071); that of data which holds its own is 0."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    total += (data[-1] << 8) if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _sniffer(device: str, length: int) -> socket.socket:
    """Give a socket that gets the frames of this length that leave the device."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    # bpf(4): the packet's type, then its length; what is something else is not kept at all.
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0xFFFFF000 + 4),
            (0x15, 0, 3, _OUTGOING),
            (0x80, 0, 0, 0),
            (0x15, 0, 1, length),
            (0x06, 0, 0, 0xFFFFFFFF),
            (0x06, 0, 0, 0),
        )
    )
    code = ctypes.create_string_buffer(program)
    sniffer.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 6, ctypes.addressof(code))
    )
    sniffer.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    sniffer.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sniffer.bind((device, _ALL_PROTOCOLS))
    return sniffer

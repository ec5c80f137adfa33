"""The sender: fire and forget. It never listens, so all it knows is what it sent."""

from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Refused, Rejected
from apps.udp_oneway.trouble import Trouble
from apps.udp_oneway.wire import FAREWELLS, Numbered, encode

BETWEEN_FAREWELLS = 0.05
"""Seconds; what overruns the receiver's buffer now has room then."""


class Sender:
    """A run of numbered datagrams to one receiver; a context manager that ends the run."""

    def __init__(self, target: Address, events: Events, trouble: Trouble) -> None:
        """Begin a run; Refused if the target's name is unknown, Rejected if our own is none."""
        self._events = events
        self._trouble = trouble
        self._peer = str(target)
        self._run = time.time_ns()
        self.sent = self.unsent = 0
        _encoded(self._end())
        try:
            found = socket.getaddrinfo(*target, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise Refused(f"{target}: {error.strerror or error}") from error
        family, kind, protocol, _, to = found[0]
        self._to: tuple[Any, ...] = to
        self._socket = socket.socket(family, kind, protocol)

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *how: object) -> None:
        """Say the end, and let go of the socket."""
        for datagram in self._trouble.rest():
            self._hand_over(datagram)
        last = _encoded(self._end())
        for _ in range(FAREWELLS):
            self._hand_over(last)
            time.sleep(BETWEEN_FAREWELLS)
        self._socket.close()

    @property
    def stream(self) -> str:
        """The name of this run, as the receiver reports it."""
        return self._end().stream

    def send(self, payload: bytes) -> None:
        """Send the next datagram; Rejected if it cannot be one."""
        datagram = self._numbered(payload, self.sent + 1)
        data = _encoded(datagram)
        self.sent += 1
        self._events.send(
            datagram.id, self._peer, bytes=len(payload), crc=f"{zlib.crc32(payload):08x}"
        )
        for passed in self._trouble.pass_on(data):
            self._hand_over(passed)

    def figures(self) -> dict[str, Any]:
        """Give what was sent: `sent` counts numbers, whatever trouble befell them."""
        trouble = self._trouble
        return {
            "stream": self.stream,
            "sent": self.sent,
            "unsent": self.unsent,
            "corrupted": trouble.corrupted,
            "copies": trouble.copies,
            "late": trouble.late,
        }

    def _numbered(self, payload: bytes, number: int) -> Numbered:
        return Numbered(self._events.node, self._run, number, time.time_ns(), payload)

    def _end(self) -> Numbered:
        return Numbered(self._events.node, self._run, self.sent, time.time_ns(), end=True)

    def _hand_over(self, data: bytes) -> None:
        try:
            self._socket.sendto(data, self._to)
        except OSError:
            self.unsent += 1  # no route, or a firewall: forgotten, as what the network loses is


def _encoded(datagram: Numbered) -> bytes:
    try:
        return encode(datagram)
    except ValueError as error:
        raise Rejected(str(error)) from error


def paced(payloads: Iterable[bytes], rate: float, seconds: float | None = None) -> Iterator[bytes]:
    """Give them so many a second, without drifting; as fast as possible if `rate` is 0.

    None begins its way after so many seconds, if they are given.
    """
    began = time.perf_counter()
    for number, payload in enumerate(payloads):
        if rate:
            ahead = began + number / rate - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)
        if seconds is not None and time.perf_counter() - began >= seconds:
            return
        yield payload

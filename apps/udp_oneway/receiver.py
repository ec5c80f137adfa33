"""The receiver: takes what comes, counts it, reports on its own and when asked.

Datagrams come over UDP. Who wants to know asks over TCP, on the same port, with a line:

    counts            everything, as one line of JSON
    counts n1         the same, with the streams of sender n1 alone
"""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.framing import Lines
from apps.kit.tcp import FramedServer, Limits
from apps.kit.udp import UdpEndpoint
from apps.udp_oneway.core import Fate, Receiver
from apps.udp_oneway.wire import Corrupt, Datagram, Numbered, Text, decode

MOST_SENDERS = 1000
"""The highest limit on streams: the report of all is one line, which must fit."""
LONGEST_LINE = 1 << 20
"""Bytes of a question or a report."""
_ASKERS = 64
_SHOWN = 200


class ReceiverService:
    """An async context manager that receives while it is entered."""

    def __init__(
        self,
        listen: Address,
        events: Events,
        *,
        senders: int,
        window: int,
        receive_buffer: int,
        every: float,
    ) -> None:
        """Limits as in `core.Receiver`; report each `every` seconds what has changed."""
        self._events = events
        self._every = every
        self._counts = Receiver(senders, window)
        self._reported: Mapping[str, int] = {}
        self._udp = UdpEndpoint(listen, self._arrive, receive_buffer=receive_buffer)

    async def __aenter__(self) -> Self:
        self._events.emit("start")  # before the first datagram can come: from here on it counts
        await self._udp.__aenter__()
        self._tcp = FramedServer(
            self._udp.address,
            lambda _peer: self._answer,
            self._events,
            framing=lambda: Lines(LONGEST_LINE),
            complain=_complaint,
            limits=Limits(connections=_ASKERS),
        )
        try:
            await self._tcp.__aenter__()
        except OSError:
            await self._udp.__aexit__(None, None, None)
            raise
        self._reporting = asyncio.create_task(self._report_now_and_then())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reporting.cancel()
        self._report()
        await self._tcp.__aexit__(kind, error, trace)
        await self._udp.__aexit__(kind, error, trace)

    @property
    def address(self) -> Address:
        """Where it receives, and answers."""
        return self._udp.address

    def report(self, sender: str | None = None) -> dict[str, Any]:
        """Give the totals and the streams, as they are sent to who asks."""
        return {"totals": self._totals(), "streams": self._counts.report(sender)}

    def _totals(self) -> dict[str, int]:
        """Add to what was counted what the kernel dropped, for want of room in its buffer."""
        return {**self._counts.totals(), "dropped": self._udp.queue.dropped}

    def _arrive(self, data: bytes, peer: Address) -> None:
        datagram = decode(data)
        fate = self._counts.take(datagram, time.time_ns())
        self._tell(fate, datagram, peer)

    def _tell(self, fate: Fate, datagram: Datagram, peer: Address) -> None:
        match datagram:
            case Numbered(payload=payload) if fate is Fate.RECEIVED:
                crc = f"{zlib.crc32(payload):08x}"
                self._events.recv(datagram.id, datagram.sender, bytes=len(payload), crc=crc)
            case Numbered():
                self._events.bounded(fate.value, id=datagram.id, peer=datagram.sender)
            case Text(text):
                self._events.bounded(fate.value, peer=str(peer), text=text[:_SHOWN].rstrip())
            case Corrupt(why):
                self._events.bounded(fate.value, peer=str(peer), why=why)

    async def _report_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self._report()

    def _report(self) -> None:
        totals = self._totals()
        if totals != self._reported:
            self._reported = totals
            self._events.emit("totals", **totals)
        for stream in self._counts.changes():
            self._events.emit("counts", **stream)

    async def _answer(self, line: bytes) -> bytes:
        match line.decode(errors="replace").split():
            case ["counts"]:
                return json.dumps(self.report()).encode()
            case ["counts", sender]:
                return json.dumps(self.report(sender)).encode()
            case _:
                return _complaint("not understood; ask `counts`, or `counts SENDER`")


def _complaint(why: str) -> bytes:
    return json.dumps({"error": why}).encode()

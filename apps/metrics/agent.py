"""The agent of a host: takes samples of every process on it, spools them, hands them on.

Its socket's queue is the bound between it and the patterns: when the spool is full, it is not read
any more, then it is full as well, and who samples is told so at once and counts.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.metrics import DATAGRAM_MOST, INTAKE
from apps.kit.retry import set_within
from apps.metrics.core import BATCH_MOST, Answer, Malformed, Sample, Stamps, datagram, encode
from apps.metrics.spool import Full, Spool
from apps.metrics.tasks import ends_process
from apps.metrics.uplink import Uplink

_AT_ONCE = 256
"""Datagrams that are read before others get their turn."""
_PENDING = 4 * BATCH_MOST
"""Samples in memory above which the socket is not read."""
_GATHER = 0.2
"""Seconds that samples wait for others, so that they are synced together."""
_READ = 1 << 17
"""Bytes that are read of the spool at once."""


class Agent:
    """An async context manager that takes samples while it is entered."""

    def __init__(
        self, collector: Address, spool: Spool, events: Events, intake: str = INTAKE
    ) -> None:
        """Take them at a socket, keep them in a spool; both are opened when this is entered."""
        self._collector = collector
        self._spool = spool
        self._events = events
        self._intake = intake
        self._pending: list[Sample] = []
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._put = 0
        """The newest record that was put into the window."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.enter_context(self._spool)
            self._stamps = Stamps(_newest(self._spool.last))
            kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._socket = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            self._socket.bind(self._intake)
            uplink = Uplink(self._collector, self._events, self._fill, self._settled)
            self._uplink = await stack.enter_async_context(uplink)
            self._gathering = asyncio.create_task(self._gather())
            for task in (self._gathering, *uplink.tasks):
                ends_process(task, self._events)
            self._listen()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async with self._stack:
            self._deafen()
            self._gathering.cancel()
            await asyncio.gather(self._gathering, return_exceptions=True)
            self._read()
            await self._flush()

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _deafen(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)

    def _read(self) -> None:
        """Take what lies in the socket, or some of it."""
        for _ in range(_AT_ONCE):
            if len(self._pending) >= _PENDING:
                self._deafen()
                break
            try:
                data = self._socket.recv(DATAGRAM_MOST + 1)
            except BlockingIOError:
                break
            self._take(data)
        if self._pending:
            self._some.set()
        if len(self._pending) >= BATCH_MOST:
            self._enough.set()

    def _take(self, data: bytes) -> None:
        try:
            found = datagram(data)
        except Malformed as error:
            self._events.bounded("malformed", error=str(error))
            return
        now = time.time_ns()
        for sample in found:
            if sample is not None:
                self._pending.append(sample._replace(t=self._stamps.give(sample.t, now)))

    async def _gather(self) -> None:
        while True:
            await self._some.wait()
            await set_within(self._enough, _GATHER)
            self._enough.clear()
            if not await self._flush():
                await asyncio.sleep(_GATHER)
            if not self._pending:
                self._some.clear()
            self._listen()

    async def _flush(self) -> bool:
        """Have what is pending on the disk; whether there was room."""
        taken = list(self._pending)
        parts = (taken[i : i + BATCH_MOST] for i in range(0, len(taken), BATCH_MOST))
        payloads = [encode(self._events.node, part) for part in parts]
        if not payloads:
            return True
        try:
            await asyncio.to_thread(self._spool.append, payloads)
        except (Full, OSError) as error:
            self._events.bounded("full", samples=len(taken), error=str(error))
            return False
        del self._pending[: len(taken)]
        self._uplink.wake()
        return True

    def _fill(self, uplink: Uplink) -> None:
        while uplink.window.open and (found := self._spool.after(self._put, 1)):
            self._put, payload = found[0]
            uplink.put(self._put, payload)

    def _settled(self, number: int, answer: Answer, text: str) -> None:
        if answer is Answer.MALFORMED or text != "0":
            self._events.bounded("refused", id=f"{self._uplink.source}#{number}", error=text)
        self._spool.drop([number])


def _newest(batch: bytes | None) -> int:
    """Give the greatest stamp of the newest batch; 0 if there is none."""
    return max((sample[0] for sample in json.loads(batch)["samples"]), default=0) if batch else 0

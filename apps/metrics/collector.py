"""The collector: takes batches of all agents, and answers when they are on its disk.

Two loops share the spool. One takes what has arrived, all of it, syncs it once and answers; the
other writes the oldest records to InfluxDB and drops what it has acknowledged. If InfluxDB is away,
the spool fills; if that is full, batches are answered so, and their senders keep them.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import NamedTuple, Self

import zmq

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Rejected
from apps.kit.zeromq import Bounds, asynchronous
from apps.metrics.core import Answer, Malformed, lines
from apps.metrics.influx import Influx, NoDatabase
from apps.metrics.spool import Full, Spool
from apps.metrics.tasks import ends_process
from apps.metrics.uplink import MESSAGE

_TOGETHER = 64
"""Batches that are synced at once."""
_BOUNDS = Bounds(waiting=8, message=MESSAGE, heartbeat=1.0, silence=3.0)
"""A peer's queue is in memory: a flood of peers has so much of it, each."""
_WRITE = 1 << 19
"""Bytes that are written to InfluxDB at once."""
_AGAIN = 0.5
"""Seconds until InfluxDB is tried again."""
_NAME_MOST = 128


class _Batch(NamedTuple):
    """What a sender wants to be rid of."""

    peer: bytes
    id: bytes
    lines: bytes
    refused: int
    """Samples of it that are none."""


class Collector:
    """An async context manager that collects while it is entered."""

    def __init__(self, listen: Address, influx: Influx, spool: Spool, events: Events) -> None:
        """Listen there; all else is opened when this is entered."""
        self._listen = listen
        self._influx = influx
        self._spool = spool
        self._events = events
        self._some = asyncio.Event()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.enter_context(self._spool)
            if self._spool.damaged:
                self._events.emit("error", error=f"{self._spool.damaged} segments were damaged")
            sockets = stack.enter_context(asynchronous(self._events, _BOUNDS))
            self._socket = sockets.open("agents", zmq.ROUTER, bind=[self._listen])
            if len(self._spool):
                self._some.set()
            self._tasks = [asyncio.create_task(self._take()), asyncio.create_task(self._write())]
            for task in self._tasks:
                ends_process(task, self._events)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async with self._stack:
            for task in self._tasks:
                task.cancel()
            self._influx.abort()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self) -> None:
        while True:
            arrived = [await self._socket.recv_multipart()]
            with suppress(zmq.Again):
                while len(arrived) < _TOGETHER:
                    arrived.append(await self._socket.recv_multipart(zmq.NOBLOCK))
            now = time.time_ns()
            batches = [one for frames in arrived if (one := await self._batch(frames, now))]
            records = [batch.lines for batch in batches if batch.lines]
            try:
                if records:
                    await asyncio.to_thread(self._spool.append, records)
            except (Full, OSError) as error:
                self._events.bounded("full", batches=len(records), error=str(error))
                for batch in batches:
                    await self._answer(batch.peer, batch.id, Answer.FULL, str(error))
                continue
            if records:
                self._some.set()
            for batch in batches:
                await self._answer(batch.peer, batch.id, Answer.KEPT, str(batch.refused))

    async def _batch(self, frames: list[bytes], now: int) -> _Batch | None:
        """Read a request; None if it is none, which its sender is told as far as it can be."""
        peer, *rest = frames
        try:
            if len(rest) != 2 or not _printable(rest[0]):
                raise Malformed("a request is a printable id and a batch")
            good, bad = lines(rest[1], now)
        except Malformed as error:
            self._events.bounded("malformed", error=str(error))
            with suppress(IndexError):
                await self._answer(peer, rest[0], Answer.MALFORMED, str(error))
            return None
        name, payload = rest
        self._events.recv(name.decode(), "", bytes=len(payload), samples=len(good))
        if bad:
            self._events.bounded("refused", id=name.decode(), samples=len(bad), error=bad[0])
        return _Batch(peer, name, "\n".join(good).encode(), len(bad))

    async def _answer(self, peer: bytes, id_: bytes, answer: Answer, text: str) -> None:
        with suppress(zmq.ZMQError):  # its queue is full, or it is gone: it will ask again
            await self._socket.send_multipart([peer, id_, answer.value, text.encode()], zmq.NOBLOCK)
        if answer is not Answer.MALFORMED:
            self._events.send(f"{id_.decode()}/answer", "", answer=answer.value.decode())

    async def _write(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while records := self._spool.after(0, _WRITE):
                numbers, bodies = zip(*records, strict=True)
                if await self._written(b"\n".join(bodies)):
                    self._spool.drop(numbers)
                else:
                    await asyncio.sleep(_AGAIN)

    async def _written(self, body: bytes) -> bool:
        """Write lines; whether they need not be written again."""
        points = body.count(b"\n") + 1
        try:
            await asyncio.to_thread(self._influx.write, body)
        except NoDatabase:
            with suppress(CallFailed):
                await asyncio.to_thread(self._influx.create)
            return False
        except Rejected as error:
            self._events.bounded("rejected", points=points, error=str(error))
        except CallFailed as error:
            self._events.bounded("away", error=str(error), waiting=len(self._spool))
            return False
        else:
            self._events.bounded("written", points=points)
        return True


def _printable(name: bytes) -> bool:
    return 0 < len(name) <= _NAME_MOST and name.isascii() and name.decode().isprintable()

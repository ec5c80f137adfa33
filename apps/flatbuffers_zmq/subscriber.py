"""The subscriber: connected to publishers, verifies what comes, reads it where it lies, counts."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import zmq
import zmq.asyncio

from apps.flatbuffers_zmq.codec import Schema, Topic
from apps.flatbuffers_zmq.counts import Counts
from apps.flatbuffers_zmq.publisher import bounds
from apps.flatbuffers_zmq.verifier import Malformed
from apps.flatbuffers_zmq.wire import Label, label, unpack
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Refused
from apps.kit.zeromq import asynchronous

STREAMS = 1000
"""Runs of publishers that are kept in mind."""


class Subscriber:
    """An async context manager that is connected while it is entered."""

    def __init__(
        self,
        publishers: Sequence[Address],
        events: Events,
        *,
        schema: Schema,
        prefixes: Sequence[str],
        waiting: int,
    ) -> None:
        """Read with this schema what begins with one of the prefixes; keep so many waiting."""
        self._publishers = publishers
        self._events = events
        self._schema = schema
        self._prefixes = prefixes
        self._waiting = waiting
        self._counts = Counts(STREAMS)
        self._fixed = {
            "reader": f"{events.node}-{secrets.token_hex(4)}",
            "read_with": schema.value,
        }
        self.received = self.refused = 0

    async def __aenter__(self) -> Self:
        self._sockets = asynchronous(self._events, bounds(self._waiting))
        self._socket = self._sockets.open(
            "subscriber",
            zmq.SUB,
            connect=self._publishers,
            # The kernel's own patience with a host that is cut off is minutes.
            options={zmq.CONNECT_TIMEOUT: 1000},
        )
        for prefix in self._prefixes:
            self._socket.subscribe(prefix)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.report()
        await asyncio.to_thread(self._sockets.close)

    async def next(self) -> tuple[Label, Topic] | None:
        """Wait for the next message; None if it must not be read, which is told and counted."""
        # No copy: the topic's numbers are a view of libzmq's own message.
        parts = await self._socket.recv_multipart(copy=False)
        return self._take([part.buffer for part in parts])

    def report(self) -> None:
        """Tell what changed in what was counted."""
        for figures in self._counts.changes():
            self._events.emit("counts", **self._fixed, **figures)

    def _take(self, parts: Sequence[memoryview]) -> tuple[Label, Topic] | None:
        try:
            named = label(parts)
        except Malformed as error:
            self._refuse(str(error))
            return None
        counted = self._counts.comes(*named)
        if counted is None:
            self._refuse("it came before, or out of order", id=str(named))
            return None
        topic = self._read(parts, named)
        if topic is None:
            counted.refused += 1
        else:
            counted.received += 1
        if counted.first == counted.highest:
            self.report()
        return None if topic is None else (named, topic)

    def _read(self, parts: Sequence[memoryview], named: Label) -> Topic | None:
        try:
            topic = unpack(parts, named, self._schema)
        except Malformed as error:
            self._refuse(str(error), id=str(named))
            return None
        about = {"crc": topic.crc, "unit": topic.unit, "quality": topic.quality}
        self._events.recv(str(named), named.publisher, **self._fixed, **about)
        self.received += 1
        return topic

    def _refuse(self, why: str, **about: str) -> None:
        self.refused += 1
        self._events.bounded("refused", **self._fixed, **about, why=why)


class SubscriberService:
    """The unit: takes what comes while it is entered, and reports every so many seconds."""

    def __init__(self, subscriber: Subscriber, every: float) -> None:
        """Report so often, in seconds."""
        self._subscriber = subscriber
        self._every = every

    async def __aenter__(self) -> Self:
        await self._subscriber.__aenter__()
        self._tasks = [asyncio.create_task(self._take()), asyncio.create_task(self._report())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._subscriber.__aexit__(kind, error, trace)

    async def _take(self) -> None:
        while True:
            await self._subscriber.next()

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self._subscriber.report()


def reachable(publishers: Sequence[Address]) -> None:
    """Look the publishers' names up; Refused if one is unknown, which ZeroMQ would never say."""
    for publisher in publishers:
        try:
            socket.getaddrinfo(*publisher, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Refused(f"{publisher}: {error.strerror or error}") from error

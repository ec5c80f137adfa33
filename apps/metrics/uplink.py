"""The way to the collector: batches go, answers come back, what is not answered goes again.

A request is two frames, a batch's id and the batch; an answer is three: the id, an `Answer`, and
what there is to say. An id is `<source>#<number>`; a source is one process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import zmq

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.zeromq import Bounds, asynchronous
from apps.metrics.core import Answer, Window

MESSAGE = 1 << 17
"""Bytes of a batch."""
BOUNDS = Bounds(waiting=16, message=MESSAGE, heartbeat=1.0, silence=3.0)
_NO_ONE = {zmq.IMMEDIATE: 1}
"""What has no connection is not queued: it is ours to keep."""

Settled = Callable[[int, Answer, str], None]


class Uplink:
    """An async context manager: while it is entered, batches go to the collector."""

    def __init__(
        self,
        collector: Address,
        events: Events,
        fill: Callable[[Uplink], None],
        settled: Settled,
    ) -> None:
        """`fill` puts what there is while the window is open; `settled` is told what became of it.

        Both are called in the event loop; `wake` has `fill` called again.
        """
        self.source = events.operation()
        self.window = Window()
        self.full = 0
        """Answers that there was no room."""
        self._collector = collector
        self._events = events
        self._fill = fill
        self._settled = settled
        self._more = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """Look again for what there is to send."""
        self._more.set()

    def put(self, number: int, payload: bytes) -> None:
        """Take a batch; only while the window is open."""
        self.window.put(number, payload, self._loop.time())

    async def __aenter__(self) -> Self:
        self._sockets = asynchronous(self._events, BOUNDS)
        try:
            self._socket = self._sockets.open(
                "collector", zmq.DEALER, connect=[self._collector], options=_NO_ONE
            )
        except BaseException:
            self._sockets.close()
            raise
        self.tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self._sockets.close()

    async def _send(self) -> None:
        while True:
            self._more.clear()
            self._fill(self)
            for number, payload in self.window.due(self._loop.time()):
                name = f"{self.source}#{number}"
                try:
                    await self._socket.send_multipart([name.encode(), payload], zmq.NOBLOCK)
                except zmq.Again:
                    self.window.unsent(number, self._loop.time())
                else:
                    self._events.send(name, str(self._collector), bytes=len(payload))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(
                    self._loop.time() + self.window.wait(self._loop.time())
                ):
                    await self._more.wait()

    async def _receive(self) -> None:
        while True:
            frames = await self._socket.recv_multipart()
            try:
                name, word, text = (frame.decode() for frame in frames)
                number = int(name.removeprefix(f"{self.source}#"))
                answer = Answer(word.encode())
            except ValueError:
                self._events.bounded("peer_error", error="no answer of a collector")
                continue
            self._events.recv(f"{name}/answer", str(self._collector), answer=word)
            self.full += answer is Answer.FULL
            if self.window.answered(number, answer, self._loop.time()):
                self._settled(number, answer, text)
            self._more.set()

"""PULL, the end of a pipeline, and a poller (zguide chapter 1, "Divide and Conquer"; chapter 2,
"Handling Multiple Sockets").

Two sockets in one loop: results come by PULL from all workers, fairly, and by REP somebody may ask
what a batch has come to. The poller waits for both; the asking must not wait for the results, nor
they for it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import running
from apps.kit.zeromq import Blocking, Bounds, asynchronous
from apps.zeromq.core import Batches
from apps.zeromq.wire import Garbled, Result

_BURST = 100


@asynccontextmanager
async def sink(
    events: Events, listen: Address, totals: Address, batches: int, bounds: Bounds
) -> AsyncIterator[None]:
    """Count the results that come to `listen`; answer at `totals` what a batch has come to."""
    with asynchronous(events, bounds) as sockets:
        results = sockets.open("results", zmq.PULL, bind=[listen])
        questions = sockets.open("totals", zmq.REP, bind=[totals])
        counting = _Sink(events, Batches(batches))
        async with running(counting.run(results, questions)):
            yield


class _Sink:
    def __init__(self, events: Events, batches: Batches) -> None:
        self._events = events
        self._batches = batches

    async def run(self, results: zmq.asyncio.Socket, questions: zmq.asyncio.Socket) -> None:
        poller = zmq.asyncio.Poller()
        poller.register(results, zmq.POLLIN)
        poller.register(questions, zmq.POLLIN)
        now: Blocking = zmq.Socket.shadow(results.underlying)
        while True:
            ready = dict(await poller.poll())
            if questions in ready:
                frames = await questions.recv_multipart()
                report = self._batches.report(frames[0].decode(errors="replace"))
                await questions.send(json.dumps(report).encode())
            if results in ready:
                # What is there, up to a bound; then it is the questions' turn again.
                with contextlib.suppress(zmq.Again):
                    for _ in range(_BURST):
                        self._take(now.recv_multipart(zmq.NOBLOCK)[0])

    def _take(self, frame: bytes) -> None:
        try:
            result = Result.decode(frame)
            name, number, of, node, square = result
            self._events.recv(result.id, node)
            batch = self._batches.take(name, number, of, node, square)
        except (Garbled, ValueError) as error:
            self._events.bounded("garbled", error=str(error))
            return
        if batch.complete:
            self._events.emit("batch", batch=name, **batch.as_json())

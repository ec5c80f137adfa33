"""PULL and PUSH: a worker between ventilator and sink (zguide chapter 1, "Divide and Conquer").

It connects to both and is bound nowhere, so there may be any number of them, and they come and go.
It takes tasks from every ventilator that is there, fairly. Its queue is short: what waits in it is
lost if it dies, and is work that a faster one could have done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import running
from apps.kit.zeromq import Bounds, asynchronous, bursts
from apps.zeromq.wire import Garbled, Result, Task


@asynccontextmanager
async def worker(
    events: Events, ventilators: Sequence[Address], sink: Address, bounds: Bounds
) -> AsyncIterator[None]:
    """Square what the ventilators give out, and give it to the sink."""
    with asynchronous(events, bounds) as sockets:
        # Where no ventilator is now, connecting is tried for ever: nothing to write a log about.
        tasks = sockets.open("tasks", zmq.PULL, connect=ventilators, watched=False)
        results = sockets.open("results", zmq.PUSH, connect=[sink])
        async with running(_work(events, tasks, results)):
            yield


async def _work(events: Events, tasks: zmq.asyncio.Socket, results: zmq.asyncio.Socket) -> None:
    async for burst in bursts(tasks):
        for frames in burst:
            try:
                task = Task.decode(frames[0])
            except Garbled as error:
                events.bounded("garbled", error=str(error))
                continue
            events.recv(task.id, "ventilator")
            if task.work:
                await asyncio.sleep(task.work / 1000)
            result = Result(task.batch, task.number, task.of, events.node, task.number**2)
            await results.send(result.encode())
            events.send(result.id, "sink")

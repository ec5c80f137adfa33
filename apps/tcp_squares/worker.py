"""The worker: take a task, square its number here, bring the result, until there is none left."""

from __future__ import annotations

import asyncio
import math
import os
import random
from typing import NamedTuple

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.events import Events
from apps.kit.outcome import CallFailed
from apps.kit.retry import Deadline
from apps.tcp_squares.client import GRACE, ROUND, ask, connect, failed, misunderstood

PAUSE = 1.0
"""Seconds that it rests at most after a call that failed."""


class Task(NamedTuple):
    """A number to square, and the lease under which."""

    lease: str
    number: int


async def work(server: Address, events: Events, *, follow: float | None, delay: float) -> None:
    """Work until no task is free, or for `follow` seconds, through restarts of the server too.

    Each task takes `delay` seconds more than it needs, so that a worker can be met at work.
    """
    name = f"{events.node}-{os.getpid()}"
    ends = Deadline(math.inf if follow is None else follow)
    rng = random.Random(name)
    events.say(f"{name} works for {server}" + ("" if follow is None else ", Ctrl-C ends it"))
    done = 0
    async with connect(server, events, ROUND + GRACE, rng=rng) as caller:
        while not ends.passed:
            try:
                wait = 0.0 if follow is None else min(ends.remaining, ROUND)
                task = await take(caller, name, wait)
                if task is not None:
                    await do(caller, events, task, delay)
                    done += 1
                elif follow is None:
                    break
            except CallFailed as error:
                if follow is None:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}; trying again")
                await asyncio.sleep(rng.uniform(0, PAUSE))
    events.say(f"no task is free; did {done}")


async def take(caller: Caller, worker: str, wait: float) -> Task | None:
    """Take a task, if one is free within so many seconds."""
    match await ask(caller, f"take {worker} {wait:.3f}"):
        case ["task", lease, number]:
            return Task(lease, int(number))
        case ["none"]:
            return None
        case words:
            raise misunderstood(words)


async def do(caller: Caller, events: Events, task: Task, delay: float) -> None:
    """Square the number and bring the result; record the operation and whether it counted."""
    op = events.operation()
    events.emit("invoke", op=op, f="work", lease=task.lease, value=str(task.number))
    await asyncio.sleep(delay)
    square = task.number**2
    try:
        answer = " ".join(await ask(caller, f"done {task.lease} {square}"))
    except CallFailed as error:
        failed(events, error, op, f="work", lease=task.lease, value=str(task.number))
        raise
    counted = answer == "counted"
    events.emit("ok", op=op, f="work", lease=task.lease, value=str(square), counted=counted)
    events.say(f"{task.number}² = {square}   ({answer})")

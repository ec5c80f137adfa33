"""The echo client: one text, a conversation, or a crowd of callers at once."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Rejected


@dataclass(frozen=True, slots=True)
class Echo:
    """A reply: the server's time and the text that it sent back."""

    stamp: str
    text: str


def parse(reply: bytes) -> Echo:
    """Read a reply; Rejected if the server complained."""
    head, _, rest = reply.decode(errors="replace").partition(" ")
    if head == "error:":
        raise Rejected(rest)
    return Echo(head, rest)


async def echo(caller: Caller, events: Events, op: str, text: str) -> Echo:
    """Ask once, and record what was asked and what is known of the outcome."""
    events.emit("invoke", op=op, f="echo", value=text)
    try:
        # Echoing twice does no harm, so a call of unknown outcome may be repeated.
        reply = parse(await caller.call(text.encode(), idempotent=True))
    except CallFailed as error:
        events.emit(error.event, op=op, f="echo", value=text, error=str(error))
        raise
    events.emit("ok", op=op, f="echo", value=reply.text, stamp=reply.stamp)
    return reply


async def converse(
    server: Address, events: Events, texts: Iterable[str], *, patience: float, persist: bool
) -> None:
    """Echo each text and show the replies; `persist` goes on after a call that failed."""
    async with Caller(server, events, timeout=patience) as caller:
        for number, text in enumerate(texts, 1):
            began = time.perf_counter()
            try:
                reply = await echo(caller, events, f"{events.node}:{number}", text)
            except CallFailed as error:
                if not persist:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}")
                continue
            took = (time.perf_counter() - began) * 1e3
            events.say(f"{reply.text}   (server time {reply.stamp}, {took:.1f} ms)")


async def crowd(
    server: Address, events: Events, *, count: int, callers: int, patience: float, seed: int
) -> None:
    """Let `callers` ask at once until `count` texts were asked, and sum up."""
    numbers = iter(range(count))
    latencies: list[float] = []
    failed = 0

    async def one(name: str) -> None:
        nonlocal failed
        rng = random.Random(f"{seed}/{name}")
        async with Caller(server, events, timeout=patience, rng=rng) as caller:
            for number in numbers:
                op = f"{name}:{number}"
                began = time.perf_counter()
                try:
                    await echo(caller, events, op, f"{op} {rng.randbytes(8).hex()}")
                except CallFailed as error:
                    failed += 1
                    events.say(f"{type(error).__name__.lower()}: {error}")
                else:
                    latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one(f"{events.node}-{number}") for number in range(callers)))
    summarise(events, latencies, failed, time.perf_counter() - began)


def summarise(events: Events, latencies: list[float], failed: int, took: float) -> None:
    """Give the rate (per second) and the latency's quantiles (milliseconds)."""
    cuts = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [0.0] * 99
    rate, p50, p99 = len(latencies) / took, cuts[49] * 1e3, cuts[98] * 1e3
    summary = {"rate": round(rate, 1), "p50_ms": round(p50, 3), "p99_ms": round(p99, 3)}
    events.emit("summary", answered=len(latencies), failed=failed, **summary)
    events.say(
        f"{len(latencies)} answered, {failed} failed: {rate:.0f} a second, "
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    )

"""The echo client: one text, a conversation, or a crowd of callers at once."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.events import Events
from apps.kit.metrics import sample
from apps.kit.outcome import CallFailed, Rejected
from apps.kit.summary import Load, crowd


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
    began = time.perf_counter()
    try:
        # Echoing twice does no harm, so a call of unknown outcome may be repeated.
        line = text.encode(errors="surrogateescape")  # as it was typed, be it UTF-8 or not
        reply = parse(await caller.call(line, idempotent=True))
    except CallFailed as error:
        events.emit(error.event, op=op, f="echo", value=text, error=str(error))
        raise
    sample(events, "echo", time.perf_counter() - began)
    events.emit("ok", op=op, f="echo", value=reply.text, stamp=reply.stamp)
    return reply


async def converse(
    server: Address, events: Events, texts: Iterable[str], *, patience: float, persist: bool
) -> None:
    """Echo each text and show the replies; `persist` goes on after a call that failed."""
    async with Caller(server, events, timeout=patience) as caller:
        for text in texts:
            began = time.perf_counter()
            try:
                reply = await echo(caller, events, events.operation(), text)
            except CallFailed as error:
                if not persist:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}")
                continue
            took = (time.perf_counter() - began) * 1e3
            events.say(f"{reply.text}   (server time {reply.stamp}, {took:.1f} ms)")


async def measure(server: Address, events: Events, load: Load, *, patience: float) -> None:
    """Let a crowd of callers ask made-up texts, and sum up; `patience` is seconds per call."""

    def connect(rng: random.Random) -> Caller:
        return Caller(server, events, timeout=patience, rng=rng)

    async def ask(caller: Caller, rng: random.Random) -> Echo:
        op = events.operation()
        return await echo(caller, events, op, f"{op} {rng.randbytes(8).hex()}")

    await crowd(events, connect, ask, load)

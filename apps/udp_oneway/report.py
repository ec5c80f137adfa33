"""Asking the receiver what it counted, over TCP: a report, unlike a datagram, must arrive whole."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.events import Events
from apps.kit.framing import Lines
from apps.kit.outcome import Rejected, Unknown
from apps.kit.retry import Deadline
from apps.udp_oneway.receiver import LONGEST_LINE

POLL = 0.02
"""Seconds between two questions for a stream that has not ended."""

_COLUMNS = ("received", "lost", "duplicated", "reordered", "farthest", "stale", "p50_ms", "p99_ms")


async def ask(caller: Caller, sender: str = "") -> dict[str, Any]:
    """Give the receiver's report, of one sender's streams if named; Rejected if it is none."""
    answer = await caller.call(f"counts {sender}".strip().encode(), idempotent=True)
    try:
        report = json.loads(answer)
        if "error" in report:
            raise Rejected(str(report["error"]))
        return {"totals": dict(report["totals"]), "streams": list(report["streams"])}
    except (ValueError, TypeError, KeyError):
        raise Rejected(
            f"{answer[:60]!r} is no report; is this the receiver of udp_oneway?"
        ) from None


def asking(target: Address, events: Events, patience: float) -> Caller:
    """Give a caller of the receiver; each of its calls may take `patience` seconds."""
    return Caller(target, events, timeout=patience, framing=lambda: Lines(LONGEST_LINE))


async def show(target: Address, events: Events, sender: str, *, patience: float) -> None:
    """Ask once, and show the report."""
    async with asking(target, events, patience) as caller:
        report = await ask(caller, sender)
    for stream in report["streams"]:
        events.emit("counts", **stream)
    events.emit("totals", **report["totals"])
    if report["streams"]:
        events.say(f"{'stream':<28}" + "".join(f"{name:>11}" for name in _COLUMNS))
    for stream in report["streams"]:
        figures = ("-" if stream[name] is None else stream[name] for name in _COLUMNS)
        events.say(f"{stream['stream']:<28}" + "".join(f"{figure:>11}" for figure in figures))
    totals = (f"{name} {number}" for name, number in report["totals"].items())
    events.say(f"in all: {', '.join(totals)}")


async def confirm(
    target: Address, events: Events, stream: str, *, patience: float
) -> dict[str, Any]:
    """Give what the receiver counted of a stream, once it has heard its end.

    Unknown if it has not after `patience` seconds.
    """
    sender = stream.rpartition("/")[0]
    deadline = Deadline(patience)
    async with asking(target, events, patience) as caller:
        while True:
            report = await ask(caller, sender)
            for counts in report["streams"]:
                if counts["stream"] == stream and counts["ended"]:
                    return dict(counts)
            if deadline.passed:
                raise Unknown(f"the receiver has not heard the end of {stream}: it may be lost")
            await asyncio.sleep(POLL)

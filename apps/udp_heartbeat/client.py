"""The clients of the monitor: who is alive, and what changes."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Rejected
from apps.kit.summary import Load, crowd

WAIT = 20.0
"""Seconds that a watching request waits for news."""


class MonitorClient:
    """Asks one monitor; records what was asked and what came back."""

    def __init__(self, monitor: Address, events: Events, patience: float) -> None:
        """`patience` is the seconds that an answer may take, besides waiting for news."""
        self._caller = Caller(monitor, events, timeout=patience)
        self._patient = Caller(monitor, events, timeout=patience + WAIT)
        self._events = events

    async def __aenter__(self) -> MonitorClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._caller.__aexit__()
        await self._patient.__aexit__()

    async def status(self) -> list[dict[str, Any]]:
        """Give what is known of every sender, by name."""
        op = self._events.operation()
        self._events.emit("invoke", op=op, f="status", value=None)
        rows: list[dict[str, Any]] = []
        body: dict[str, Any] | None = {"f": "status"}
        try:
            while body:
                page = await self._ask(self._caller, body)
                rows += page["senders"]
                body = {"f": "status", "after": page["next"]} if "next" in page else None
        except CallFailed as error:
            self._events.emit(error.event, op=op, f="status", value=None, error=str(error))
            raise
        self._events.emit("ok", op=op, f="status", value=rows)
        return rows

    async def transitions(self, count: int | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield what changes from now on, `count` of them or without end."""
        given = 0
        after: int | None = None
        while count is None or given < count:
            body = {"f": "watch", "wait": WAIT} | ({} if after is None else {"after": after})
            answer = await self._ask(self._patient, body)
            after = answer["next"]
            for transition in answer["transitions"]:
                if count is None or given < count:
                    given += 1
                    yield transition

    async def _ask(self, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
        # Asking changes nothing, so it may be repeated.
        answer = json.loads(await caller.call(json.dumps(body).encode(), idempotent=True))
        if "error" in answer:
            raise Rejected(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result


HEADINGS = ("sender", "incarnation", "seq", "heard", "missed", "silence", "fixed", "phi", "level")


async def show_status(monitor: Address, events: Events, patience: float) -> None:
    """Show a table of all senders."""
    async with MonitorClient(monitor, events, patience) as client:
        rows = await client.status()
    if not rows:
        events.say(f"{monitor} has heard nobody yet")
        return
    for line in table([HEADINGS, *map(cells, rows)]):
        events.say(line)


async def poll(monitor: Address, events: Events, patience: float, load: Load) -> None:
    """Ask for the table again and again, and sum up."""

    def connect(_: random.Random) -> MonitorClient:
        return MonitorClient(monitor, events, patience)

    async def ask(client: MonitorClient, _: random.Random) -> None:
        await client.status()

    await crowd(events, connect, ask, load)


async def follow(monitor: Address, events: Events, patience: float, count: int | None) -> None:
    """Show transitions as they happen."""
    async with MonitorClient(monitor, events, patience) as client:
        async for turn in client.transitions(count):
            events.emit("ok", op=events.operation(), f="watch", value=turn)
            events.say(
                f"{turn['peer']}: {turn['was'] or 'unknown'} -> {turn['state']} by"
                f" {turn['detector']}, after {turn['silence']:.2f} s of silence"
                f" (horizon {turn['horizon']:.2f} s)"
            )


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Give a row as a person reads it: a state and for how long."""
    fixed, phi = (f"{row[name]['state']} {ago(row[name]['for'])}" for name in ("fixed", "phi"))
    numbers = (str(row[name]) for name in ("incarnation", "seq", "heard", "missed"))
    level = f"{row['phi']['phi']:.1f} (suspects after {row['phi']['horizon']:.1f} s)"
    return (row["node"], *numbers, f"{row['silence']:.2f} s", fixed, phi, level)


def ago(seconds: float) -> str:
    """Give a duration in its two largest units."""
    whole = int(seconds)
    units = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"))
    shown = [f"{number} {unit}" for number, unit in (*units, (whole % 60, "s")) if number]
    return " ".join(shown[:2]) or "0 s"


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Align rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]

"""What an ensemble promises its clients, judged over what they were told.

A register's version counts its writes, so an acknowledged write tells its place among all of them,
and a read tells which was the last that it saw.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import pairwise

from apps.kit.checkers import monotonic_reads
from apps.kit.claims import Event, Finding, History
from apps.kit.history import Operation, operations


def acknowledged_nodes_are_there(history: History, final: Collection[str]) -> Finding:
    """Every node whose making was acknowledged is among the `final` names."""
    made = [op for op in operations(history, {"add": "add"}) if op.outcome == "ok"]
    if not made:
        return Finding(None, "no node was acknowledged")
    names = set(final)
    for op in made:
        if str(op.result).rpartition("/")[2] not in names:
            return Finding(False, f"{op.result} was acknowledged, and is gone", op.events)
    return Finding(True, f"{len(made)} acknowledged nodes are there, of {len(names)}")


def writes_are_linearizable(history: History) -> Finding:
    """Each version is made by one write, and a write that began after another has a later one."""
    done = [op for op in operations(history, {"write": "write"}) if op.outcome == "ok"]
    if not done:
        return Finding(None, "no write was acknowledged")
    later: Operation | None = None
    """Of the writes with later versions, the one that was over first."""
    previous: Operation | None = None
    for op in sorted(done, key=lambda op: int(op.result), reverse=True):
        if previous is not None and previous.result == op.result:
            what = f"two writes made version {op.result}"
            return Finding(False, what, (*op.events, *previous.events))
        if later is not None and later.end < op.start:
            what = f"version {later.result} was acknowledged before {op.result} was begun"
            return Finding(False, what, (*later.events, *op.events))
        later = op if later is None or op.end < later.end else later
        previous = op
    return Finding(True, f"{len(done)} acknowledged writes, each with a version of its own")


def sessions_look_forward(history: History) -> Finding:
    """No session reads an older version after a newer one, whichever server it asks."""
    seen = operations(history, {"read": "read", "write": "write"})
    return monotonic_reads(seen, client=lambda op: str(op.invoked["session"]))


def no_session_is_lost(history: History, since: float) -> Finding:
    """From then on no session ended but by its own will; some had to change their server."""
    turns = [e for e in history if e["event"] == "session" and e["t"] >= since]
    lost = [event for event in turns if event["state"] == "lost"]
    moved = [event for event in turns if event["state"] == "connected"]
    if lost:
        return Finding(False, f"{len(lost)} sessions were lost", tuple(lost[:3]))
    if not moved:
        return Finding(None, "no session had to change its server")
    told = f"{len(moved)} times a session went on at another server, and none was lost"
    return Finding(True, told, tuple(moved[:1]))


def reads_are_stale(history: History) -> Finding:
    """Shown if a read gave an older version than one that was acknowledged before it began."""
    found = list(stale_reads(history))
    if not found:
        return Finding(None, "no read was older than an acknowledged write")
    read, write = max(found, key=lambda pair: pair[0].start - pair[1].end)
    behind = read.start - write.end
    told = f"{len(found)} reads were, at worst {behind:.2f} s after the write was acknowledged"
    return Finding(True, told, (*write.events, *read.events))


def stale_reads(history: History) -> Iterator[tuple[Operation, Operation]]:
    """Give each stale read, and the first acknowledged write that it did not see."""
    done = operations(history, {"read": "read", "write": "write"})
    writes = sorted(
        (op for op in done if op.f == "write" and op.outcome == "ok"), key=lambda op: op.end
    )
    for read in done:
        if read.f == "read" and read.outcome == "ok":
            for write in writes:
                if write.end >= read.start:
                    break
                if write.result > read.result:
                    yield read, write
                    break


def longest_silence(history: History) -> float:
    """Give the longest time (seconds) between two acknowledged writes, all clients together."""
    ends = sorted(op.end for op in operations(history, {"write": "write"}) if op.end < math.inf)
    return max((b - a for a, b in pairwise(ends)), default=math.nan)


def names_of(events: Collection[Event]) -> list[str]:
    """Give the names that an `ls` among these events was answered with."""
    return [
        name for e in events if e["event"] == "ok" and e.get("f") == "ls" for name in e["value"]
    ]

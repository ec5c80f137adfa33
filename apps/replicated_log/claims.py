"""What a run of the log is judged by.

Promised, whatever befalls the nodes: an acknowledged message is on as many disks as was asked for,
and stays where it was said to be; what was refused is not in the log; each message is there once;
what any node shows is how the master's log begins; to who asks the master, the log is one.

Each message of a run is another one, and a run's reads begin at one offset: where the log ended
before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

from apps.kit.checkers import Log, linearizable, outcomes_are_true, prefix
from apps.kit.claims import Event, Finding, History
from apps.kit.history import left_out, operations


def acknowledged_survive(history: History, final: Sequence[str], first: int) -> Finding:
    """What was acknowledged is where it was said to be, once; what was refused is nowhere.

    `final` is the master's log at the end, from the offset `first` on.
    """
    kept = [{"key": message, "number": number} for number, message in enumerate(final, first)]
    return outcomes_are_true(map(_without_w, history), "append", kept)


def every_message_once(final: Sequence[str]) -> Finding:
    """No message is in the log twice."""
    seen: dict[str, int] = {}
    for number, message in enumerate(final):
        if message in seen:
            told = f"{message!r} is {seen[message]} and {number} places after the run's first"
            return Finding(False, told)
        seen[message] = number
    return Finding(True if final else None, f"{len(final)} messages, each another one")


def reads_are_prefixes(history: History, final: Sequence[str]) -> Finding:
    """What any node showed is how the master's log begins."""
    return prefix(history, read=_is_read, of=final)


def master_is_linearizable(history: History, master: str, first: int) -> Finding:
    """An order of all appends, and all reads of the master, explains what was answered."""
    asked = [e for e in history if e.get("f") == "append" or e.get("server") == master]
    found = operations(
        asked,
        {"append": "append", "read": "read"},
        value=lambda event: event["value"].get("key"),
        result=_result,
    )
    return linearizable(found, partial(Log, first=first))


def on_enough_disks(history: History) -> Finding:
    """When a message was acknowledged, so many nodes as were asked for had said that they have it.

    A node says so once it has synced it, or has found it on its disk as it began.
    """
    history = list(history)
    said: dict[str, list[tuple[float, int, Event]]] = {}
    for event in history:
        if event["event"] in ("stored", "opened") and event["component"] != "client":
            said.setdefault(event["node"], []).append((event["t"], event["length"], event))
    count = 0
    for event in history:
        if event["event"] != "ok" or event["f"] != "append":
            continue
        count += 1
        number, w = event["value"]["number"], event["value"]["w"]
        have = [node for node, lengths in said.items() if _had(lengths, number, event["t"])]
        if len(have) < w:
            if left_out(history):
                return Finding(None, "nodes left out events to bound their rate")
            told = f"{number} was acknowledged for {w} disks, and is on those of {have}"
            return Finding(False, told, (event,))
    return Finding(True if count else None, f"{count} acknowledged, each on as many disks as asked")


def stale_read(history: History, appended: History) -> Finding:
    """A node was asked after a message was acknowledged, and did not show it."""
    acknowledged = [e for e in appended if e["event"] == "ok" and e["f"] == "append"]
    for event, read in itertools.product(acknowledged, filter(_is_read, history)):
        if event["t"] < read["t"] and event["value"]["key"] not in read["value"]:
            told = f"{read['server']} did not show what had been acknowledged before"
            return Finding(True, told, (event, read))
    return Finding(False, "all that was acknowledged was shown")


def _without_w(event: Event) -> Event:
    """Leave out of an acknowledgement on how many disks the message is: the log does not say."""
    if event["event"] != "ok" or event.get("f") != "append":
        return event
    return {**event, "value": {k: v for k, v in event["value"].items() if k != "w"}}


def rejected(appended: History) -> Finding:
    """Of the messages that were appended, some were rejected, and none is of unknown outcome."""
    ends = [e for e in appended if e["event"] in ("ok", "fail", "unknown")]
    refused = tuple(e for e in ends if e.get("how") == "rejected")
    unknown = tuple(e for e in ends if e["event"] == "unknown")
    told = f"{len(refused)} of {len(ends)} were rejected, {len(unknown)} are unknown"
    return Finding(bool(refused) and not unknown, told, unknown or refused[:1])


def _had(lengths: Sequence[tuple[float, int, Event]], number: int, by: float) -> bool:
    # Where a clock was wrong, an event's time is its journal's, which took it later than it was.
    return any(length > number and (t <= by or "t_said" in said) for t, length, said in lengths)


def _is_read(event: Event) -> bool:
    return event["event"] == "ok" and event.get("f") == "read"


def _result(event: Event) -> Any:
    return event["value"]["number"] if event["f"] == "append" else tuple(event["value"])

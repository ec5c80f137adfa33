"""What multicast promises to its subscribers, judged from what they received.

A subscriber's life begins when it has `subscribed`: it knows nothing of what was before. Its `recv`
events, and the publisher's `send`, are bounded in rate; where some were left out, nothing is judged
that needs them all.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from apps.kit.claims import Event, Finding, History
from apps.kit.history import left_out

SUBSCRIBERS = ("subscriber", "subscribe")
"""The unit, and the client."""
_SHOWN = 3


class Following(NamedTuple):
    """One subscriber's life, and one stream that it heard."""

    node: str
    component: str
    life: int
    stream: str


def number(event: Event) -> int:
    """Give the number that a message has in its stream."""
    return int(str(event["id"]).rpartition("#")[2])


def heard(history: History) -> dict[Following, list[Event]]:
    """Give what each subscriber was handed of each stream, in its order."""
    lives: dict[tuple[str, str], int] = defaultdict(int)
    found: dict[Following, list[Event]] = defaultdict(list)
    for event in history:
        if event.get("component") not in SUBSCRIBERS:
            continue
        who = (event["node"], event["component"])
        if event["event"] == "subscribed":
            lives[who] += 1
        elif event["event"] == "recv":
            stream = str(event["id"]).rpartition("#")[0]
            found[Following(*who, lives[who], stream)].append(event)
    return dict(found)


def reached_all(history: History, stream: str, sent: int, nodes: Iterable[str]) -> Finding:
    """Each of these nodes was handed all of this stream: 1, 2, 3, … to the last, in that order."""
    events = list(history)
    if bare := _left_out(events):
        return bare
    came: dict[str, list[Event]] = defaultdict(list)
    for who, got in heard(events).items():
        if who.stream == stream:
            came[who.node] += got
    wanted = list(nodes)
    for node in wanted:
        got = came[node]
        numbers = [number(event) for event in got]
        if numbers != list(range(1, sent + 1)):
            return Finding(False, f"{node} has {_told(numbers, sent)}", _where_it_breaks(got))
    return Finding(
        True, f"{sent} published; {', '.join(wanted)} have {sent} each, in order", _ends(came)
    )


def in_order_once(history: History) -> Finding:
    """No subscriber is handed a message twice, or one before an earlier one of its stream."""
    every = heard(history)
    for who, got in every.items():
        for before, after in _pairs(got):
            if number(after) <= number(before):
                what = f"{who.node} was handed {after['id']} after {before['id']}"
                return Finding(False, what, (before, after))
    return _summed(every, "in order and once")


def unbroken(history: History) -> Finding:
    """From the first message of a stream that a subscriber is handed on, it is handed every one."""
    events = list(history)
    if bare := _left_out(events):
        return bare
    every = heard(events)
    for who, got in every.items():
        for before, after in _pairs(got):
            if number(after) > number(before) + 1:
                missing = number(after) - number(before) - 1
                what = f"{who.node} lacks {missing} of {who.stream} after {number(before)}"
                return Finding(False, what, (before, after))
    return _summed(every, "without a gap")


def incomplete(history: History, stream: str, sent: int, nodes: Iterable[str]) -> Finding:
    """Some of these nodes were not handed all of this stream."""
    found = reached_all(history, stream, sent, nodes)
    return Finding(None if found.holds is None else not found.holds, found.detail, found.witness)


def as_sent(history: History) -> Finding:
    """What is handed over is what was published, byte for byte, as far as both were told."""
    events = list(history)
    sent = {e["id"]: e for e in events if e["event"] == "send" and "crc" in e}
    both = 0
    for got in heard(events).values():
        for event in got:
            if event["id"] in sent:
                both += 1
                if event["crc"] != sent[event["id"]]["crc"]:
                    what = f"{event['id']} came with another payload"
                    return Finding(False, what, (sent[event["id"]], event))
    return Finding(True if both else None, f"{both} compared at both ends")


def gap_is_told(history: History, stream: str, node: str) -> Finding:
    """This subscriber misses a part of this stream for good, and has said which."""
    events = list(history)
    gaps = [
        event
        for event in events
        if event["event"] == "gap" and (event["node"], event["stream"]) == (node, stream)
    ]
    if not gaps:
        return Finding(False, f"{node} misses nothing of {stream}")
    told = ", ".join(f"{gap['missing']} from {gap['first']} on" for gap in gaps[:_SHOWN])
    return Finding(
        True, f"{node} misses {told}: ZeroMQ says nothing, the numbers do", tuple(gaps[:_SHOWN])
    )


def joined_late(history: History, stream: str, node: str) -> Finding:
    """This subscriber came in the middle of this stream, and has only what followed."""
    joins = [
        event
        for event in history
        if event["event"] == "joined" and (event["node"], event["stream"]) == (node, stream)
    ]
    if not joins:
        return Finding(None, f"{node} never heard {stream}")
    first = joins[-1]["first"]
    what = f"the first that {node} heard of {stream} is {first}"
    return Finding(first > 1, what, (joins[-1],))


def heard_from_the_start(history: History, stream: str, nodes: Iterable[str]) -> Finding:
    """Each of these nodes heard this stream from its first message on."""
    joins = {
        event["node"]: event
        for event in history
        if event["event"] == "joined" and event["stream"] == stream
    }
    wanted = list(nodes)
    late = [node for node in wanted if node not in joins or joins[node]["first"] > 1]
    if late:
        seen = tuple(joins[node] for node in late if node in joins)
        return Finding(False, f"{', '.join(late)} did not hear {stream} from 1 on", seen)
    return Finding(True, f"{', '.join(wanted)} heard {stream} from 1 on", tuple(joins.values()))


def never_heard(history: History, stream: str, node: str, others: Sequence[str]) -> Finding:
    """This node, from which the stream was published, heard nothing of it; the others did."""
    who = {f.node for f in heard(history) if f.stream == stream}
    if not set(others) <= who:
        return Finding(None, f"{', '.join(sorted(set(others) - who))} did not hear it either")
    return Finding(node not in who, f"{', '.join(sorted(who))} heard {stream}; {node} published it")


def figures(history: History, nodes: Sequence[str]) -> dict[str, int]:
    """Count what was sent, and the copies of it that are lacking or too many, at these nodes."""
    events = list(history)
    sent = {e["id"] for e in events if e["event"] == "send" and "crc" in e}
    copies: dict[str, list[str]] = {node: [] for node in nodes}
    for who, got in heard(events).items():
        if who.node in copies:
            copies[who.node] += [event["id"] for event in got]
    return {
        "sent": len(sent),
        "lost": sum(len(sent - set(got)) for got in copies.values()),
        "duplicated": sum(len(got) - len(set(got)) for got in copies.values()),
    }


def _left_out(events: Sequence[Event]) -> Finding | None:
    missing = left_out(events)
    return Finding(None, f"{missing} messages were not told one by one") if missing else None


def _pairs(got: Sequence[Event]) -> Iterator[tuple[Event, Event]]:
    return itertools.pairwise(got)


def _summed(every: dict[Following, list[Event]], how: str) -> Finding:
    if not every:
        return Finding(None, "nobody was handed anything")
    streams = {who.stream for who in every}
    nodes = {who.node for who in every}
    count = sum(map(len, every.values()))
    return Finding(
        True, f"{count} messages of {len(streams)} streams reached {len(nodes)} nodes {how}"
    )


def _told(numbers: Sequence[int], sent: int) -> str:
    if not numbers:
        return f"none of {sent}"
    return f"{len(numbers)} of {sent}, from {numbers[0]} to {numbers[-1]}"


def _where_it_breaks(got: Sequence[Event]) -> tuple[Event, ...]:
    for before, after in _pairs(got):
        if number(after) != number(before) + 1:
            return before, after
    return (got[0], got[-1]) if got else ()


def _ends(came: dict[str, list[Event]]) -> tuple[Event, ...]:
    return tuple(got[-1] for got in came.values() if got)

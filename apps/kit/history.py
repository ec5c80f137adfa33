"""What a history says of operations and of messages: its events, paired.

A client writes `invoke` when it asks and `ok`, `fail` or `unknown` when it knows more; the four
share `op`. A message's `send` and `recv` share `id`. The simulator's trace and the merged journals
of real hosts are alike here.

On order. The events of one node stand in a history as that node wrote them. Between nodes a merged
history is sorted by `t`, the wall clock of each event's host, so its order proves nothing beyond
what those clocks agree on. Two checks need an order between nodes. Causality takes it from messages
(`apps.kit.causality`). Real time takes it from the clients' own events: an operation came before
another if it ended before the other was invoked, by `t`, and by more than `skew` seconds, the most
by which the clients' clocks differ. Hosts of the local lab share one clock, and a simulation has
one: their skew is 0. Servers' clocks never count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from apps.kit.claims import Event, History

Outcome: TypeAlias = Literal["ok", "fail", "unknown"]
OUTCOMES = ("ok", "fail", "unknown")

Which: TypeAlias = str | Container[str] | Callable[[Event], bool]
"""Which events are meant: those of a name, of some names, or those that a function chooses."""

Pick: TypeAlias = str | Callable[[Event], Any]
"""What of an event is meant: a field, or what a function gives."""


def chooser(which: Which) -> Callable[[Event], bool]:
    """Give the function that tells whether an event is meant."""
    if callable(which):
        return which
    if isinstance(which, str):
        return lambda event: bool(event["event"] == which)
    return lambda event: event["event"] in which


def picker(pick: Pick) -> Callable[[Event], Any]:
    """Give the function that takes out of an event what is meant; KeyError if it lacks it."""
    return pick if callable(pick) else lambda event: event[pick]


def frozen(value: Any) -> Hashable:
    """Give a JSON value as one that can be compared and hashed."""
    if isinstance(value, list | tuple):
        flat = tuple(value)
        try:
            hash(flat)
        except TypeError:
            return tuple(map(frozen, flat))
        return flat
    if isinstance(value, Mapping):
        return frozenset((key, frozen(member)) for key, member in value.items())
    hashable: Hashable = value
    return hashable


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """What a client asked, when, and what it knows of it."""

    op: str
    node: str
    """Who asked; one node may have several callers at once."""
    f: str
    """What is done: `read`, `append`."""
    key: Hashable
    """On what; None if there is only one."""
    value: Any
    """What was given with it."""
    result: Any
    """What was answered; None unless the outcome is `ok`."""
    outcome: Outcome
    """`fail`: it definitely did not happen. `unknown`: it may take effect at any time, or never."""
    start: float
    """When it was invoked, in seconds of its node's clock."""
    end: float
    """When its outcome was known; infinite if it is unknown, for it may still take effect."""
    invoked: Event
    completed: Event | None

    def told(self, result: object) -> bool:
        """Whether it answered so, as far as anybody knows."""
        return self.outcome != "ok" or bool(self.result == result)

    @property
    def events(self) -> tuple[Event, ...]:
        """The events that tell of it."""
        return (self.invoked,) if self.completed is None else (self.invoked, self.completed)


def operations(
    history: History,
    fs: Mapping[str, str] | None = None,
    *,
    key: Pick | None = None,
    value: Pick = "value",
    result: Pick = "value",
) -> list[Operation]:
    """Pair the clients' events into operations, in the order of their invocations.

    `fs` names those that count and what they are called here: `{"get": "read", "put": "write"}`;
    without it all count. `key` and `value` are taken out of the invocation, `result` out of the ok.
    What has no outcome is unknown. A second outcome, or one without its invocation, is left out.
    """
    asked: dict[str, Event] = {}
    settled: dict[str, Event] = {}
    for event in history:
        if event["event"] == "invoke":
            if fs is None or event["f"] in fs:
                asked.setdefault(event["op"], event)
        elif event["event"] in OUTCOMES and event.get("op") in asked:
            settled.setdefault(event["op"], event)
    key_of, value_of, result_of = picker(key or (lambda _: None)), picker(value), picker(result)
    found = []
    for op, event in asked.items():
        end = settled.get(op)
        outcome: Outcome = "unknown" if end is None else end["event"]
        found.append(
            Operation(
                op,
                event["node"],
                event["f"] if fs is None else fs[event["f"]],
                frozen(key_of(event)),
                value_of(event),
                result_of(end) if end is not None and outcome == "ok" else None,
                outcome,
                event["t"],
                end["t"] if end is not None and outcome != "unknown" else math.inf,
                event,
                end,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Message:
    """A message by its id: all its sendings and all its receipts, in the history's order."""

    id: Hashable
    sends: list[Event] = field(default_factory=list)
    receipts: list[Event] = field(default_factory=list)

    @property
    def lost(self) -> bool:
        """Whether it was sent and, as far as the history goes, never received."""
        return bool(self.sends) and not self.receipts

    @property
    def copies(self) -> int:
        """How many receipts there are beyond the first."""
        return max(0, len(self.receipts) - 1)

    @property
    def unsent(self) -> bool:
        """Whether it was received and nobody is seen to have sent it."""
        return not self.sends


def messages(
    history: History, *, sent: Which = "send", received: Which = "recv", id_: Pick = "id"
) -> list[Message]:
    """Pair sendings and receipts by their id, in the order of first appearance."""
    is_sent, is_received, name = chooser(sent), chooser(received), picker(id_)
    found: dict[Hashable, Message] = {}
    for event in history:
        coming = is_received(event)
        if coming or is_sent(event):
            known = frozen(name(event))
            message = found.get(known) or found.setdefault(known, Message(known))
            (message.receipts if coming else message.sends).append(event)
    return list(found.values())


def left_out(history: Iterable[Event]) -> int:
    """Count the message events that processes left out of a history to bound its rate."""
    return sum(event["events"] for event in history if event["event"] == "left_out")

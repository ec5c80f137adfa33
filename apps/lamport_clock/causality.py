"""Happened-before of a real run, rebuilt from its journals alone.

Two facts are certain without any clock: the order in which one process wrote its events, and that
a message was received after it was sent. `Causality` takes these from a history and answers a -> b
for any two events. It does not look at a stamp, so it can judge the stamps.

A process here is an incarnation, one life of a node between two starts: a node that lost its memory
in a crash does not know its own past, so an event before the crash is in the past of one after it
only where a message carried the news. (`lives` is there for claims that need more.)

Only events with a vector count; a history may hold any others besides. They may come merged in any
order that keeps each node's own, since the hosts' wall clocks do not agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from apps.kit.claims import Event, History


def process_of(event: Event) -> str:
    """Name the process of a stamped event as its vector does: `n1.2` is the second life of n1."""
    return f"{event['node']}.{event['incarnation']}"


class Causality:
    """The stamped events of a history, in an order that respects happened-before.

    Events are named by their place in `events`, an `int`. `edges` are the pairs that are certain:
    neighbours in one process, and the two ends of a message. `unmatched` are receipts whose sending
    is not in the history (the last lines of a journal go with a host's power), or that contradict
    it. `uncertain` are they and all that follows from them: their past may be greater than known.
    """

    def __init__(self, history: History) -> None:
        """Read the whole history once; time and memory are events times processes."""
        self.events: list[Event] = []
        self.edges: list[tuple[int, int]] = []
        self.unmatched: list[Event] = []
        self.uncertain: set[int] = set()
        self.lines: dict[str, list[int]] = {}
        self._line: list[str] = []  # of each event: its process …
        self._past: list[dict[str, int]] = []  # … and the last events in its past, itself included
        self._sendings: dict[str, int] = {}
        self._held_up: dict[str, deque[Event]] = {}  # processes that wait for a sending to be read
        self._waits: dict[str, list[str]] = {}  # the id of that sending, to the processes
        self._read([event for event in history if "vector" in event])

    def before(self, a: int, b: int) -> bool:
        """Whether event a happened before event b."""
        return a != b and self._past[b].get(self._line[a], -1) >= a

    def past(self, event: int) -> Mapping[str, int]:
        """Give the last event of each process that happened before `event`, or is it."""
        return self._past[event]

    def process(self, event: int) -> str:
        """Name the process of an event."""
        return self._line[event]

    def witness(self, *events: int) -> tuple[Event, ...]:
        """Give the events themselves."""
        return tuple(self.events[event] for event in events)

    def lives(self) -> dict[str, list[list[int]]]:
        """Give the events of each node, one list per incarnation, in order."""
        nodes: dict[str, dict[int, list[int]]] = {}
        for line in self.lines.values():
            first = self.events[line[0]]
            nodes.setdefault(first["node"], {})[first["incarnation"]] = line
        return {node: [lives[n] for n in sorted(lives)] for node, lives in nodes.items()}

    def _read(self, events: list[Event]) -> None:
        """Place every event after those that it needs; what is never satisfied comes last."""
        known = {event["id"] for event in events if event["event"] == "say"}
        for event in events:
            line = process_of(event)
            if line in self._held_up:
                self._held_up[line].append(event)
            elif self._must_wait(event, known):
                self._hold_up(line, deque([event]))
            else:
                self._place(line, event)
                if self._waits and event["event"] == "say":
                    self._resume(event["id"], known)
        for line, rest in self._held_up.items():
            for event in rest:
                self._place(line, event)

    def _must_wait(self, event: Event, known: set[str]) -> bool:
        return (
            event["event"] == "hear" and event["id"] in known and event["id"] not in self._sendings
        )

    def _hold_up(self, line: str, rest: deque[Event]) -> None:
        self._held_up[line] = rest
        self._waits.setdefault(rest[0]["id"], []).append(line)

    def _resume(self, sending: str, known: set[str]) -> None:
        """A sending was placed: go on with the processes that waited for it, and for those."""
        ready = self._waits.pop(sending, [])
        while ready:
            line = ready.pop()
            rest = self._held_up.pop(line)
            while rest and not self._must_wait(rest[0], known):
                event = rest.popleft()
                self._place(line, event)
                if event["event"] == "say":
                    ready += self._waits.pop(event["id"], [])
            if rest:
                self._hold_up(line, rest)

    def _place(self, line: str, event: Event) -> None:
        """Append an event, with its past: its process's, and that of the message it received."""
        place = len(self.events)
        past: dict[str, int] = {}
        earlier = self.lines.setdefault(line, [])
        if earlier:
            past.update(self._past[earlier[-1]])
            self._follow(earlier[-1], place)
        if event["event"] == "say":
            self._sendings[event["id"]] = place
        elif event["event"] == "hear":
            sending = self._sendings.get(event["id"])
            if sending is None:
                self.unmatched.append(event)
                self.uncertain.add(place)
            else:
                self._follow(sending, place)
                for process, last in self._past[sending].items():
                    if last > past.get(process, -1):
                        past[process] = last
        past[line] = place
        earlier.append(place)
        self.events.append(event)
        self._line.append(line)
        self._past.append(past)

    def _follow(self, a: int, b: int) -> None:
        """Note that a certainly happened before b."""
        self.edges.append((a, b))
        if a in self.uncertain:
            self.uncertain.add(b)

"""Happened-before of a real run, rebuilt from its journals alone.

Two facts are certain without any clock: the order in which one process wrote its events, and that
a message was received after it was sent. `Causality` takes these from a history and answers a -> b
for any two events (Lamport 1978), by the last event of each process that is in the past of each
event: a vector clock, made afterwards (Mattern 1989).

Events may come merged in any order that keeps each process's own, since the hosts' wall clocks do
not agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping

from apps.kit.claims import Event, History
from apps.kit.history import Pick, Which, chooser, picker


class Causality:
    """The events of a history, in an order that respects happened-before.

    Events are named by their place in `events`, an `int`. `edges` are the pairs that are certain:
    neighbours in one process, and the two ends of a message. `unmatched` are receipts whose sending
    is not in the history (the last lines of a journal go with a host's power), or that contradict
    it. `uncertain` are they and all that follows from them: their past may be greater than known.
    """

    def __init__(
        self,
        history: History,
        *,
        process: Pick = "node",
        sent: Which = "send",
        received: Which = "recv",
        id_: Pick = "id",
    ) -> None:
        """Read the whole history once; time and memory are events times processes.

        A message is received as often as it is; if several sendings have its id, the last counts.
        """
        self._process_of, self._name = picker(process), picker(id_)
        self._is_sent, self._is_received = chooser(sent), chooser(received)
        self.events: list[Event] = []
        self.edges: list[tuple[int, int]] = []
        self.unmatched: list[Event] = []
        self.uncertain: set[int] = set()
        self.lines: dict[str, list[int]] = {}
        self._previous: list[int | None] = []  # of each event: the one before it in its process
        self._source: dict[int, int] = {}  # of each receipt: its sending
        self._line: list[str] = []  # of each event: its process …
        self._past: list[dict[str, int]] = []  # … and the last events in its past, itself included
        self._sendings: dict[Hashable, int] = {}
        self._held_up: dict[str, deque[Event]] = {}  # processes that wait for a sending to be read
        self._waits: dict[Hashable, list[str]] = {}  # the id of that sending, to the processes
        self._read(list(history))

    def before(self, a: int, b: int) -> bool:
        """Whether event a happened before event b."""
        return a != b and self._past[b].get(self._line[a], -1) >= a

    def past(self, event: int) -> Mapping[str, int]:
        """Give the last event of each process that happened before `event`, or is it."""
        return self._past[event]

    def path(self, a: int, b: int) -> list[int]:
        """Give a chain from a to b, which a happened before: both ends of each message on it."""
        chain = [b]
        while self._line[b] != self._line[a]:
            previous = self._previous[b]
            if previous is not None and (previous == a or self.before(a, previous)):
                b = previous
                continue
            chain += [b, self._source[b]]
            b = self._source[b]
        return sorted({a, *chain})

    def process(self, event: int) -> str:
        """Name the process of an event."""
        return self._line[event]

    def witness(self, *events: int) -> tuple[Event, ...]:
        """Give the events themselves."""
        return tuple(self.events[event] for event in events)

    def _read(self, events: list[Event]) -> None:
        """Place every event after those that it needs; what is never satisfied comes last."""
        known = {self._name(event) for event in events if self._is_sent(event)}
        for event in events:
            line = self._process_of(event)
            if line in self._held_up:
                self._held_up[line].append(event)
            elif self._must_wait(event, known):
                self._hold_up(line, deque([event]))
            else:
                self._place(line, event)
                if self._waits and self._is_sent(event):
                    self._resume(self._name(event), known)
        for line, rest in self._held_up.items():
            for event in rest:
                self._place(line, event)

    def _must_wait(self, event: Event, known: set[Hashable]) -> bool:
        if not self._is_received(event):
            return False
        name = self._name(event)
        return name in known and name not in self._sendings

    def _hold_up(self, line: str, rest: deque[Event]) -> None:
        self._held_up[line] = rest
        self._waits.setdefault(self._name(rest[0]), []).append(line)

    def _resume(self, sending: Hashable, known: set[Hashable]) -> None:
        """A sending was placed: go on with the processes that waited for it, and for those."""
        ready = self._waits.pop(sending, [])
        while ready:
            line = ready.pop()
            rest = self._held_up.pop(line)
            while rest and not self._must_wait(rest[0], known):
                event = rest.popleft()
                self._place(line, event)
                if self._is_sent(event):
                    ready += self._waits.pop(self._name(event), [])
            if rest:
                self._hold_up(line, rest)

    def _place(self, line: str, event: Event) -> None:
        """Append an event, with its past: its process's, and that of the message it received."""
        place = len(self.events)
        past: dict[str, int] = {}
        earlier = self.lines.setdefault(line, [])
        self._previous.append(earlier[-1] if earlier else None)
        if earlier:
            past.update(self._past[earlier[-1]])
            self._follow(earlier[-1], place)
        if self._is_sent(event):
            self._sendings[self._name(event)] = place
        elif self._is_received(event):
            sending = self._sendings.get(self._name(event))
            if sending is None:
                self.unmatched.append(event)
                self.uncertain.add(place)
            else:
                self._source[place] = sending
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

"""Two logical clocks: Lamport's numbers, and the vectors that know what the numbers forget.

The problem: no two hosts' clocks agree, so "earlier" by wall clock proves nothing. What is certain
is "happened before" (a -> b): a precedes b in one process, or a is the sending and b the receipt of
one message, or there is a chain of such steps. Events that no chain joins are concurrent.

`LamportClock` gives each event a number C with: a -> b implies C(a) < C(b), the Clock Condition. It
does so by two rules. IR1: a process advances its clock between any two events. IR2: a message
carries its sender's clock, and the receiver advances its own beyond it. The converse is not true:
C(a) < C(b) says only that b did not happen before a.

`VectorClock` counts, per process, the events in the past of an event, and so decides both ways:
a -> b exactly where V(a) < V(b). The price is one entry per process that was ever heard of.

Sources: L. Lamport, "Time, Clocks, and the Ordering of Events in a Distributed System", CACM 21(7),
1978, sections "The Partial Ordering" and "Logical Clocks"; C. Fidge 1988 and F. Mattern 1989 for
vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Vector: TypeAlias = Mapping[str, int]
"""Process name to the number of its events in the past; a process that is absent counts 0."""


class LamportClock:
    """A counter that gives each event of one process its number."""

    __slots__ = ("time",)

    def __init__(self, time: int = 0) -> None:
        """Begin at `time`, the number of the last event, or 0 before the first."""
        self.time = time

    def tick(self) -> int:
        """Number an event of this process (IR1)."""
        self.time += 1
        return self.time

    def receive(self, time: int) -> int:
        """Number the receipt of a message that was sent at `time` of its sender (IR2)."""
        self.time = max(self.time, time) + 1
        return self.time


class VectorClock:
    """The events in the past of one process, counted per process."""

    __slots__ = ("_counts", "process")

    def __init__(self, process: str) -> None:
        """Begin before the first event of `process`."""
        self.process = process
        self._counts = {process: 0}

    @property
    def count(self) -> int:
        """How many events this process has had."""
        return self._counts[self.process]

    def tick(self) -> dict[str, int]:
        """Count an event of this process; return its vector, a copy that is the caller's."""
        self._counts[self.process] += 1
        return dict(self._counts)

    def receive(self, vector: Vector) -> dict[str, int]:
        """Count the receipt of a message that carried `vector`; return the receipt's own vector."""
        counts = self._counts
        for process, count in vector.items():
            if count > counts.get(process, 0):
                counts[process] = count
        return self.tick()


def process_of(event: Mapping[str, Any]) -> str:
    """Name the process of a stamped event as its vector does: `n1.2` is the second life of n1."""
    return f"{event['node']}.{event['incarnation']}"


def happened_before(a: Vector, b: Vector) -> bool:
    """Whether the event of vector `a` happened before the event of vector `b`."""
    return a != b and all(count <= b.get(process, 0) for process, count in a.items())


def concurrent(a: Vector, b: Vector) -> bool:
    """Whether neither of two events happened before the other; an event is not so with itself."""
    return a != b and not happened_before(a, b) and not happened_before(b, a)

"""What is counted of streams and of batches: by whom it was not heard, and what is still missing.

ZeroMQ tells nobody that it dropped a message. PUB drops what a subscriber's queue has no room for,
PUSH has lost what it had handed to a worker that died. So publishers number, and receivers count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Tally:
    """What one subscriber had of one stream's topic, whose updates are numbered from 1."""

    first: int = 0
    last: int = 0
    received: int = 0
    late: int = 0
    """Behind one that came after them: TCP keeps the order, so there are none."""
    copies: int = 0
    """The same as the last one: a forwarder's last value, to one who had it already."""

    def take(self, number: int) -> bool:
        """Count an update; whether it is a new one."""
        if number == self.last:
            self.copies += 1
            return False
        if number < self.last:
            self.late += 1
            return False
        self.first = self.first or number
        self.last = number
        self.received += 1
        return True

    @property
    def missed(self) -> int:
        """Updates before the first one: of a subscriber that joined too late."""
        return max(0, self.first - 1)

    @property
    def lost(self) -> int:
        """Updates between the first one and the last that never came."""
        return self.last - self.missed - self.received

    def as_json(self) -> dict[str, int]:
        """Give the counts, as events have them."""
        names = ("first", "last", "received", "missed", "lost", "late", "copies")
        return {name: getattr(self, name) for name in names}


@dataclass(slots=True)
class Batch:
    """The results of one batch as far as they came."""

    of: int
    tasks: int = 0
    total: int = 0
    copies: int = 0
    by: Counter[str] = field(default_factory=Counter)
    _had: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._had = bytearray(self.of)

    def take(self, number: int, node: str, square: int) -> None:
        """Count a result, once however often it comes; ValueError if the batch has no such task."""
        if not 1 <= number <= self.of:
            raise ValueError(f"task {number} of {self.of}")
        if self._had[number - 1]:
            self.copies += 1
            return
        self._had[number - 1] = 1
        self.tasks += 1
        self.total += square
        self.by[node] += 1

    @property
    def complete(self) -> bool:
        """Whether every task's result came."""
        return self.tasks == self.of

    def as_json(self) -> dict[str, Any]:
        """Give what is counted, as events and answers have it."""
        counted = {"of": self.of, "tasks": self.tasks, "total": self.total, "copies": self.copies}
        return {**counted, "by": dict(sorted(self.by.items()))}


class Batches:
    """The batches of a sink; the oldest is forgotten when there is no room for a new one."""

    def __init__(self, most: int) -> None:
        """Keep so many."""
        self._most = most
        self._kept: dict[str, Batch] = {}

    def take(self, name: str, number: int, of: int, node: str, square: int) -> Batch:
        """Count a result; give its batch. ValueError if it cannot be one of that batch."""
        batch = self._kept.get(name)
        if batch is None:
            while len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
            batch = self._kept[name] = Batch(of)
        if batch.of != of:
            raise ValueError(f"{name} has {batch.of} tasks, not {of}")
        batch.take(number, node, square)
        return batch

    def report(self, name: str) -> Mapping[str, Any]:
        """Give what came of a batch: nothing, of one that is not known."""
        batch = self._kept.get(name)
        return batch.as_json() if batch else {"of": 0, "tasks": 0, "total": 0, "copies": 0}


def sum_of_squares(count: int) -> int:
    """Give 1² + 2² + … + count², by the formula: what a sink must come to."""
    return count * (count + 1) * (2 * count + 1) // 6

"""Correct objects under many clients at once: histories that checkers are tried and timed with.

Each operation takes effect at one moment between its invocation and its answer, so a history is
linearizable, with the instants of the effects for its order. One of unknown outcome takes effect
later, even after its client went on, or never; one that failed did not.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from apps.kit.claims import Event


class Thing(Protocol):
    """An object that is used by one operation at a time."""

    def draw(self, rng: random.Random, fresh: int) -> tuple[str, Any]:
        """Draw an operation and its value; `fresh` is a number that no other operation has."""

    def do(self, f: str, value: Any) -> Any:
        """Do it; give the answer."""


class Register:
    """Read, write, compare and set."""

    def __init__(self) -> None:
        self.value: int | None = None

    def draw(self, rng: random.Random, fresh: int) -> tuple[str, Any]:
        """Draw a swap from what is there, so that some succeed."""
        f = rng.choice(("read", "read", "write", "cas"))
        return f, {"read": None, "write": fresh, "cas": [self.value, fresh]}[f]

    def do(self, f: str, value: Any) -> Any:
        """As its class says."""
        if f == "read":
            return self.value
        if f == "cas":
            if self.value != value[0]:
                return False
            value = value[1]
        self.value = value
        return True


class Log:
    """Append, and read all."""

    def __init__(self) -> None:
        self.entries: list[int] = []

    def draw(self, rng: random.Random, fresh: int) -> tuple[str, Any]:
        """Draw one in two as a read."""
        return ("append", fresh) if rng.random() < 0.5 else ("read", None)

    def do(self, f: str, value: Any) -> Any:
        """As its class says."""
        if f == "read":
            return list(self.entries)
        self.entries.append(value)
        return len(self.entries) - 1


class Set:
    """Add, read all, look for one; remove, if `removes`."""

    def __init__(self, *, removes: bool = False) -> None:
        self.members: set[int] = set()
        self._fs = ("add", "add", "read", "contains", *["remove"] * removes)

    def draw(self, rng: random.Random, fresh: int) -> tuple[str, Any]:
        """Draw a member that was added before for all but adding."""
        f = rng.choice(self._fs)
        return f, {"add": fresh, "read": None}.get(f, rng.randint(0, fresh))

    def do(self, f: str, value: Any) -> Any:
        """As its class says."""
        if f == "read":
            return sorted(self.members)
        if f == "contains":
            return value in self.members
        (self.members.add if f == "add" else self.members.discard)(value)
        return None


class Queue:
    """Enqueue, dequeue; None if there is nothing."""

    def __init__(self) -> None:
        self.waiting: deque[int] = deque()

    def draw(self, rng: random.Random, fresh: int) -> tuple[str, Any]:
        """Draw as many of the one as of the other."""
        return ("enqueue", fresh) if rng.random() < 0.5 else ("dequeue", None)

    def do(self, f: str, value: Any) -> Any:
        """As its class says."""
        if f == "enqueue":
            self.waiting.append(value)
            return None
        return self.waiting.popleft() if self.waiting else None


@dataclass(frozen=True, slots=True)
class Usage:
    """How an object is used: by how many clients, how many operations, how many go how wrong."""

    clients: int = 5
    count: int = 100
    unknown: float = 0.0
    failed: float = 0.0


class Crowd:
    """The clients of an object, and the history that they leave behind."""

    def __init__(self, thing: Thing, rng: random.Random, usage: Usage) -> None:
        """Let them do all that `usage` says."""
        self.history: list[Event] = []
        self._thing = thing
        self._rng = rng
        self._usage = usage
        self._begun = 0
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._now = 0.0
        for client in range(usage.clients):
            self._later(self._invoke, f"c{client}")
        while self._agenda:
            self._now, _, act, arguments = heapq.heappop(self._agenda)
            act(*arguments)

    def _later(self, act: Callable[..., None], *arguments: Any, slow: float = 1.0) -> None:
        time = self._now + slow * self._rng.expovariate(1000.0)
        heapq.heappush(self._agenda, (time, self._rng.getrandbits(64), act, arguments))

    def _invoke(self, client: str) -> None:
        if self._begun == self._usage.count:
            return
        self._begun += 1
        op = f"{client}-{self._begun}"
        f, value = self._thing.draw(self._rng, self._begun)
        self._write("invoke", client, op, f, value)
        luck = self._rng.random()
        if luck < self._usage.failed:
            self._later(self._end, "fail", client, op, f, value)
        elif luck < self._usage.failed + self._usage.unknown:
            if self._rng.random() < 0.5:
                self._later(self._thing.do, f, value, slow=10.0)
            self._later(self._end, "unknown", client, op, f, value)
        else:
            self._later(self._take_effect, client, op, f, value)

    def _take_effect(self, client: str, op: str, f: str, value: Any) -> None:
        self._later(self._end, "ok", client, op, f, self._thing.do(f, value))

    def _end(self, outcome: str, client: str, op: str, f: str, value: Any) -> None:
        self._write(outcome, client, op, f, value)
        self._later(self._invoke, client)

    def _write(self, event: str, client: str, op: str, f: str, value: Any) -> None:
        whose = {"pattern": "object", "component": "client", "node": client, "t": self._now}
        self.history.append({"event": event, **whose, "op": op, "f": f, "value": value})


def used(thing: Thing, seed: int, usage: Usage) -> list[Event]:
    """Give the history of an object that was used so; the same of the same seed."""
    return Crowd(thing, random.Random(seed), usage).history

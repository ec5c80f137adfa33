"""The model of a queue."""

from __future__ import annotations

import itertools
import math
import operator
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from apps.kit.checkers.models import Model
from apps.kit.history import Operation


class Queue(Model):
    """First in, first out: `enqueue`; `dequeue` gives the eldest, or None if there is none.

    What ends its dequeue before another's begins was enqueued before it. So a state is what waits,
    and when the dequeue begins that nothing enqueued from now on may end before.
    """

    initial: Hashable = ((), -math.inf)

    def __init__(self, operations: Sequence[Operation]) -> None:
        """Note when each value was taken out; what all was, no unknown dequeue can have taken."""
        self._operations = operations
        takers = [op for op in operations if op.f == "dequeue"]
        self._takers: dict[Hashable, list[Operation]] = {}
        for op in takers:
            if op.outcome == "ok" and op.result is not None:
                self._takers.setdefault(op.result, []).append(op)
        enqueued = Counter(op.value for op in operations if op.f == "enqueue")
        taken = Counter({value: len(ops) for value, ops in self._takers.items()})
        self._spare = enqueued - taken
        unknown = (op.start for op in takers if op.outcome == "unknown")
        self._any = min(unknown, default=math.inf)
        self._taken = {value: self._span(value) for value in self._takers}

    def step(self, state: Any, op: Operation) -> tuple[Hashable, ...]:
        """As its class says."""
        waiting, latest = state
        match op.f:
            case "enqueue":
                begin, end = self._taken.get(op.value, (self._any, math.inf))
                return () if end < latest else (((*waiting, op.value), max(latest, begin)),)
            case "dequeue":
                if op.outcome != "ok":
                    spare = bool(waiting) and waiting[0] in self._spare
                    return ((waiting[1:], latest),) if spare else ()
                eldest = waiting[0] if waiting else None
                return ((waiting[1:], latest),) if op.result == eldest else ()
        raise ValueError(f"a queue has no {op.f}")

    def noticed_until(self, op: Operation) -> float:
        """When its value came out; whoever took something may have made room for the next."""
        if op.f == "dequeue":
            return math.inf
        return self._taken[op.value][1] if op.value in self._taken else -math.inf

    def looks(self, op: Operation) -> bool:
        """A dequeue that found nothing."""
        return op.f == "dequeue" and op.outcome == "ok" and op.result is None

    def contradiction(self) -> Sequence[Operation]:
        """A value taken that was not there, or too often, or before one that came before it.

        These are three of the four violations that a queue of distinct values can have (Henzinger,
        Sezgin, Vafeiadis, "Aspect-oriented linearizability proofs", 2013).
        """
        givers: dict[Hashable, list[Operation]] = {}
        for op in self._operations:
            if op.f == "enqueue":
                givers.setdefault(op.value, []).append(op)
        for value, takers in self._takers.items():
            given = givers.get(value, [])
            if len(takers) > len(given) or takers[0].end < given[0].start:
                return [*given, *takers]
        lone = {value: ops[0] for value, ops in givers.items() if len(ops) == 1}
        return self._out_of_order(lone)

    def _out_of_order(self, lone: Mapping[Hashable, Operation]) -> list[Operation]:
        """Find one enqueued before another that was dequeued before it."""
        out = [(takers[0].end, lone[v]) for v, takers in self._takers.items() if v in lone]
        out.sort(key=operator.itemgetter(0))
        ends = [end for end, _ in out]
        latest = list(itertools.accumulate((giver for _, giver in out), _later))
        for value, giver in lone.items():
            takers = self._takers.get(value, [])
            place = bisect_left(ends, takers[0].start if takers else self._any)
            if place and latest[place - 1].start > giver.end:
                other = latest[place - 1]
                return [giver, other, *self._takers[other.value], *takers]
        return []

    def _span(self, value: Hashable) -> tuple[float, float]:
        """Give when the dequeues of a value begin and end."""
        takers = self._takers[value]
        begin, end = min(op.start for op in takers), max(op.end for op in takers)
        return (min(begin, self._any), math.inf) if value in self._spare else (begin, end)


def _later(one: Operation, other: Operation) -> Operation:
    return one if one.start > other.start else other

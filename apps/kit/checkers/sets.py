"""The model of a set."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable, Sequence
from typing import Any

from apps.kit.checkers.models import UNSEEN, Model
from apps.kit.history import Operation


class Set(Model):
    """`add`, `remove`, `read` of all members, `contains` of one."""

    initial: Hashable = frozenset()

    def __init__(self, operations: Sequence[Operation]) -> None:
        """Note what was read, and, if nothing is removed, in which order members must have come."""
        self._operations = operations
        told = [op for op in operations if op.outcome == "ok"]
        self._reads = {op.op: frozenset(op.result) for op in told if op.f == "read"}
        self._apart = {op.value for op in operations if op.f in {"contains", "remove"}}
        self._seen = {op.value for op in told if op.f == "contains"}.union(*self._reads.values())
        self._seen_until = max((op.end for op in told if self.looks(op)), default=-math.inf)
        self._before: dict[Hashable, frozenset[Hashable]] = {}
        if not any(op.f == "remove" for op in operations):
            growing = sorted(self._reads.values(), key=len)
            for member in self._seen:
                self._before[member] = _last_without(member, growing)

    def step(self, state: Any, op: Operation) -> tuple[Hashable, ...]:
        """As its class says."""
        match op.f:
            case "read":
                return (state,) if op.outcome != "ok" or self._reads[op.op] == state else ()
            case "contains":
                return (state,) if op.told(op.value in state) else ()
            case "add":
                before = self._before.get(op.value)
                return () if before and not before <= state else (state | {op.value},)
            case "remove":
                return (state - {op.value},)
        raise ValueError(f"a set has no {op.f}")

    def noticed_until(self, op: Operation) -> float:
        """When anybody last looked; that an added member is there is noticed only if it is seen."""
        noticed = op.f == "remove" or (op.f == "add" and op.value in self._seen)
        return self._seen_until if noticed else -math.inf

    def looks(self, op: Operation) -> bool:
        """All but adding and removing."""
        return op.f in {"read", "contains"}

    def alike(self, op: Operation) -> Hashable:
        """Those whose members were only ever read together."""
        if op.value in self._apart:
            return op.f, op.value
        seen = sum(1 << n for n, read in enumerate(self._reads.values()) if op.value in read)
        return op.f, UNSEEN, seen

    def contradiction(self) -> Sequence[Operation]:
        """A read that lacks what was there to stay, or shows what nobody had yet begun to add."""
        adds = [op for op in self._operations if op.f == "add"]
        staying = [op for op in adds if op.end < math.inf and op.value not in self._apart]
        staying.sort(key=lambda op: op.end, reverse=True)
        reads = [op for op in self._operations if op.op in self._reads]
        settled: dict[Hashable, Operation] = {}
        for read in reads:
            while staying and staying[-1].end < read.start:
                settled[staying[-1].value] = staying[-1]
                staying.pop()
            if missing := settled.keys() - self._reads[read.op]:
                return [settled[next(iter(missing))], read]
        begun: set[Hashable] = set()
        place = 0
        for read in sorted(reads, key=lambda op: op.end):
            while place < len(adds) and adds[place].start <= read.end:
                begun.add(adds[place].value)
                place += 1
            if early := self._reads[read.op] - begun:
                return [read, *(op for op in adds if op.value in early)]
        return ()


def _last_without(member: Hashable, growing: Sequence[frozenset[Hashable]]) -> frozenset[Hashable]:
    """Give the largest read that lacks a member: all that it shows came before the member did."""
    place = bisect_left(growing, True, key=lambda read: member in read)
    found = growing[place - 1] if place else frozenset()
    return frozenset() if member in found else found

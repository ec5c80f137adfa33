"""The model of a register."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apps.kit.checkers.models import UNSEEN, Model
from apps.kit.history import Operation


class Register(Model):
    """One value: `read`, `write`, and `cas` of [old, new], which answers False if it refused."""

    def __init__(self, operations: Sequence[Operation], initial: Hashable = None) -> None:
        """`initial` is what a read gives before any write."""
        self._seen: dict[Hashable, float] = {}
        self._refused = -math.inf
        for op in operations:
            if op.outcome == "ok" and op.f != "write":
                seen = op.value[0] if op.f == "cas" else op.result
                self._seen[seen] = max(op.end, self._seen.get(seen, op.end))
                if op.result is False and op.f == "cas":
                    self._refused = max(self._refused, op.end)
        self._follow([op for op in operations if op.f == "cas" and op.outcome == "unknown"])
        self.initial = self._known(initial)
        self._operations = operations
        self._first = initial

    def step(self, state: Any, op: Operation) -> tuple[Hashable, ...]:
        """As its class says."""
        match op.f:
            case "read":
                return (state,) if op.told(state) else ()
            case "write":
                return (self._known(op.value),)
            case "cas":
                old, new = op.value
                if op.outcome == "ok" and (op.result is False) == (state == old):
                    return ()
                return (self._known(new) if state == old else state,)
        raise ValueError(f"a register has no {op.f}")

    def looks(self, op: Operation) -> bool:
        """A read, or a refused swap."""
        return op.f == "read" or op.result is False

    def noticed_until(self, op: Operation) -> float:
        """When its value was last seen, or seen to be gone."""
        if op.f == "read":
            return -math.inf
        value = op.value[1] if op.f == "cas" else op.value
        return max(self._refused, self._seen.get(value, -math.inf))

    def alike(self, op: Operation) -> Hashable:
        """Those whose value nobody saw."""
        if op.f == "cas":
            return op.f, op.value[0], self._known(op.value[1])
        return op.f, self._known(op.value)

    def contradiction(self) -> Sequence[Operation]:
        """Two values that each must have been there when the other was.

        A value that was written once is there from the first end to the last beginning of the
        operations that wrote or saw it, which is a zone if the one is before the other (Gibbons and
        Korach, "Testing shared memories", 1997, section 4).
        """
        zones = sorted(_zones(self._operations, self._first), key=lambda zone: zone.begin)
        lasting = [zone for zone in zones if zone.begin < zone.end]
        for one, other in itertools.pairwise(lasting):
            if other.begin < one.end:
                return list(dict.fromkeys((*one.shown, *other.shown)))
        begins = [zone.begin for zone in lasting]
        for zone in zones:
            place = bisect_left(begins, zone.end)
            if zone.end <= zone.begin and place and zone.begin < lasting[place - 1].end:
                return list(dict.fromkeys((*lasting[place - 1].shown, *zone.shown)))
        return ()

    def _follow(self, swaps: Sequence[Operation]) -> None:
        """A swap of unknown outcome saw its old value, if anybody noticed its new one."""
        ahead = [op.value[1] for op in swaps]
        before: dict[Hashable, list[Hashable]] = {}
        for op in swaps:
            before.setdefault(op.value[1], []).append(op.value[0])
        while ahead:
            new = ahead.pop()
            until = max(self._refused, self._seen.get(new, -math.inf))
            for old in before.get(new, ()):
                if until > self._seen.get(old, -math.inf):
                    self._seen[old] = until
                    ahead.append(old)

    def _known(self, value: Hashable) -> Hashable:
        return value if value in self._seen else UNSEEN


@dataclass(frozen=True, slots=True)
class _Zone:
    """A value, from the first end to the last beginning of those that wrote or saw it."""

    begin: float
    end: float
    shown: tuple[Operation, ...]


def _zones(operations: Sequence[Operation], initial: Hashable) -> Iterator[_Zone]:
    writers: dict[Hashable, list[Operation]] = {}
    seers: dict[Hashable, list[Operation]] = {}
    for op in operations:
        if op.f != "read" and op.result is not False:
            writers.setdefault(op.value[1] if op.f == "cas" else op.value, []).append(op)
        if op.outcome == "ok" and op.result is not False and op.f != "write":
            seers.setdefault(op.value[0] if op.f == "cas" else op.result, []).append(op)
    for value in writers.keys() | seers.keys():
        wrote, saw = writers.get(value, []), seers.get(value, [])
        if len(wrote) + (value == initial) > 1:
            continue
        first = min([*wrote, *saw], key=lambda op: op.end)
        last = max([*wrote, *saw], key=lambda op: op.start)
        begin = -math.inf if value == initial else first.end
        yield _Zone(begin, last.start, (*wrote, first, last))

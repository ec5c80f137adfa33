"""The search for an order of operations that a model explains.

It is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993): try each operation
that may come next, step the model, go on from there; with Lowe's memory of what was tried ("Testing
for linearizability", 2017, section 3).

A place in the search is small: how many operations are done without a gap, which are done beyond
the gap, which of unknown outcome are done, and the model's state. What keeps places few:

- An operation that changes nothing, and may come next, comes next: the others are not hindered.
- One of unknown outcome is needed only if it changes the state, and while somebody may yet notice
  (`Model.noticed_until`); of two alike, the one that was invoked first comes first.
"""

from __future__ import annotations

import itertools
import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeAlias

from apps.kit.checkers.models import Model
from apps.kit.history import Operation

WEIGHT = 64
"""Members of a state that weigh as much as a place: a state may be a long queue."""

MakeModel: TypeAlias = Callable[[Sequence[Operation]], Model]
Place: TypeAlias = tuple[int, int, int, Hashable]
"""All completed operations before the first number are done, those of the bits from there on, those
of unknown outcome of the second bits; and the state."""


class Search:
    """A search for an order. `holds` is None if the budget ended it."""

    def __init__(self, found: Sequence[Operation], model: MakeModel, budget: int) -> None:
        """`found` are the operations on one key, in the order of invocation, values frozen."""
        self._model = model(found)
        self._done = [op for op in found if op.outcome == "ok"]
        unknown = [op for op in found if op.outcome == "unknown"]
        self._maybe = [op for op in unknown if self._model.noticed_until(op) > -math.inf]
        self._begun = [op.start for op in self._maybe]
        self._over = _expiry([self._model.noticed_until(op) for op in self._maybe])
        self._starts = [op.start for op in self._done]
        self._ends = [op.end for op in self._done]
        self._twin = _twins([self._model.alike(op) for op in self._maybe])
        self.visited = 0
        """Places, the big ones counted more than once."""
        self.stuck = -math.inf
        """When the operation ended that no place came past: the violation is there or later."""
        self.holds = self._run(budget)

    def _run(self, budget: int) -> bool | None:
        first: Place = (0, 0, 0, self._model.initial)
        if not self._done:
            return True
        if self._model.contradiction():
            return False
        seen: set[Place] = {first}
        ahead = [first]
        goal = len(self._done)
        while ahead:
            place = ahead.pop()
            for following in self._following(*place):
                if following[0] == goal:
                    return True
                if following not in seen:
                    seen.add(following)
                    ahead.append(following)
                    self.visited += 1 + _size(following[3]) // WEIGHT
            if self.visited > budget:
                return None
        return False

    def _following(self, low: int, beyond: int, unknown: int, state: Hashable) -> list[Place]:
        """Give the places after the next operation, the likeliest last."""
        candidates, bound = self._candidates(low, beyond)
        self.stuck = max(self.stuck, bound)
        step, looks = self._model.step, self._model.looks
        found: list[Place] = []
        for place in candidates:
            op = self._done[place]
            states = step(state, op)
            if states:
                after = _closed(low, beyond | 1 << (place - low))
                if looks(op):
                    return [(*after, unknown, state)]
                found.extend((*after, unknown, new) for new in states)
        found.reverse()
        return [*self._unknown_steps(low, beyond, unknown, state, bound), *found]

    def _candidates(self, low: int, beyond: int) -> tuple[list[int], float]:
        """Give the completed operations that no other came before, and the first end ahead."""
        starts, ends = self._starts, self._ends
        bound, place, candidates = math.inf, low, []
        while place < len(starts) and starts[place] <= bound:
            if not beyond & 1:
                candidates.append(place)
                bound = min(bound, ends[place])
            place += 1
            beyond >>= 1
        return candidates, bound

    def _unknown_steps(
        self, low: int, beyond: int, unknown: int, state: Hashable, bound: float
    ) -> Iterator[Place]:
        times, expired = self._over
        useless = unknown | expired[bisect_left(times, bound)]
        rest = ((1 << bisect_right(self._begun, bound)) - 1) & ~useless
        while rest:
            bit = rest & -rest
            rest ^= bit
            place = bit.bit_length() - 1
            twin = self._twin[place]
            if twin < 0 or useless >> twin & 1:
                for new in self._model.step(state, self._maybe[place]):
                    if new != state:
                        yield low, beyond, unknown | bit, new


def _expiry(until: Sequence[float]) -> tuple[list[float], list[int]]:
    """Give the times in order, and for each place among them the bits of those that were before."""
    order = sorted(range(len(until)), key=until.__getitem__)
    bits = itertools.accumulate((1 << place for place in order), operator.or_, initial=0)
    return [until[place] for place in order], list(bits)


def _twins(alike: Sequence[Hashable]) -> list[int]:
    """Give for each operation the one before it that is alike, or -1."""
    latest: dict[Hashable, int] = {}
    twins = []
    for place, kind in enumerate(alike):
        twins.append(latest.get(kind, -1))
        latest[kind] = place
    return twins


def _closed(low: int, beyond: int) -> tuple[int, int]:
    """Move on over what is done without a gap."""
    ones = (~beyond & (beyond + 1)).bit_length() - 1
    return low + ones, beyond >> ones


def _size(state: Hashable) -> int:
    return len(state) if isinstance(state, tuple | frozenset) else 0

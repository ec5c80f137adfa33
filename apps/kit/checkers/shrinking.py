"""The smallest part of a history that shows it has no order.

An operation is not simply dropped: a read alone would be inexplicable without its write. Two
changes can only make a history easier to explain, so what still has no order shows the violation:
to forget an outcome, and to drop an unknown operation that nobody noticed. They are tried on many
operations at once, then on fewer (Zeller and Hildebrandt, "Simplifying and Isolating
Failure-Inducing Input", 2002, has the idea).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from apps.kit.checkers.search import MakeModel, Search
from apps.kit.history import Operation

ATTEMPT = 2
"""How many times as long as the first search an attempt to forget something may take."""


class Shrinking:
    """Makes a part of a history, as small as is quickly found, that has no order either."""

    def __init__(self, model: MakeModel, budget: int) -> None:
        self._model = model
        self._left = self._limit = budget

    def smallest(self, found: Sequence[Operation], stuck: float) -> list[Operation]:
        """Shrink what has no order; no operation that ended before `stuck` is the last of them.

        A contradiction is small as it is, and says more than what could be left of it: whose other
        answers it takes for granted is not in it.
        """
        contradiction = self._model(found).contradiction()
        if contradiction:
            return sorted(contradiction, key=lambda op: op.start)
        small = self._first(found, stuck)
        looks = self._model(small).looks
        small = self._forget(small, [op for op in small if looks(op)])
        return self._forget(small, small)

    def _first(self, found: Sequence[Operation], stuck: float) -> list[Operation]:
        """Give the shortest beginning that has no order, and bound what an attempt may take."""
        ends = sorted({end for op in found if stuck <= (end := op.end) < math.inf})
        place = bisect_left(ends, True, key=lambda time: self._fails(self._until(found, time)))
        small = self._until(found, ends[min(place, len(ends) - 1)])
        before = self._left
        if not self._fails(small):  # the budget is spent
            return list(found)
        self._limit = 1_000 + ATTEMPT * (before - self._left)
        return small

    def _until(self, found: Sequence[Operation], time: float) -> list[Operation]:
        """Give what was known at a time."""
        return self._noticed(
            [op if op.end <= time else _forgotten(op) for op in found if op.start <= time]
        )

    def _forget(self, small: list[Operation], pool: Sequence[Operation]) -> list[Operation]:
        """Forget the outcomes of a pool, many at once first, wherever there is still no order."""
        rest = [op.op for op in pool if op.outcome == "ok"]
        size = len(rest)
        while size and self._left > 0:
            for chunk in [rest[at : at + size] for at in range(0, len(rest), size)]:
                names = set(chunk)
                smaller = [_forgotten(op) if op.op in names else op for op in small]
                smaller = self._noticed(smaller)
                if self._fails(smaller):
                    small = smaller
                    rest = [op for op in rest if op not in names]
            size //= 2
        return small

    def _noticed(self, small: list[Operation]) -> list[Operation]:
        """Drop unknown operations that do not matter, and those that mattered to them alone."""
        while True:
            model = self._model(small)
            fewer = [
                op for op in small if op.outcome == "ok" or model.noticed_until(op) > -math.inf
            ]
            if len(fewer) == len(small):
                return fewer
            small = fewer

    def _fails(self, small: Sequence[Operation]) -> bool:
        search = Search(small, self._model, min(self._left, self._limit))
        self._left -= search.visited
        return search.holds is False


def _forgotten(op: Operation) -> Operation:
    return replace(op, outcome="unknown", result=None, end=math.inf, completed=None)

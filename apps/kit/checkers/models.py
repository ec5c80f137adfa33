"""What an object does when one client alone uses it: what `linearizable` compares a history with.

A model is a class of a few lines: the state at first, and what an operation makes of a state. To
add one, write `step`, and say in `looks` which operations never change anything; to be quick
with many unknown outcomes, say in `noticed_until` and `alike` which of them make no difference.

States, values and results are hashable: lists come as tuples, JSON objects as frozensets of pairs.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from enum import Enum
from typing import Any, Final, Literal

from apps.kit.history import Operation


class _Value(Enum):
    UNSEEN = "some value that nobody saw"


UNSEEN: Final[Literal[_Value.UNSEEN]] = _Value.UNSEEN


class Model:
    """An object, made anew for each key, from the operations on it that are to be explained."""

    initial: Hashable = None

    def __init__(self, operations: Sequence[Operation]) -> None:
        """`operations` are all that were not refused; what they told may narrow the search."""

    def step(self, state: Any, op: Operation) -> tuple[Hashable, ...]:
        """Give the states that the operation may leave behind; none if it cannot come here.

        It cannot if what it told contradicts the state (see `Operation.told`).
        """
        raise NotImplementedError

    def looks(self, op: Operation) -> bool:
        """Whether the operation, having answered as it did, changed nothing."""
        return op.f == "read"

    def noticed_until(self, op: Operation) -> float:
        """Give the end of the last operation whose answer may depend on this one's effect.

        Minus infinity if there is none: then the others must be explicable without this one
        wherever they are with it.
        """
        return -math.inf if self.looks(op) else math.inf

    def alike(self, op: Operation) -> Hashable:
        """Give what two operations share if nobody could tell which of them took effect."""
        return op.f, op.value

    def contradiction(self) -> Sequence[Operation]:
        """Give a few operations that contradict each other, if such are found at a glance."""
        return ()


class Log(Model):
    """`append` answers the offset, or None if it does not say; `read` gives the whole log.

    All that was read is a prefix of the longest read, so that alone says what comes next up to
    there, and what comes beyond nobody saw: the length is state enough.
    """

    initial: Hashable = 0

    def __init__(self, operations: Sequence[Operation], first: int = 0) -> None:
        """`first` is the offset of the first entry."""
        self._first = first
        told = [op for op in operations if op.outcome == "ok"]
        reads = [op for op in told if op.f == "read"]
        self._longest = max((op.result for op in reads), key=len, default=())
        self._read: set[Hashable] = set().union(*(op.result for op in reads))
        self._read_until = max((op.end for op in reads), default=-math.inf)
        placed = [op for op in told if op.f == "append" and op.result is not None]
        self._last = (
            max((op.result for op in placed), default=-1),
            max((op.end for op in placed), default=-math.inf),
        )

    def step(self, state: Any, op: Operation) -> tuple[Hashable, ...]:
        """As its class says."""
        match op.f:
            case "read":
                return (state,) if op.outcome != "ok" or self._reads(op, state) else ()
            case "append":
                if op.result is not None and op.result != self._first + state:
                    return ()
                if state < len(self._longest) and op.value != self._longest[state]:
                    return ()
                return (state + 1,)
        raise ValueError(f"a log has no {op.f}")

    def noticed_until(self, op: Operation) -> float:
        """When the log was last read, if this is in it; when an entry behind it got an offset."""
        if op.f == "read":
            return -math.inf
        read = self._read_until if op.value in self._read else -math.inf
        last, told = self._last
        return max(read, told) if last > (-1 if op.result is None else op.result) else read

    def alike(self, op: Operation) -> Hashable:
        """Those that nobody read."""
        return op.f, op.value if op.value in self._read else UNSEEN

    def _reads(self, op: Operation, length: int) -> bool:
        return len(op.result) == length and bool(op.result == self._longest[:length])

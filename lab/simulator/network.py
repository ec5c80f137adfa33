"""The network of a simulation: who reaches whom, how long it takes, and what becomes of a message.

It decides and remembers, and does nothing: `lab.simulator` carries the messages.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Way: TypeAlias = tuple[str, str]
"""From a node to another."""
Loss: TypeAlias = Literal["cut", "loss"]


@dataclass(frozen=True, slots=True)
class Wire:
    """How a message fares on its way from one node to another."""

    delay: tuple[float, float] = (0.001, 0.010)
    """Seconds, at least and at most, evenly distributed."""
    loss: float = 0.0
    """The probability that it does not arrive."""
    duplicate: float = 0.0
    """The probability that it arrives twice."""
    fifo: bool = False
    """Whether it never overtakes an earlier one."""


class Network:
    """The ways between nodes. Any set of them may be closed, in one direction only as well."""

    def __init__(self, rng: random.Random, wire: Wire, wires: Mapping[Way, Wire]) -> None:
        """`wires` are the ways that differ from `wire`."""
        self._rng = rng
        self._wire = wire
        self._wires = wires
        self._last: dict[Way, float] = {}
        self.closed: frozenset[Way] = frozenset()
        self.worse: Mapping[Way, Wire] = {}
        """The ways that a fault makes differ from how they were."""

    def wire(self, way: Way) -> Wire:
        """Give how messages fare on a way when nothing is wrong."""
        return self._wires.get(way, self._wire)

    def carry(self, way: Way, now: float) -> list[float] | Loss:
        """Decide when a message that leaves now arrives, once or twice, or why it never does."""
        if way in self.closed:
            return "cut"
        wire = self.worse.get(way) or self._wires.get(way, self._wire)
        draw = self._rng.random
        if draw() < wire.loss:
            return "loss"
        twice = draw() < wire.duplicate
        least, most = wire.delay
        arrivals = [now + (least + (most - least) * draw())]
        if twice:
            arrivals.append(now + (least + (most - least) * draw()))
        if wire.fifo:
            self._last[way] = last = max(self._last.get(way, 0.0), *arrivals)
            arrivals = [last] * len(arrivals)
        return arrivals


def between(*groups: Iterable[str]) -> list[Way]:
    """Give the ways to close so that no group reaches another; each keeps its own."""
    parts = [list(group) for group in groups]
    return [
        (a, b) for one in parts for other in parts if one is not other for a in one for b in other
    ]

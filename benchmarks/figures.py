"""What a benchmark finds: figures, each with its aim and its peer."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Peer:
    """The same thing, measured of somebody else's tool on the same machine."""

    name: str
    runs: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median of the runs."""
        return statistics.median(self.runs)


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, some times over."""

    part: str
    what: str
    unit: str
    """`s`, `ms` and `rounds` (less is better), `/s` and `%` (more is)."""
    runs: tuple[float, ...]
    aim: float | None = None
    """At most so much, in the same unit."""
    peer: Peer | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The median of the runs."""
        return statistics.median(self.runs)

    @property
    def ratio(self) -> float | None:
        """How many times the peer's value this is."""
        return self.value / self.peer.value if self.peer and self.peer.value else None

    @property
    def missed(self) -> bool:
        """Whether there is an aim and it was not reached."""
        return self.aim is not None and self.value > self.aim

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        derived = {"value": self.value, "ratio": self.ratio, "missed": self.missed}
        return {**asdict(self), **derived}

    def cells(self) -> tuple[str, ...]:
        """Give it for people, as `COLUMNS` say."""
        aim = "" if self.aim is None else f"≤ {number(self.aim)} {self.unit}"
        return (
            self.what,
            f"{number(self.value)} {self.unit}",
            f"{aim}, missed" if self.missed else aim,
            self.peer.name if self.peer else "",
            f"{number(self.peer.value)} {self.unit}" if self.peer else "",
            "" if self.ratio is None else f"{number(self.ratio, 2)} times",
        )


COLUMNS = ("what", "measured", "aim", "peer", "peer's", "ratio")


def number(value: float, digits: int = 3) -> str:
    """Write it with so many digits or all before the point: 12,345 and 12.3 and 0.0123."""
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


@dataclass(frozen=True)
class Traffic:
    """How fast one pair of hosts talks: messages a second, and milliseconds."""

    rate: float
    p50: float
    p99: float


def compared(
    part: str, what: str, ours: Sequence[Traffic], theirs: tuple[str, Sequence[Traffic]], note: str
) -> Iterator[Figure]:
    """Give the figures of some runs of ours beside those of a peer, which is named."""
    peer, runs = theirs
    for name, unit in (("rate", "/s"), ("p50", "ms"), ("p99", "ms")):
        of = operator.attrgetter(name)
        yield Figure(
            part,
            f"{what}, {name}",
            unit,
            tuple(map(of, ours)),
            peer=Peer(peer, tuple(map(of, runs))),
            note=note if name == "rate" else "",
        )

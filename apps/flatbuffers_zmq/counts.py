"""What a subscriber counts of each run of a publisher: received, refused, lost.

Messages of a run have the numbers 1, 2, 3, …, and arrive in this order or not at all: a ZeroMQ
subscriber has one connection to a publisher, and a queue that drops. So whatever number is skipped
is lost. What was published before the first that came is not counted: a subscriber that joins late
has missed it, and cannot know whether it ever wanted it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Counted:
    """Figures of one run; `received`, `refused` and `lost` add up to `first` until `highest`."""

    first: int
    highest: int
    received: int = 0
    refused: int = 0
    told: bool = False
    """Whether these figures have been reported."""

    @property
    def lost(self) -> int:
        """Numbers that never came."""
        return self.highest - self.first + 1 - self.received - self.refused

    def figures(self) -> dict[str, int]:
        """Give them all."""
        return {
            "first": self.first,
            "highest": self.highest,
            "received": self.received,
            "refused": self.refused,
            "lost": self.lost,
        }


class Counts:
    """The figures of all runs that were heard of lately."""

    def __init__(self, streams: int) -> None:
        """Keep so many runs at most: the one silent longest makes room."""
        self._most = streams
        self._streams: OrderedDict[str, Counted] = OrderedDict()

    def comes(self, stream: str, number: int) -> Counted | None:
        """Note that a number came; give its run's figures, or None if it came before or late."""
        known = self._streams.get(stream)
        if known is None:
            while len(self._streams) >= self._most:
                self._streams.popitem(last=False)
            known = self._streams[stream] = Counted(number, number)
        elif number <= known.highest:
            return None
        self._streams.move_to_end(stream)
        known.highest = number
        known.told = False
        return known

    def changes(self) -> Iterator[dict[str, Any]]:
        """Give the figures that are new since they were last given."""
        for stream, known in self._streams.items():
            if not known.told:
                known.told = True
                yield {"stream": stream, **known.figures()}

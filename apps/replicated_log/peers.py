"""What the master knows of its secondaries, and how long it waits for them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pace:
    """The master's times, in seconds, and its bounds."""

    beat: float = 0.5
    """Between two heartbeats to each secondary."""
    suspected: float = 1.5
    """Without a word of a secondary."""
    unhealthy: float = 3.0
    first: float = 0.5
    """What a secondary does not acknowledge for so long is sent again; each further time it is
    twice as long, …"""
    longest: float = 5.0
    """… up to this."""
    pipeline: int = 8
    """Batches on their way to a secondary."""
    batch: int = 131_072
    """Bytes of a batch; it ends with the entry that reaches them."""
    waiting: int = 10_000
    """Requests that wait for their acknowledgement; one more is refused."""


@dataclass(slots=True)
class Secondary:
    """What the master knows of a secondary."""

    name: str
    patience: float
    session: int
    """What it says of its disk counts if it names this, which it was told after it last began."""
    acked: int = 0
    """So many entries are on its disk."""
    next: int = 0
    """The entry that it is sent next."""
    known: bool = False
    """Whether it said what it has, in this life of the master."""
    state: str = "unhealthy"
    heard: float = float("-inf")
    moved: float = 0.0
    """When it last acknowledged more, or was sent something anew."""
    flying: deque[int] = field(default_factory=deque)
    """Where the batches end that are on their way."""

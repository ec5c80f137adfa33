"""A subscription, as the server has it, and the bounds within which it lives."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a subscription may ask of the server. Times are seconds."""

    answer: float = 3.0
    """An upcall that is not acknowledged for so long ends its subscription."""
    silence: float = 2.0
    """So does a client that is not heard at all for so long."""
    beat: float = 0.5
    """A client that is not heard for so long is asked whether it is there, at every look."""
    again: float = 0.5
    """What is not acknowledged for so long is sent again."""
    window: int = 16
    """Upcalls that are sent and not acknowledged."""
    queue: int = 1000
    """Upcalls that wait, those included. One more ends the subscription."""
    subscriptions: int = 1000
    text: int = 10_000
    """Characters of an event's value."""


@dataclass(frozen=True, slots=True)
class Event:
    """What was published: `id` is its publisher's, `number` the server's."""

    id: str
    number: int
    topic: str
    value: str


@dataclass(slots=True, eq=False)
class Subscription:
    """A client's: what it is owed, and when it was last heard."""

    id: str
    name: str
    session: str
    topic: str
    attempt: int
    heard: float
    queue: deque[Event] = field(default_factory=deque)
    """Not acknowledged; the first has the number `acked` + 1."""
    acked: int = 0
    flight: int = 0
    """How many of the queue are sent."""
    waiting_since: float = 0.0
    """Since when the first of the queue waits for its answer, if any is sent."""
    sent_at: float = 0.0

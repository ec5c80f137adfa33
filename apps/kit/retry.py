"""Deadlines and bounded retries: patience with an end.

Backoff is exponential with full jitter (M. Brooker, "Exponential Backoff And Jitter", 2015):
a crowd of clients that failed together does not come back together.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often to try again, and how long to wait before each time (seconds)."""

    retries: int = 4
    first: float = 0.05
    factor: float = 2.0
    longest: float = 2.0

    def delays(self, rng: random.Random) -> Iterator[float]:
        """Give the wait before each retry: uniform between 0 and a bound that grows."""
        bound = self.first
        for _ in range(self.retries):
            bound = min(self.longest, bound)
            yield rng.uniform(0, bound)
            bound *= self.factor


class Deadline:
    """A moment by which a whole operation must be done, retries and all."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """The deadline is `seconds` from now."""
        self._clock = clock
        self._at = clock() + seconds

    @property
    def remaining(self) -> float:
        """Seconds that are left; never below zero."""
        return max(0.0, self._at - self._clock())

    @property
    def passed(self) -> bool:
        """Whether the moment has come."""
        return self._clock() >= self._at


async def set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for an event for so many seconds at most (None: for ever); whether it was set.

    asyncio.wait_for of Python 3.11 would swallow a cancellation that comes together with it.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()

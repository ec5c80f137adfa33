"""Single flight: of all who want the same thing at once, one fetches it, and all get it.

As long as nobody has an image, everybody who asks for it would fetch it: a crowd at the edge would
be the same crowd at the origin. (The name is that of Go's golang.org/x/sync/singleflight.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class TooMany(Exception):
    """So many different things are being fetched already that no more are begun."""


class Flights(Generic[Key, Found]):
    """What is being fetched now."""

    def __init__(self, most: int) -> None:
        """At most so many different things at once."""
        self._most = most
        self._flying: dict[Key, asyncio.Task[Found]] = {}

    async def join(self, key: Key, fetch: Callable[[], Coroutine[Any, Any, Found]]) -> Found:
        """Give what `fetch` gives, or raise what it raises, by a fetch that is under way if any.

        Who waits may give up without harm to the others: the flight goes on. TooMany.
        """
        flight = self._flying.get(key)
        if flight is None:
            if len(self._flying) >= self._most:
                raise TooMany
            flight = asyncio.create_task(fetch())
            self._flying[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """End all that is under way."""
        flights = list(self._flying.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _landed(self, key: Key, flight: asyncio.Task[Found]) -> None:
        del self._flying[key]
        if not flight.cancelled():
            flight.exception()  # whoever waits has it; if nobody does any more, it is no matter

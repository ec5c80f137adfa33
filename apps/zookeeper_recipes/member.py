"""The unit: a member of the party, that works the queue as long as it has its session."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Refused
from apps.zookeeper_recipes.participant import Participant
from apps.zookeeper_recipes.parties import Party
from apps.zookeeper_recipes.queues import Queue

PATIENCE = 5.0
"""Seconds that it waits for anything before it looks around: also for something to do."""
_REST = 1.0
"""Seconds between two sessions, where the first could not be had or was lost."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where it takes part, and how."""

    servers: Sequence[Address]
    path: str
    session: float
    """Seconds that the ensemble waits for it before it counts as gone."""
    work: float
    """Seconds that an item takes."""


class Member:
    """An async context manager that takes part while it is entered, in a thread of its own."""

    def __init__(self, settings: Settings, events: Events) -> None:
        """Nothing begins before it is entered."""
        self._settings = settings
        self._events = events
        self._stopped = threading.Event()
        self._participant: Participant | None = None
        self._thread = threading.Thread(target=self._live, daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._participant is not None:
            self._participant.wake()
        await asyncio.to_thread(self._thread.join)

    def _live(self) -> None:
        """Take part in one session after another."""
        while not self._stopped.is_set():
            try:
                self._take_part()
            except CallFailed as error:
                self._events.emit("trouble", error=str(error))
            self._stopped.wait(_REST)

    def _take_part(self) -> None:
        """Join, and work until the session is lost or we are stopped."""
        settings = self._settings
        how = {"patience": PATIENCE, "session": settings.session}
        with Participant(settings.servers, self._events, **how) as participant:
            self._participant = participant
            Party(participant, f"{settings.path}/party").join(self._events.node)
            queue = Queue(participant, f"{settings.path}/queue")
            while not self._stopped.is_set() and not participant.losses:
                try:
                    item = queue.take(self._stopped.is_set)
                except Refused:
                    continue  # nothing to do for so long
                # What is taken and not acknowledged goes back with our session, so that ends.
                if item is not None and not self._stopped.wait(settings.work):
                    self._events.emit("done", item=item.name, value=item.value)
                    queue.acknowledge(item)

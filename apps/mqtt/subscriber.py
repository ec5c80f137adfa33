"""The subscriber: a session that outlives its process, and a record of all that was delivered.

It takes all readings, every client's state, and its share of the jobs: of those, each goes to one
of the group. What it confirms to the broker it has on its disk; after a crash it says what that is
(`recorded`), because the last lines of a journal may be lost with the power.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.mqtt import topics
from apps.mqtt.core import Delivery, Message
from apps.mqtt.record import Record
from apps.mqtt.session import Session
from apps.mqtt.wire import Terms


class Subscriber:
    """An async context manager: subscribed, as far as there is a broker, while it is entered."""

    def __init__(
        self, broker: Address, terms: Terms, group: str, place: Path, events: Events
    ) -> None:
        """Share the jobs with a group; keep the record in the directory `place`."""
        self._events = events
        self._record = Record(place / "deliveries.jsonl")
        self._session = Session(
            broker,
            topics.present(terms),
            events,
            filters={topics.READINGS: 2, topics.STATES: 1, topics.shared(group, topics.JOBS): 2},
            receiver=self,
            held=self._record.inbox.held,
        )

    async def __aenter__(self) -> Self:
        inbox = self._record.inbox
        self._events.emit("recorded", deliveries=inbox.tail, held=len(inbox.held))
        await self._session.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await topics.leave(self._session)
        await self._session.__aexit__(kind, error, trace)
        self._record.close()

    # As a Receiver

    def hold(self, mid: int, message: Message) -> None:
        """Hold it."""
        self._record.hold(mid, message)

    def deliver(self, message: Message, mid: int | None) -> None:
        """Record it."""
        self._record.deliver(message, mid)

    def settle(self) -> None:
        """Write; then tell what was delivered."""
        for delivery in self._record.flush():
            self._tell(delivery)

    def _tell(self, delivery: Delivery) -> None:
        message = delivery.message
        if (client := topics.client_of(message.topic)) is not None:
            told = {"client": client, "state": message.text[:20], "retain": message.retain}
            self._events.bounded("presence", **told)
            return
        how = {"topic": message.topic, "qos": message.qos, "again": message.again}
        if message.id:
            peer = message.id.partition(":")[0].rpartition("-")[0]
            self._events.recv(message.id, peer, number=delivery.number, **how)
        else:
            text = message.text[:200]
            self._events.bounded("heard", number=delivery.number, **how, text=text)

"""What a person types: ask the pirates, call a service by name, hand requests to Titanic.

Every operation is recorded with what is known of it in the end. The text of a request travels
behind a frame `operation/attempt`, by which the evidence finds it again wherever it was worked.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Generic, Self, TypeVar

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Unknown
from apps.kit.retry import Deadline
from apps.kit.summary import Load, crowd
from apps.zeromq_reliable.effects import Frames
from apps.zeromq_reliable.pirates import LazyPirate, Majordomo, Passenger, Patience

POLL = (0.02, 0.5)
"""Seconds between two looks for a reply of Titanic's, at first and at most."""

Asked = TypeVar("Asked", bound=LazyPirate)


class _Client(Generic[Asked]):
    """An async context manager over the pirate that does the asking."""

    def __init__(self, asked: Asked, events: Events) -> None:
        self._asked = asked
        self._events = events

    async def __aenter__(self) -> Self:
        await self._asked.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._asked.__aexit__(kind, error, trace)


class Pirate(_Client[LazyPirate]):
    """Asks the queue of the Paranoid Pirates."""

    def __init__(
        self, queue: Address, events: Events, patience: Patience, rng: random.Random | None = None
    ) -> None:
        """Relaxed: one socket for all attempts."""
        super().__init__(LazyPirate(queue, events, patience, relaxed=True, rng=rng), events)

    async def ask(self, text: str) -> str:
        """Give the reply; record the operation."""
        with Operation(self._events, "ask", text) as operation:
            return operation.ok(_text(await self._asked.ask(_body(operation.op, text))))


class Caller(_Client[Majordomo]):
    """Calls services of a broker by their names."""

    def __init__(
        self, broker: Address, events: Events, patience: Patience, rng: random.Random | None = None
    ) -> None:
        """See `Majordomo`."""
        super().__init__(Majordomo(broker, events, patience, rng), events)

    async def call(self, service: str, text: str) -> str:
        """Give the service's reply; record the operation."""
        with Operation(self._events, "call", text, service=service) as operation:
            reply = await self._asked.call(service, _body(operation.op, text))
            return operation.ok(_text(reply))

    async def find(self, service: str) -> bool:
        """Say whether anybody offers a service; record the operation."""
        with Operation(self._events, "find", service) as operation:
            return operation.ok(await self._asked.registered(service))


class Traveller(_Client[Majordomo]):
    """Hands requests to Titanic, waits for their replies, and closes their tickets."""

    def __init__(
        self, broker: Address, events: Events, patience: Patience, rng: random.Random | None = None
    ) -> None:
        """`patience.timeout` is also how long a reply is waited for."""
        super().__init__(Majordomo(broker, events, patience, rng), events)
        self._titanic = Passenger(self._asked)
        self._timeout = patience.timeout

    async def store(self, service: str, text: str) -> str:
        """Give the ticket; record the operation."""
        with Operation(self._events, "store", text, service=service) as operation:
            request = _body(operation.op, text)
            return operation.ok(await self._titanic.store(service, request))

    async def fetch(self, ticket: str) -> str:
        """Wait for the reply; record the operation. Unknown if there is none in time."""
        deadline, pause = Deadline(self._timeout), POLL[0]
        with Operation(self._events, "fetch", ticket) as operation:
            while (reply := await self._titanic.fetch(ticket)) is None:
                if deadline.passed:
                    raise Unknown(f"there is no reply yet; `fetch` the ticket {ticket} to wait on")
                await asyncio.sleep(min(pause, deadline.remaining))
                pause = min(POLL[1], 2 * pause)
            return operation.ok(_text(reply))

    async def close(self, ticket: str) -> None:
        """Have the ticket forgotten; record the operation."""
        with Operation(self._events, "close", ticket) as operation:
            await self._titanic.close(ticket)
            operation.ok(ticket)

    async def travel(self, service: str, text: str) -> str:
        """Store, fetch, close; give the reply."""
        ticket = await self.store(service, text)
        reply = await self.fetch(ticket)
        await self.close(ticket)
        return reply


Someone = TypeVar("Someone", Pirate, Caller, Traveller)


async def converse(
    events: Events,
    client: Someone,
    ask: Callable[[Someone, str], Awaitable[object]],
    given: Iterable[str],
    *,
    persist: bool,
) -> None:
    """Ask what is given, and show the answers; `persist` goes on after one that failed."""
    async with client:
        for line in given:
            try:
                events.say(str(await ask(client, line)))
            except CallFailed as error:
                if not persist:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}")


async def measure(
    events: Events,
    connect: Callable[[random.Random], Someone],
    ask: Callable[[Someone, str], Awaitable[object]],
    load: Load,
) -> None:
    """Let a crowd of clients ask texts that nobody else asks, and sum up."""

    async def one(client: Someone, rng: random.Random) -> object:
        return await ask(client, f"parrot {rng.getrandbits(48):012x}")

    await crowd(events, connect, one, load)


def _body(op: str, text: str) -> Callable[[int], Frames]:
    """Give what is asked, for the number of an attempt."""
    return lambda number: (f"{op}/{number}".encode(), os.fsencode(text))


def _text(reply: Frames) -> str:
    return os.fsdecode(reply[-1]) if reply else ""

"""The Lazy Pirate: a client that asks again until it is answered, and says what it knows if not.

The problem: a request or its reply may be lost with any process on the way, and a REQ socket that
waits for a reply waits for ever. The rule (zguide chapter 4): poll for the reply; after a while ask
again; give up when the deadline has come. Asking again takes one of two things:

- `relaxed`: ZMQ_REQ_RELAXED lets one socket ask again, and ZMQ_REQ_CORRELATE, without which that is
  a trap, numbers the requests, so that the reply to an earlier attempt is not taken for this one's.
  The number is one more frame before the empty one. Queues and devices carry it through.
- a new socket for each attempt, as 7/MDP recommends, which has no place for that frame.

What is known at the end: to send waits for a connection (ZMQ_IMMEDIATE). If no attempt ever had
one, the call is refused, and nobody has seen it. If one had, it is unknown: it may be done.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.retry import Backoff, Deadline
from apps.kit.zeromq import Bounds, asynchronous
from apps.zeromq_reliable import wire
from apps.zeromq_reliable.effects import Frames
from apps.zeromq_reliable.paranoid import CLIENTS
from apps.zeromq_reliable.shell import LONGEST, message_id
from apps.zeromq_reliable.wire import BadFrames

BACKOFF = Backoff(retries=1_000_000, first=0.05, longest=0.5)
"""The deadline bounds how often is asked again, not a count."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, in seconds."""

    timeout: float = 30.0
    """… a call may take, with all its attempts."""
    attempt: float = 2.5
    """… an attempt may take. More than a broker needs to find out that a worker is dead."""


class LazyPirate:
    """Asks one server, one request at a time; an async context manager."""

    def __init__(
        self,
        server: Address,
        events: Events,
        patience: Patience,
        *,
        relaxed: bool,
        rng: random.Random | None = None,
    ) -> None:
        """See the module; what is random is when it asks again."""
        self._server = server
        self._events = events
        self._patience = patience
        self._relaxed = relaxed
        self._rng = rng or random.Random()
        self._sockets = asynchronous(events)
        self._socket: zmq.asyncio.Socket | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sockets.close()

    async def ask(self, request: Callable[[int], Frames]) -> Frames:
        """Give the reply to what `request` gives for the number of each attempt.

        Refused or Unknown if there is none in time.
        """
        deadline = Deadline(self._patience.timeout)
        delays = BACKOFF.delays(self._rng)
        sent = 0
        for number in itertools.count(1):
            frames = _sendable(request(number))
            try:
                async with asyncio.timeout(min(self._patience.attempt, deadline.remaining)):
                    socket = self._ready()
                    await socket.send_multipart(frames)
                    sent += 1
                    self._events.send(self._name(">", frames), str(self._server))
                    reply = await _reply(socket)
                    self._events.recv(self._name("<", reply), str(self._server))
                    return reply
            except TimeoutError:
                self._give_up()
            if deadline.passed:
                break
            await asyncio.sleep(min(next(delays), deadline.remaining))
        if not sent:
            raise Refused(f"{self._server} cannot be reached: is it up? Nothing was sent")
        raise Unknown(
            f"no answer of {self._server} in {self._patience.timeout:g} s; asked {sent} times, "
            "and it may have been done"
        )

    def _ready(self) -> zmq.asyncio.Socket:
        if self._socket is None:
            again = {zmq.REQ_RELAXED: 1, zmq.REQ_CORRELATE: 1} if self._relaxed else {}
            self._socket = self._sockets.open(
                "pirate",
                zmq.REQ,
                connect=[self._server],
                options={zmq.IMMEDIATE: 1, **again},
                watched=False,
            )
        return self._socket

    def _give_up(self) -> None:
        """End an attempt; a socket that is not relaxed can only be thrown away."""
        if self._socket is not None and not self._relaxed:
            self._sockets.drop(self._socket)
            self._socket = None

    def _name(self, way: str, frames: Frames) -> str:
        hop = CLIENTS if self._relaxed else ""
        return message_id(hop + way, (b"", *frames))


async def _reply(socket: zmq.asyncio.Socket) -> Frames:
    while True:
        # A REQ that correlates is readable by the reply to an earlier attempt as well. libzmq drops
        # that in the receiving, and then has nothing.
        with suppress(zmq.Again):
            return tuple(await socket.recv_multipart())


def _sendable(frames: Frames) -> Frames:
    longest = Bounds().message
    if max(map(len, frames)) > longest or sum(map(len, frames)) > LONGEST:
        raise Rejected(f"too long: a frame has at most {longest} bytes, all of them {LONGEST}")
    return frames


class Majordomo(LazyPirate):
    """Asks a broker for services by name (7/MDP): a new socket for each attempt."""

    def __init__(
        self,
        broker: Address,
        events: Events,
        patience: Patience,
        rng: random.Random | None = None,
    ) -> None:
        """See `LazyPirate`."""
        super().__init__(broker, events, patience, relaxed=False, rng=rng)

    async def call(self, service: str, body: Callable[[int], Frames]) -> Frames:
        """Give the body of the service's reply; Refused, Unknown, Rejected."""
        try:
            wire.service_name(service.encode())
            reply = await self.ask(lambda number: (wire.CLIENT, service.encode(), *body(number)))
            return wire.read_reply((b"", *reply), service)
        except BadFrames as error:
            raise Rejected(str(error)) from error

    async def registered(self, service: str) -> bool:
        """Ask the broker whether anybody offers a service (8/MMI)."""
        (code,) = await self.call(f"{wire.MANAGEMENT}service", lambda _: (service.encode(),))
        return code == b"200"


class Passenger:
    """Has Titanic keep requests (9/TSP), through the broker."""

    def __init__(self, broker: Majordomo) -> None:
        """`broker` is whom it asks."""
        self._broker = broker

    async def store(self, service: str, body: Callable[[int], Frames]) -> str:
        """Hand in a request, and give its ticket: it is kept from then on."""
        said = await self._say(wire.STORING, lambda n: (service.encode(), *body(n)))
        return said[0].decode("ascii")

    async def fetch(self, ticket: str) -> Frames | None:
        """Give the reply; None if there is none yet."""
        return await self._say(wire.FETCHING, lambda _: (ticket.encode(),)) or None

    async def close(self, ticket: str) -> None:
        """Let Titanic forget the ticket."""
        await self._say(wire.CLOSING, lambda _: (ticket.encode(),))

    async def _say(self, service: str, body: Callable[[int], Frames]) -> Frames:
        """Give what comes after the status; nothing while it is pending."""
        status, *rest = await self._broker.call(service, body)
        code = status[:3]
        if code == wire.PENDING:
            return ()
        if code != wire.OK:
            raise Rejected(f"Titanic says {status.decode('ascii', 'replace')}")
        return tuple(rest)

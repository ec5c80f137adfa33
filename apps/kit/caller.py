"""A client that keeps asking, within one deadline, and says what is known of the outcome."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Callable
from typing import Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.framing import FrameError, Framing, Lines
from apps.kit.outcome import CallFailed, Refused, Unknown
from apps.kit.retry import Backoff, Deadline
from apps.kit.trace import StreamTrace


class FramedConnection(asyncio.Protocol):
    """A client's connection: one call at a time, in order, each with a deadline."""

    def __init__(self, framing: Framing, events: Events) -> None:
        """Use `open`."""
        self._framing = framing
        self._events = events
        self._frames: deque[bytes] = deque()
        self._broken = ""
        self._arrival: asyncio.Future[None] | None = None

    @classmethod
    async def open(
        cls,
        address: Address,
        deadline: Deadline,
        events: Events,
        *,
        framing: Callable[[], Framing] = Lines,
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Connect; Refused says why it could not be done in time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline.remaining):
                _, connection = await loop.create_connection(
                    lambda: cls(framing(), events), *address, ssl=tls
                )
        except TimeoutError:
            raise Refused(f"{address} did not accept a connection in time") from None
        except OSError as error:
            raise Refused(f"{address}: {error.strerror or error}") from error
        return connection

    @property
    def usable(self) -> bool:
        """Whether a call may go out: the stream is whole, and nothing unasked lies in it."""
        return not self._broken and not self._frames

    async def call(self, frame: bytes, deadline: Deadline) -> bytes:
        """Send a frame and give the next one that comes.

        FrameError if `frame` cannot be sent, Unknown if no answer comes by the deadline.
        """
        data = self._framing.encode(frame)
        self._trace.send(len(frame))
        self._transport.write(data)
        while not self._frames:
            if self._broken:
                raise Unknown(f"{self._broken}; the request may have been applied")
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(deadline.remaining):
                    await self._arrival
            except TimeoutError:
                raise Unknown("no answer in time; the request may have been applied") from None
        reply = self._frames.popleft()
        self._trace.recv(len(reply))
        return reply

    def close(self) -> None:
        """Close, whatever state the connection is in."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  create_connection gives one
        self._transport = transport
        self._trace = StreamTrace(self._events, transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            self._frames.extend(self._framing.feed(data))
        except FrameError as error:
            self._break(f"the answer broke the framing: {error}")
            self._transport.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self._break(f"connection lost: {exc}" if exc else "connection closed by the peer")
        self._wake()

    def _break(self, why: str) -> None:
        self._broken = self._broken or why

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


class Caller:
    """Calls one server over one connection at a time; an async context manager.

    A call that was refused is repeated, for it changed nothing. A call whose outcome is unknown
    is repeated only where the caller says that the operation is idempotent.
    """

    def __init__(
        self,
        address: Address,
        events: Events,
        *,
        timeout: float = 5.0,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
        framing: Callable[[], Framing] = Lines,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`timeout` bounds a whole call, its retries included (seconds)."""
        self._address = address
        self._events = events
        self._timeout = timeout
        self._backoff = backoff or Backoff()
        self._rng = rng or random.Random()
        self._framing = framing
        self._tls = tls
        self._connection: FramedConnection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._drop()

    async def call(self, frame: bytes, *, idempotent: bool) -> bytes:
        """Give the server's answer; Refused or Unknown once retries or time have run out."""
        deadline = Deadline(self._timeout)
        delays = self._backoff.delays(self._rng)
        unknown: Unknown | None = None
        while True:
            try:
                return await self._once(frame, deadline)
            except CallFailed as failure:
                self._drop()
                # Once one attempt may have been applied, a later refusal does not undo that.
                unknown = failure if isinstance(failure, Unknown) else unknown
                error = unknown or failure
            delay = next(delays, None)
            may_repeat = isinstance(error, Refused) or idempotent
            if delay is None or delay > deadline.remaining or not may_repeat:
                raise error
            await asyncio.sleep(delay)

    async def _once(self, frame: bytes, deadline: Deadline) -> bytes:
        if self._connection is not None and not self._connection.usable:
            self._drop()
        if self._connection is None:
            self._connection = await FramedConnection.open(
                self._address, deadline, self._events, framing=self._framing, tls=self._tls
            )
        return await self._connection.call(frame, deadline)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

"""A client that keeps asking, within one deadline, and says what is known of the outcome."""

from __future__ import annotations

import asyncio
import math
import random
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.framing import FrameError, Framing, Lines
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Backoff, Deadline
from apps.kit.trace import StreamTrace

_GOODBYE = 1.0
"""Seconds that closing in good order may take."""


class FramedConnection(asyncio.Protocol):
    """A client's connection: one call at a time, in order, each with a deadline."""

    _transport: asyncio.Transport
    _trace: StreamTrace

    def __init__(self, framing: Framing, events: Events) -> None:
        """Use `open`."""
        self._framing = framing
        self._events = events
        self._frames: deque[bytes] = deque()
        self._broken = ""
        self._arrival: asyncio.Future[None] | None = None
        self._lost = asyncio.Event()

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
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
            raise Refused(f"{address}: {getattr(error, 'strerror', None) or error}") from error
        return connection

    @property
    def usable(self) -> bool:
        """Whether a call may go out: the stream is whole, and nothing unasked lies in it."""
        return not (
            self._broken or self._frames or readable(self._transport.get_extra_info("socket"))
        )

    async def call(self, frame: bytes, deadline: Deadline) -> bytes:
        """Send a frame and give the next one that comes.

        Rejected if `frame` cannot be sent, Refused if the connection ended before, Unknown if no
        answer comes by the deadline; then it must be closed, for the answer may still come.
        """
        if self._broken and not self._frames:
            raise Refused(self._broken)
        try:
            data = self._framing.encode(frame)
        except FrameError as error:
            raise Rejected(f"this cannot be sent: {error}") from error
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

    def abort(self) -> None:
        """Cut the connection off."""
        self._transport.abort()

    async def close(self) -> None:
        """Close in good order (TLS says goodbye), or cut off what cannot be closed so."""
        self._transport.close()
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._lost.wait()
        except TimeoutError:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  create_connection gives one
        self._transport = transport
        try:
            self._trace = StreamTrace(self._events, transport)
        except ConnectionError as error:
            self._break(str(error))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            self._frames.extend(self._framing.feed(data))
        except FrameError as error:
            self._break(f"the answer broke the framing: {error}")
        if len(self._frames) > 1:
            self._break("the server says more than it was asked")
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self._break(f"connection lost: {exc}" if exc else "connection closed by the peer")
        self._lost.set()
        self._wake()

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
        self._transport.abort()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


def readable(sock: socket.socket) -> bool:
    """Whether something lies in the socket that nobody read yet: perhaps the end.

    A program that typed or slept between two calls learns so that the server has closed meanwhile.
    """
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


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
        attempt: float = math.inf,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
        framing: Callable[[], Framing] = Lines,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`timeout` bounds a whole call, its retries included, `attempt` each of them (seconds).

        A connection whose other end lost its power is silent for ever: only the bound of an attempt
        lets the next one try a new connection.
        """
        self._address = address
        self._events = events
        self._timeout = timeout
        self._attempt = attempt
        self._backoff = backoff or Backoff()
        self._rng = rng or random.Random()
        self._framing = framing
        self._tls = tls
        self._idle: FramedConnection | None = None
        """A connection that no call has at the moment."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        idle, self._idle = self._idle, None
        if idle is not None:
            await idle.close()

    async def call(self, frame: bytes, *, idempotent: bool) -> bytes:
        """Give the server's answer; Refused or Unknown once retries or time have run out.

        Rejected if `frame` cannot be sent at all.
        """
        deadline = Deadline(self._timeout)
        delays = self._backoff.delays(self._rng)
        unknown: Unknown | None = None
        while True:
            try:
                return await self._once(frame, Deadline(min(self._attempt, deadline.remaining)))
            except CallFailed as failure:
                # Once one attempt may have been applied, a later refusal does not undo that.
                unknown = failure if isinstance(failure, Unknown) else unknown
                error = unknown or failure
            delay = next(delays, None)
            may_repeat = isinstance(error, Refused) or (isinstance(error, Unknown) and idempotent)
            if delay is None or delay > deadline.remaining or not may_repeat:
                raise error
            await asyncio.sleep(delay)

    async def _once(self, frame: bytes, deadline: Deadline) -> bytes:
        """Call over a connection that is this call's alone, and is kept only if it ends well."""
        connection, self._idle = self._idle, None
        if connection is not None and not connection.usable:
            connection.abort()
            connection = None
        if connection is None:
            connection = await FramedConnection.open(
                self._address, deadline, self._events, framing=self._framing, tls=self._tls
            )
        try:
            reply = await connection.call(frame, deadline)
        except BaseException:  # a cancelled call, too: its answer must not become another's
            connection.abort()
            raise
        if self._idle is None:
            self._idle = connection
        else:
            connection.abort()
        return reply

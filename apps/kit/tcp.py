"""TCP, served: framed, bounded, with deadlines, drained on the way out.

A server here survives what the network brings: garbage, half a frame, silence, a flood of
connections, a peer that never reads. Each costs that peer its connection and nobody else anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.framing import FrameError, Framing, Lines
from apps.kit.trace import StreamTrace

_CHUNK = 65536
_BATCH = 64
"""Frames that one connection is given before the others get their turn."""
_LINGER = 2.0
"""Seconds in which a peer that was refused may still read why."""
_HANDSHAKE = 10.0
"""Seconds that a TLS handshake may take."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, and all of them, may ask of a server."""

    connections: int = 1000
    """Connections that are served at once; as many again may be told that they are not."""
    idle: float = 60.0
    """Seconds without a whole frame, or with a reply that the peer does not take."""
    answer: float = 300.0
    """Seconds that an answer may take; then the connection is closed without one."""
    drain: float = 3.0
    """Seconds that open calls have to finish after SIGTERM."""


class FrameStream:
    """Iterates over the frames that a peer sends, until it ends the stream.

    TimeoutError after `idle` seconds in which a frame was waited for and none was whole; FrameError
    if the peer breaks the framing or stops inside a frame.
    """

    def __init__(self, reader: asyncio.StreamReader, framing: Framing, idle: float) -> None:
        """`idle` may be changed between two frames."""
        self.idle = idle
        self._reader = reader
        self._framing = framing
        self._ready: deque[bytes] = deque()
        self._given = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._ready:
            try:
                async with asyncio.timeout(self.idle):
                    await self._fill()
            except TimeoutError:
                raise TimeoutError(f"idle: no whole frame for {self.idle:g} s") from None
        self._given += 1
        if self._given % _BATCH == 0:
            await asyncio.sleep(0)
        return self._ready.popleft()

    async def _fill(self) -> None:
        while not self._ready:
            data = await self._reader.read(_CHUNK)
            if not data:
                self._framing.end()
                raise StopAsyncIteration
            self._ready.extend(self._framing.feed(data))


Answer = Callable[[bytes], Awaitable[bytes | None]]
"""Takes a request's frame, gives the reply's frame, or None for no reply."""


class FramedServer:
    """An async context manager that answers frames with frames while it is entered."""

    def __init__(
        self,
        listen: Address,
        session: Callable[[str], Answer],
        events: Events,
        *,
        framing: Callable[[], Framing] = Lines,
        complain: Callable[[str], bytes] | None = None,
        ended: Callable[[str], None] | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`session` gives, for a peer's name, what answers this connection's frames.

        `complain` turns an error that ends a connection into a last frame for the peer. `ended` is
        told the peer's name when a connection that had a session is gone.

        An answer that raises, takes too long or cannot be framed ends its connection without a
        word (event `broken_off`), for a complaint would tell the peer that nothing was done.
        """
        self._listen = listen
        self._session = session
        self._events = events
        self._framing = framing
        self._complain = complain
        self._ended = ended
        self._limits = limits or Limits()
        self._tls = tls
        self._places = asyncio.Semaphore(self._limits.connections)
        self._open: set[asyncio.Task[None]] = set()
        self._owing: set[asyncio.Task[None]] = set()
        """Of the open ones, those whose peer has an answer to come, or the rest of one."""
        self._drained_by = math.inf

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept,
            *self._listen,
            ssl=self._tls,
            ssl_handshake_timeout=_HANDSHAKE if self._tls else None,
            backlog=1024,
            limit=_CHUNK,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop accepting, let the calls under way finish within the drain time, then close."""
        self._server.close()
        self._drained_by = asyncio.get_running_loop().time() + self._limits.drain
        for task in self._open - self._owing:
            task.cancel()
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=self._limits.drain)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @property
    def address(self) -> Address:
        """Where it listens, while it is entered; port 0 was replaced by the kernel's choice."""
        return Address(*self._server.sockets[0].getsockname()[:2])

    @property
    def _stopping(self) -> bool:
        return self._drained_by < math.inf

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  asyncio.start_server runs this in a task
        if self._stopping or len(self._open) >= 2 * self._limits.connections:
            writer.transport.abort()  # too many even to tell them so
            return
        self._open.add(task)
        try:
            connection = _Connection(task, reader, writer, self._framing(), self._events)
            if self._places.locked():
                await self._refuse(connection, f"busy: {self._limits.connections} are connected")
            else:
                async with self._places:
                    await self._serve(connection)
        except (OSError, asyncio.CancelledError):
            pass  # the peer went away, or the server stops: there is nobody to tell
        finally:
            writer.transport.abort()
            self._open.discard(task)
            self._owing.discard(task)

    async def _serve(self, connection: _Connection) -> None:
        """Answer one peer, from its first frame until all that it is owed was sent."""
        patience = self._limits.idle
        try:
            await self._converse(connection)
        except (FrameError, TimeoutError) as error:
            await self._refuse(connection, str(error))
            patience = _LINGER
        except _BrokenOff as error:
            self._events.bounded("broken_off", peer=connection.trace.peer, error=str(error))
            patience = _LINGER
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            if self._ended:
                self._ended(connection.trace.peer)
        self._owing.add(connection.task)
        now = asyncio.get_running_loop().time()
        async with asyncio.timeout_at(min(now + patience, self._drained_by)):
            await connection.close()

    async def _converse(self, connection: _Connection) -> None:
        answer = self._session(connection.trace.peer)
        async for frame in FrameStream(connection.reader, connection.framing, self._limits.idle):
            self._owing.add(connection.task)
            connection.trace.recv(len(frame))
            reply = await self._call(answer, frame)
            if reply is not None:
                await connection.send(reply, self._limits.idle)
            self._owing.discard(connection.task)
            if self._stopping:
                return

    async def _call(self, answer: Answer, frame: bytes) -> bytes | None:
        try:
            async with asyncio.timeout(self._limits.answer):
                return await answer(frame)
        except TimeoutError:
            raise _BrokenOff(f"no answer was found within {self._limits.answer:g} s") from None
        except Exception as error:
            raise _BrokenOff("".join(traceback.format_exception(error))) from error

    async def _refuse(self, connection: _Connection, why: str) -> None:
        """Say what was wrong, here and to the peer, and let it read that."""
        self._events.bounded("peer_error", peer=connection.trace.peer, error=why)
        if self._complain:
            with contextlib.suppress(FrameError):  # a limit too short for its own complaint
                connection.writer.write(connection.framing.encode(self._complain(why)))
                await connection.linger()


class _BrokenOff(Exception):
    """A connection ends without a word: whether the request was applied is not known."""


class _Connection:
    """One peer's connection, as its server has it."""

    def __init__(
        self,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        framing: Framing,
        events: Events,
    ) -> None:
        """ConnectionResetError if the peer is gone already."""
        self.task = task
        self.reader = reader
        self.writer = writer
        self.framing = framing
        self.trace = StreamTrace(events, writer)

    async def send(self, reply: bytes, patience: float) -> None:
        """Send a frame, and wait (seconds) while the peer is far behind in reading."""
        try:
            data = self.framing.encode(reply)
        except FrameError as error:
            raise _BrokenOff(f"the answer cannot be sent: {error}") from error
        self.trace.send(len(reply))
        self.writer.write(data)
        try:
            async with asyncio.timeout(patience):
                await self.writer.drain()
        except TimeoutError:
            raise _BrokenOff(f"the peer did not take its answer for {patience:g} s") from None

    async def linger(self) -> None:
        """End our side, and read on for a moment before closing.

        A socket closed with unread bytes in it sends a reset, and a reset takes our last words from
        the peer before it could read them (RFC 9112 section 9.6 has the same remedy).
        """
        if self.writer.can_write_eof():
            self.writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while await self.reader.read(_CHUNK):
                    continue

    async def close(self) -> None:
        """Close as soon as all is sent, which may be never."""
        self.writer.close()
        await self.writer.wait_closed()

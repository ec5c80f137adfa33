"""TCP, served: framed, bounded, with deadlines, drained on the way out.

A server here survives what the network brings: garbage, half a frame, silence, a flood of
connections, a peer that never reads. Each costs that peer its connection and nobody else anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.framing import FrameError, Framing, Lines
from apps.kit.trace import StreamTrace

_CHUNK = 65536
_LINGER = 2.0
"""Seconds in which a peer that was refused may still read why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, and all of them, may ask of a server."""

    connections: int = 1000
    idle: float = 60.0
    """Seconds without a whole frame, or with a reply that the peer does not take."""
    drain: float = 3.0
    """Seconds that open calls have to finish after SIGTERM."""


async def read_frames(
    reader: asyncio.StreamReader, framing: Framing, idle: float
) -> AsyncIterator[bytes]:
    """Yield frame after frame until the peer ends the stream.

    TimeoutError after `idle` seconds without a whole frame; FrameError if the peer breaks the
    framing or stops inside a frame.
    """
    loop = asyncio.get_running_loop()
    waited_since = loop.time()
    while True:
        async with asyncio.timeout_at(waited_since + idle):
            data = await reader.read(_CHUNK)
        if not data:
            framing.end()
            return
        frames = framing.feed(data)
        for frame in frames:
            yield frame
        if frames:
            waited_since = loop.time()


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End our side, and read on for a moment before closing.

    A socket closed with unread bytes in it sends a reset, and a reset takes our last words from
    the peer before it could read them (RFC 9112 section 9.6 has the same remedy).
    """
    if writer.can_write_eof():
        writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            while await reader.read(_CHUNK):
                continue


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
        told the peer's name when its connection is gone.
        """
        self._listen = listen
        self._session = session
        self._events = events
        self._framing = framing
        self._complain = complain
        self._ended = ended
        self._limits = limits or Limits()
        self._tls = tls
        self._open: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, *self._listen, ssl=self._tls, backlog=1024, limit=_CHUNK
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
        self._stopping = True
        for task in self._open - self._answering:
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

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  asyncio.start_server runs this in a task
        trace = StreamTrace(self._events, writer)
        self._open.add(task)
        try:
            await self._converse(task, reader, writer, trace)
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass  # the peer went away, or the server stops: there is nobody to tell
        finally:
            self._open.discard(task)
            self._answering.discard(task)
            writer.close()
            if self._ended:
                self._ended(trace.peer)

    async def _converse(
        self,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        trace: StreamTrace,
    ) -> None:
        framing = self._framing()
        try:
            if len(self._open) > self._limits.connections:
                raise FrameError(f"busy: {self._limits.connections} connections are open")
            answer = self._session(trace.peer)
            async for frame in read_frames(reader, framing, self._limits.idle):
                self._answering.add(task)
                trace.recv(len(frame))
                reply = await answer(frame)
                if reply is not None:
                    trace.send(len(reply))
                    writer.write(framing.encode(reply))
                    async with asyncio.timeout(self._limits.idle):
                        await writer.drain()
                self._answering.discard(task)
                if self._stopping:
                    return
        except (FrameError, TimeoutError) as error:
            why = str(error) or f"idle: no whole frame for {self._limits.idle:g} s"
            self._events.bounded("peer_error", peer=trace.peer, error=why)
            if self._complain:
                writer.write(framing.encode(self._complain(why)))
                await _linger(reader, writer)

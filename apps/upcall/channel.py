"""A channel: JSON objects, one a line, both ways over one connection, at any time.

Requests and messages share it, so that a callback can call in over the connection by which it was
called. What does not fit the buffer is dropped: cores repeat what matters, and memory is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from apps.kit.effects import Message
from apps.kit.events import Events
from apps.kit.framing import FrameError, Lines
from apps.kit.tcp import FrameStream
from apps.kit.trace import StreamTrace

LONGEST = 65536
"""Bytes of a line."""
BUFFER = 1 << 20
"""Bytes that may wait for a peer to read them."""
_GOODBYE = 1.0
"""Seconds that a peer has to take its last words."""


class BadLine(ValueError):
    """A line that is no JSON object; the channel cannot be trusted after it."""


class Channel:
    """One end of a connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        events: Events,
        idle: float,
    ) -> None:
        """`idle` is seconds without a line; ConnectionResetError if the peer is gone already."""
        self._reader = reader
        self._writer = writer
        self._framing = Lines(LONGEST)
        self._frames = FrameStream(reader, self._framing, idle)
        self._trace = StreamTrace(events, writer)
        self.peer = self._trace.peer
        self.name = ""
        """The client that speaks here, once it has said who it is."""
        self.calls = 0
        """Requests that came over it and are not answered."""

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Give what the peer says; BadLine, FrameError, TimeoutError or OSError end it."""
        async for frame in self._frames:
            self._trace.recv(len(frame))
            yield _parsed(frame)

    def say(self, message: Message) -> bool:
        """Send a message, if there is room; whether it was."""
        transport = self._writer.transport
        if transport.is_closing() or transport.get_write_buffer_size() > BUFFER:
            return False
        try:
            data = json.dumps(message, separators=(",", ":")).encode()
            line = self._framing.encode(data)
        except FrameError:
            return False
        self._trace.send(len(data))
        self._writer.write(line)
        return True

    async def refuse(self, why: str) -> None:
        """Say what was wrong, and let the peer read that: closing at once could take it back.

        A socket closed with unread bytes in it sends a reset (`apps.posix_sockets` shows more).
        """
        self.say({"error": why})
        self._writer.write_eof()
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_GOODBYE):
                while await self._reader.read(LONGEST):
                    continue
        self.abort()

    def abort(self) -> None:
        """Cut it off."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close as soon as all is sent, or cut it off."""
        self._writer.close()
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._writer.wait_closed()
        except (TimeoutError, OSError):
            self.abort()


def _parsed(frame: bytes) -> dict[str, Any]:
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"not understood: {error}") from None
    if not isinstance(value, dict):
        raise BadLine("not understood: it is no JSON object")
    return value

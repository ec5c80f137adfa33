"""Names for the messages of a stream, so that sends and receives can be matched afterwards.

Every frame has an id that both ends know without sending it: the connection, the direction and
the frame's number on it.
"""

from __future__ import annotations

import asyncio

from apps.kit.address import Address
from apps.kit.events import Events


class StreamTrace:
    """Names the frames of one connection and records them, alike at both ends."""

    def __init__(
        self, events: Events, stream: asyncio.BaseTransport | asyncio.StreamWriter
    ) -> None:
        """The names hold both socket addresses, so they are unique while the connection lasts.

        ConnectionResetError if it is gone already: the kernel no longer knows whose it was.
        """
        self._events = events
        names = [stream.get_extra_info(name) for name in ("sockname", "peername")]
        if None in names:
            raise ConnectionResetError("the peer was gone as soon as it came")
        mine, theirs = (Address(*name[:2]) for name in names)
        self.peer = str(theirs)
        self._out = f"{mine}>{theirs}"
        self._in = f"{theirs}>{mine}"
        self._sent = self._received = 0

    def send(self, size: int) -> None:
        """Record a frame that leaves."""
        self._sent += 1
        self._events.send(f"{self._out}#{self._sent}", self.peer, bytes=size)

    def recv(self, size: int) -> None:
        """Record a frame that came."""
        self._received += 1
        self._events.recv(f"{self._in}#{self._received}", self.peer, bytes=size)

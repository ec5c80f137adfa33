"""One connection of the server: what came in part, what went out in part, and how it ends.

The rules, each of which some server has broken:

- `recv` gives what there is, not what was sent: half a message, or three (`wire.Decoder`).
- `send` takes what there is room for. The rest waits here, and is sent when the kernel says that
  there is room again: only then is this connection asked about writing.
- Who does not read his answers gets no further questions answered: beyond `HIGH` bytes that wait,
  nothing is read from him until they are below `LOW`. The kernel then stops him (TCP's window).
- An end of the stream is the end of what the peer says, not of what it hears (half-close): all that
  it asked is answered before the connection is closed.
- Last words need time to be read: closing a socket that holds unread bytes sends a reset, which
  takes them from the peer. So first only this side ends, and the rest is read and dropped.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable

from apps.kit.address import Address
from apps.kit.events import Events
from apps.posix_sockets.wire import COMPLAINT, BadMessage, Decoder, Message

CHUNK = 65536
HIGH = 262_144
LOW = 65_536
LINGER = 2.0
"""Seconds in which a peer that did wrong may still read why."""


class Connection:
    """Owned by the loop, which calls `ready` when the kernel has news. Times are seconds."""

    def __init__(
        self,
        sock: socket.socket,
        answer: Callable[[Message], Message],
        events: Events,
        *,
        limit: int,
        now: float,
    ) -> None:
        """`sock` does not block; `limit` is the longest text in bytes."""
        self.sock = sock
        self.closed = False
        self.peer, self._mine = _names(sock)
        self._answer = answer
        self._events = events
        self._decoder = Decoder(limit)
        self._out = bytearray()
        self._choked = False  # nothing is read until the peer has taken its answers
        self._ended = False  # nothing more is to be answered: the peer's end, or our complaint
        self._hung_up: float | None = None  # since when this side has ended, and only listens
        self._progress = now
        self._received = self._sent = 0

    @property
    def interest(self) -> int:
        """What the loop is to ask the kernel about: reading, writing, or both; never nothing."""
        if self._hung_up is not None:
            return selectors.EVENT_READ
        reading = not (self._choked or self._ended)
        return selectors.EVENT_READ * reading | selectors.EVENT_WRITE * bool(self._out)

    def ready(self, mask: int, now: float) -> None:
        """Read or write what can be. A connection that is broken (EPOLLHUP, EPOLLERR) is ready.

        What is wrong with it, the call then says: the one place where it is dealt with.
        """
        try:
            if mask & selectors.EVENT_READ:
                self._read(now)
            if mask & selectors.EVENT_WRITE and not self.closed:
                self._write(now)
        except (BlockingIOError, InterruptedError):
            pass  # the kernel changed its mind: it says so when it has news again
        except OSError as error:
            self._events.bounded("broken", peer=self.peer, error=error.strerror)
            self.close()

    def expire(self, now: float, idle: float) -> None:
        """End what has made no progress for too long: no whole message, or no answer taken."""
        if self._hung_up is not None:
            if now - self._hung_up > LINGER:
                self.close()
        elif now - self._progress > idle:
            stuck = bool(self._out)
            self.complain(f"no whole message for {idle:g} s", now)
            if stuck:  # it does not read: it would not read why, either
                self.close()

    def complain(self, why: str, now: float) -> None:
        """Say what is wrong, and end the connection."""
        self._events.bounded("peer_error", peer=self.peer, error=why)
        self._out += Message(COMPLAINT, why.encode()).encode()
        self._ended = True
        self.ready(selectors.EVENT_WRITE, now)

    def finish(self, now: float) -> None:
        """Read no more, and close once all that is owed was sent."""
        self._ended = True
        if self._out:
            self.ready(selectors.EVENT_WRITE, now)
        else:
            self.close()

    def close(self) -> None:
        """Let go of the socket, once."""
        if not self.closed:
            self.closed = True
            self.sock.close()

    def _read(self, now: float) -> None:
        data = self.sock.recv(CHUNK)
        if self._hung_up is not None:
            if not data:
                self.close()
            return
        if not data:
            self._end(now)
            return
        try:
            for message in self._decoder.feed(data):
                self._progress = now
                self._received += 1
                self._trace("recv", f"{self.peer}>{self._mine}#{self._received}", message)
                self._reply(self._answer(message))
        except BadMessage as error:
            self.complain(str(error), now)
            return
        self._choked = len(self._out) > HIGH
        if self._out:
            self._write(now)  # there is nearly always room; if not, the loop will ask

    def _end(self, now: float) -> None:
        """The peer has said all; what it is owed is still sent."""
        self._ended = True
        if self._decoder.held:
            self.complain(f"the stream ended {self._decoder.held} bytes into a message", now)
        elif not self._out:
            self.close()

    def _reply(self, message: Message) -> None:
        self._sent += 1
        self._trace("send", f"{self._mine}>{self.peer}#{self._sent}", message)
        self._out += message.encode()

    def _write(self, now: float) -> None:
        if not self._out:
            return
        taken = self.sock.send(self._out)  # perhaps not all of it
        del self._out[:taken]
        self._progress = now
        if len(self._out) < LOW:
            self._choked = False
        if self._ended and not self._out and self._hung_up is None:
            self.sock.shutdown(socket.SHUT_WR)
            self._hung_up = now

    def _trace(self, event: str, name: str, message: Message) -> None:
        if self._mine:  # at a path, nothing tells one connection's messages from another's
            self._events.bounded(event, id=name, peer=self.peer, bytes=len(message.text))


def _names(sock: socket.socket) -> tuple[str, str]:
    """Name the peer's end and this one as the peer does; at a path, ends have no names."""
    if sock.family == socket.AF_UNIX:
        return f"unix#{sock.fileno()}", ""
    return str(Address(*sock.getpeername()[:2])), str(Address(*sock.getsockname()[:2]))

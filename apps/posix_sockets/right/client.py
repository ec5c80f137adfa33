"""The client: it blocks, and each wait has an end.

A call over a stream sends all of its bytes and reads all of its answer, whatever `send` and `recv`
take at a time. Over UDP it asks again until it is answered, which is right for an echo alone.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Protocol, Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.retry import Deadline
from apps.posix_sockets.wire import (
    COMPLAINT,
    LONGEST,
    LONGEST_DATAGRAM,
    MOST,
    BadMessage,
    Decoder,
    Message,
    read_datagram,
)

_CHUNK = 65536
_AGAIN = 0.2
"""Seconds after which a datagram that was not answered is sent again; doubled each time."""


class Client(Protocol):
    """Sends texts and gets them back; a context manager. One call at a time."""

    def __enter__(self) -> Self:
        """Connect, if that is what it does; Refused."""

    def __exit__(self, *error: object) -> None:
        """Close."""

    def call(self, text: bytes) -> bytes:
        """Give the answer; Refused, Rejected or Unknown."""


class StreamClient:
    """A client over TCP, or over a Unix-domain socket."""

    def __init__(self, server: Address | Path, events: Events, *, timeout: float) -> None:
        """`timeout` is seconds per call, connecting included."""
        self._server = server
        self._events = events
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def call(self, text: bytes) -> bytes:
        """See `Client.call`. After a failure the next call has a new connection."""
        deadline = Deadline(self._timeout)
        if len(text) > LONGEST:
            raise Rejected(f"this cannot be sent: {len(text)} bytes; the longest is {LONGEST}")
        sock = self._connected(deadline)
        self._number = self._number % MOST + 1
        try:
            send_all(sock, Message(self._number, text).encode(), deadline)
            self._trace("send", self._names[0], text)
            answer = self._next(sock, deadline)
        except TimeoutError:
            self._close()
            raise Unknown("no answer in time; it may have been served") from None
        except (OSError, BadMessage) as error:
            self._close()
            raise Unknown(f"the connection broke: {error}; it may have been served") from error
        self._trace("recv", self._names[1], answer.text)
        if answer.number == COMPLAINT:
            self._close()
            raise Rejected(answer.text.decode(errors="replace"))
        if answer != (self._number, text):
            self._close()
            raise Unknown(f"the answer to {answer.number} came, and {self._number} was asked")
        return answer.text

    def _connected(self, deadline: Deadline) -> socket.socket:
        if self._socket is None:
            self._socket = connect(self._server, deadline)
            self._decoder = Decoder()
            self._number = 0
            self._names = _names(self._socket)
        return self._socket

    def _next(self, sock: socket.socket, deadline: Deadline) -> Message:
        """Read until a message is whole: how often `recv` is called for it means nothing."""
        while True:
            data = receive(sock, deadline)
            if not data:
                raise ConnectionResetError("the server ended the stream")
            for message in self._decoder.feed(data):
                return message

    def _trace(self, event: str, way: str, text: bytes) -> None:
        if way:
            name, peer = f"{way}#{self._number}", str(self._server)
            self._events.bounded(event, id=name, peer=peer, bytes=len(text))

    def _close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()


class DatagramClient:
    """A client over UDP."""

    def __init__(self, server: Address, events: Events, *, timeout: float) -> None:
        """`timeout` is seconds per call, all its sendings together."""
        self._server = server
        self._events = events
        self._timeout = timeout
        self._number = 0

    def __enter__(self) -> Self:
        try:
            family, kind, _, _, name = socket.getaddrinfo(*self._server, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind)
            self._socket.connect(name)  # who else sends to it is not heard
        except (OSError, UnicodeError) as error:
            raise Refused(f"{self._server}: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, text: bytes) -> bytes:
        """See `Client.call`. Refused if its host says that nobody is at the port (ICMP)."""
        deadline, patience = Deadline(self._timeout), _AGAIN
        if len(text) > LONGEST_DATAGRAM:
            raise Rejected(f"this cannot be sent: {len(text)} bytes, {LONGEST_DATAGRAM} go by UDP")
        self._number = self._number % MOST + 1
        asked = Message(self._number, text)
        sent = 0
        while not deadline.passed:
            try:
                self._socket.send(asked.encode())
                sent += 1
                if self._hear(asked, Deadline(min(patience, deadline.remaining))):
                    return text
            except ConnectionRefusedError:
                if sent == 1:
                    raise Refused(f"{self._server}: nobody is at this port") from None
            patience *= 2
        raise Unknown(f"no answer in time to {sent} datagrams; it may have been served")

    def _hear(self, asked: Message, deadline: Deadline) -> bool:
        """Wait for this message's answer; late ones of earlier calls are passed over."""
        while not deadline.passed:
            try:
                data = receive(self._socket, deadline)
            except TimeoutError:
                return False
            try:
                if read_datagram(data) == asked:
                    return True
            except BadMessage as error:
                self._events.bounded("malformed", peer=str(self._server), error=str(error))
        return False


def connect(server: Address | Path, deadline: Deadline) -> socket.socket:
    """Connect over TCP, or to a path; Refused says why it could not be done in time."""
    try:
        if isinstance(server, Path):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(deadline.remaining or 1e-3)
                sock.connect(str(server))
            except BaseException:
                sock.close()
                raise
        else:
            sock = socket.create_connection(server, timeout=deadline.remaining or 1e-3)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a question is never late
    except TimeoutError:
        raise Refused(f"{server} did not accept a connection in time") from None
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        raise Refused(f"{server}: {getattr(error, 'strerror', None) or error}") from error
    return sock


def send_all(sock: socket.socket, data: bytes, deadline: Deadline) -> None:
    """Send all of it: what `send` did not take is sent next (`socket.sendall` does the same)."""
    left = memoryview(data)
    while left:
        sock.settimeout(deadline.remaining or 1e-3)
        left = left[sock.send(left) :]


def receive(sock: socket.socket, deadline: Deadline) -> bytes:
    """Receive what there is, waiting for it until the deadline: TimeoutError."""
    sock.settimeout(deadline.remaining or 1e-3)
    return sock.recv(_CHUNK)


def _names(sock: socket.socket) -> tuple[str, str]:
    """Name both ways of a connection as the server does; at a path, there are no names."""
    if sock.family == socket.AF_UNIX:
        return "", ""
    mine, theirs = Address(*sock.getsockname()[:2]), Address(*sock.getpeername()[:2])
    return f"{mine}>{theirs}", f"{theirs}>{mine}"

"""The server: one thread, one loop, and one question to the kernel, which is who has news.

`selectors` asks by epoll, as `select` does for more than 1,024 descriptors and without looking at
each. EINTR is Python's business (PEP 475), EAGAIN ours.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import notify, watchdog_interval
from apps.posix_sockets.right.accepting import Acceptor
from apps.posix_sockets.right.connection import Connection
from apps.posix_sockets.right.opening import bind_udp, listen_tcp, listen_unix
from apps.posix_sockets.wire import COMPLAINT, BadMessage, Message, read_datagram

TURN = 0.5
"""Seconds after which the loop looks at deadlines, news or not."""
DRAIN = 3.0
"""Seconds that answers have to get out after SIGTERM."""
BATCH = 64
"""Datagrams taken before the others get their turn."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, and all of them, may ask of the server."""

    connections: int = 2000
    idle: float = 60.0
    """Seconds without a whole message, or with an answer that the peer does not take."""
    text: int = 65536
    """Bytes of a message's text."""


class Server:
    """A context manager that listens while it is entered; `run` serves until it is told to stop."""

    def __init__(self, listen: Address, path: Path, events: Events, limits: Limits) -> None:
        """Listen over TCP and UDP at `listen`, and at `path` over a Unix-domain socket."""
        self._listen = listen
        self._path = path
        self._events = events
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._open: set[Connection] = set()
        self._stopping = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            opened.callback(self._selector.close)
            self._acceptors = []
            for sock in (listen_tcp(self._listen), listen_unix(self._path)):
                acceptor = Acceptor(sock)
                opened.callback(acceptor.close)
                self._acceptors.append(acceptor)
                self._watch(sock, self._accepting(acceptor))
            opened.callback(self._path.unlink, missing_ok=True)
            udp = opened.enter_context(bind_udp(self._listen))
            self._watch(udp, lambda _mask, _now: self._answer_datagrams(udp))
            wake = opened.enter_context(woken_by_signals(self._stop))
            self._watch(wake, lambda _mask, _now: _drop(wake))
            opened.callback(self._close_all)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let the answers that are owed get out."""
        interval = watchdog_interval()
        fed = checked = time.monotonic()
        drained = math.inf  # until when answers may get out, once it stops
        self._events.emit("ready", pid=os.getpid())
        notify("READY=1")
        while drained == math.inf or (self._open and time.monotonic() < drained):
            for key, mask in self._selector.select(TURN):
                key.data(mask, time.monotonic())
            now = time.monotonic()
            if interval is not None and now - fed >= interval:
                notify("WATCHDOG=1")
                fed = now
            if now - checked >= TURN:
                self._expire(now)
                checked = now
            if self._stopping and drained == math.inf:
                drained = now + DRAIN
                self._drain(now)
        self._events.emit("stopped")

    def _accepting(self, acceptor: Acceptor) -> Callable[[int, float], None]:
        def accept(_mask: int, now: float) -> None:
            before = acceptor.turned_away
            for sock in acceptor.accept():
                self._begin(sock, now)
            if acceptor.turned_away > before:
                turned = acceptor.turned_away - before
                self._events.bounded("turned_away", connections=turned, why="no descriptors")

        return accept

    def _begin(self, sock: socket.socket, now: float) -> None:
        try:
            connection = Connection(sock, _echo, self._events, limit=self._limits.text, now=now)
        except OSError:  # gone as soon as it came: it has no name any more
            sock.close()
            return
        if len(self._open) >= 2 * self._limits.connections:
            connection.close()  # too many even to tell them so
            return
        self._open.add(connection)

        def ready(mask: int, now: float) -> None:
            connection.ready(mask, now)
            self._settle(connection)

        self._selector.register(sock, selectors.EVENT_READ, ready)
        if len(self._open) > self._limits.connections:
            connection.complain(f"busy: {self._limits.connections} are connected", now)
            self._settle(connection)

    def _settle(self, connection: Connection) -> None:
        """Ask the kernel about what the connection is interested in now, or no more."""
        if connection.closed:
            self._open.discard(connection)
            # Its descriptor is closed, so epoll has forgotten it; the selector has to be told.
            self._selector.unregister(connection.sock)
            return
        key = self._selector.get_key(connection.sock)
        if key.events != connection.interest:
            self._selector.modify(connection.sock, connection.interest, key.data)

    def _answer_datagrams(self, sock: socket.socket) -> None:
        for _ in range(BATCH):
            sender: tuple[str, int] = ("", 0)
            try:
                data, sender = sock.recvfrom(65535)
                reply = _echo(read_datagram(data)).encode()
                sock.sendto(reply, sender)
            except BlockingIOError:
                return  # all read; or an answer did not fit, and is lost, as UDP has it
            except BadMessage as error:  # no answer: its sender's address may be a lie
                self._events.bounded("malformed", peer=str(Address(*sender[:2])), error=str(error))
            except OSError:
                continue  # an earlier answer met nobody (ICMP): that is no reason to stop

    def _expire(self, now: float) -> None:
        for connection in list(self._open):
            connection.expire(now, self._limits.idle)
            self._settle(connection)

    def _stop(self) -> None:
        self._stopping = True

    def _drain(self, now: float) -> None:
        """Accept no more, and close every connection as soon as its answers are out."""
        notify("STOPPING=1")
        self._events.emit("stopping")
        for acceptor in self._acceptors:
            self._selector.unregister(acceptor.sock)
            acceptor.close()
        for connection in list(self._open):
            connection.finish(now)
            self._settle(connection)

    def _close_all(self) -> None:
        for connection in self._open:
            connection.close()

    def _watch(self, sock: socket.socket, ready: Callable[[int, float], None]) -> None:
        self._selector.register(sock, selectors.EVENT_READ, ready)


@contextlib.contextmanager
def woken_by_signals(stop: Callable[[], None]) -> Iterator[socket.socket]:
    """Have SIGTERM and SIGINT call `stop`, and give a socket that then has news.

    A signal between the loop's last look and its `select` would otherwise be seen at the next turn.
    """
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stop()) for number in numbers]
    woken = signal.set_wakeup_fd(writing.fileno())
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        reading.close()
        writing.close()


def serve(listen: Address, path: Path, events: Events, limits: Limits) -> None:
    """Serve until told to stop; where it cannot begin, end with status 1 and say why."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(Server(listen, path, events, limits))
        except OSError as error:
            events.emit("failed", error=str(error))
            sys.exit(f"cannot serve: {error}")
        server.run()


def _drop(wake: socket.socket) -> None:
    wake.recv(64)


def _echo(message: Message) -> Message:
    if message.number == COMPLAINT:
        raise BadMessage(f"number {COMPLAINT} is the server's: count from 1")
    return message

"""What a person types: texts, a conversation, a measured load, and a thousand connections."""

from __future__ import annotations

import os
import random
import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Refused, Unknown
from apps.kit.retry import Deadline
from apps.kit.summary import Load, Threaded, crowd
from apps.posix_sockets.right.client import Client, DatagramClient, StreamClient
from apps.posix_sockets.wire import COMPLAINT, BadMessage, Decoder, Message

TEXT = b"one of many"


def client_of(server: Address | Path, events: Events, *, udp: bool, timeout: float) -> Client:
    """Give a client of this kind."""
    if udp:
        if isinstance(server, Path):
            raise Refused(f"{server} is a path, and UDP needs a host")
        return DatagramClient(server, events, timeout=timeout)
    return StreamClient(server, events, timeout=timeout)


def echo(client: Client, events: Events, text: str) -> str:
    """Ask once, and record what was asked and what is known of the outcome."""
    with Operation(events, "echo", text) as operation:
        answer = client.call(text.encode(errors="surrogateescape"))
        return operation.ok(answer.decode(errors="surrogateescape"))


def converse(client: Client, events: Events, texts: Iterable[str], *, persist: bool) -> None:
    """Echo each text and show the answers; `persist` goes on after a call that failed."""
    with client:
        for text in texts:
            began = time.perf_counter()
            try:
                answer = echo(client, events, text)
            except CallFailed as error:
                if not persist:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}")
                continue
            events.say(f"{answer}   ({(time.perf_counter() - began) * 1e3:.1f} ms)")


async def measure(make: Callable[[], Client], events: Events, load: Load) -> None:
    """Let a crowd of callers ask made-up texts, each in a thread of its own, and sum up."""

    async def ask(caller: Threaded[Client], rng: random.Random) -> str:
        text = f"{rng.randbytes(8).hex()} {events.operation()}"
        return await caller.run(lambda: echo(caller.client, events, text))

    await crowd(events, lambda _rng: Threaded(make()), ask, load)


def many(server: Address | Path, events: Events, connections: int, timeout: float) -> None:
    """Open so many connections, all before any is used, and echo over each; Unknown if one fails.

    The message goes out a byte at a time on every connection: the server holds as many halves.
    """
    _allow_files(connections + 64)
    deadline = Deadline(timeout)
    with Operation(events, "many", connections) as operation:
        crowd = _Many(server, connections)
        try:
            answered = crowd.play(deadline)
        finally:
            crowd.close()
        if answered < connections:
            why = ", ".join(sorted(set(crowd.failures))[:3]) or "no answer in time"
            raise Unknown(f"{answered} of {connections} connections were answered: {why}")
        operation.ok(answered)
    events.say(f"{connections} connections at once, each answered")


class _Many:
    """Connections that one thread drives, with the same selector as a server."""

    def __init__(self, server: Address | Path, connections: int) -> None:
        self.failures: list[str] = []
        self._selector = selectors.DefaultSelector()
        self._left: dict[socket.socket, bytes] = {}
        self._decoders: dict[socket.socket, Decoder] = {}
        for number in range(1, connections + 1):
            sock = self._begin(server)
            self._left[sock] = Message(number, TEXT).encode()
            self._decoders[sock] = Decoder()

    def play(self, deadline: Deadline) -> int:
        """Connect all; then send all, byte by byte; count the right answers."""
        connected = answered = 0
        for sock in self._left:
            self._selector.register(sock, selectors.EVENT_WRITE)
        while connected < len(self._left) and not deadline.passed and not self.failures:
            for key, _ in self._selector.select(deadline.remaining):
                sock = self._socket(key)
                if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    self.failures.append(os.strerror(error))
                self._selector.unregister(sock)
                connected += 1
        for sock in self._left:
            self._selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        open_ = len(self._left)
        while open_ and not deadline.passed and not self.failures:
            for key, mask in self._selector.select(deadline.remaining):
                done = self._step(self._socket(key), mask)
                answered += done
                open_ -= done
        return answered

    def close(self) -> None:
        """Close all."""
        self._selector.close()
        for sock in self._left:
            sock.close()

    @staticmethod
    def _socket(key: selectors.SelectorKey) -> socket.socket:
        assert isinstance(key.fileobj, socket.socket)  # noqa: S101  nothing else is registered
        return key.fileobj

    @staticmethod
    def _begin(server: Address | Path) -> socket.socket:
        family = socket.AF_UNIX
        name: object = str(server)
        if not isinstance(server, Path):
            try:
                family, _, _, _, name = socket.getaddrinfo(*server, type=socket.SOCK_STREAM)[0]
            except (OSError, UnicodeError) as error:
                raise Refused(f"{server}: {error}") from error
        sock = socket.socket(family, socket.SOCK_STREAM)
        if family != socket.AF_UNIX:
            sock.setblocking(False)  # at a path, connecting is done at once, or waits for a place
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(name)  # type: ignore[arg-type]  # EINPROGRESS; its end is asked for later
        sock.setblocking(False)
        return sock

    def _step(self, sock: socket.socket, mask: int) -> bool:
        """Send the next byte or read what came; whether this connection has its answer."""
        try:
            if mask & selectors.EVENT_READ:
                return self._read(sock)
            self._left[sock] = self._left[sock][sock.send(self._left[sock][:1]) :]
            if not self._left[sock]:
                self._selector.modify(sock, selectors.EVENT_READ)
        except BlockingIOError:
            pass
        except (OSError, BadMessage) as error:
            self.failures.append(str(error))
        return False

    def _read(self, sock: socket.socket) -> bool:
        data = sock.recv(4096)
        if not data:
            raise ConnectionResetError("the server ended the stream")
        for number, text in self._decoders[sock].feed(data):
            if number == COMPLAINT or text != TEXT:
                raise BadMessage(text.decode(errors="replace"))
            self._selector.unregister(sock)
            return True
        return False


def _allow_files(count: int) -> None:
    """Raise the soft limit of open files, as far as the hard one lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(hard, count)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

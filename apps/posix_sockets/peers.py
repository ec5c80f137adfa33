"""Peers that a server has to bear: each does one awkward thing, and looks at what it gets.

Each is a function of a connected socket; it gives one line that says what it saw, or raises
`Unserved` with what it should have seen.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import Unknown
from apps.kit.retry import Deadline
from apps.posix_sockets.right.client import connect, receive, send_all
from apps.posix_sockets.wire import COMPLAINT, HEADER, Decoder, Message

SLOW = 1600
"""Messages that the slow reader sends before it reads one answer …"""
BULK = 40_000
"""… of so many bytes: together far more than the sockets' buffers hold."""


class Unserved(Unknown):
    """The server did not do what it should have."""


def one_byte(sock: socket.socket, deadline: Deadline) -> str:
    """Send a message a byte at a time, each in a segment of its own."""
    sent = Message(1, b"slowly, slowly")
    for byte in sent.encode():
        send_all(sock, bytes([byte]), deadline)
    return _expect(read(sock, deadline, 1), [sent])


def together(sock: socket.socket, deadline: Deadline) -> str:
    """Send a hundred messages in one go, and the last of them without its end at first."""
    sent = [Message(number, b"x" * number) for number in range(1, 101)]
    data = b"".join(message.encode() for message in sent)
    send_all(sock, data[:-3], deadline)
    first = read(sock, deadline, 99)
    send_all(sock, data[-3:], deadline)
    return _expect(first + read(sock, deadline, 1), sent)


def half_close(sock: socket.socket, deadline: Deadline) -> str:
    """Say all, end this side, and only then listen."""
    sent = [Message(number, b"last words") for number in range(1, 11)]
    send_all(sock, b"".join(message.encode() for message in sent), deadline)
    sock.shutdown(socket.SHUT_WR)
    return _expect(read(sock, deadline), sent)


def half_message(sock: socket.socket, deadline: Deadline) -> str:
    """End the stream in the middle of a message."""
    send_all(sock, Message(1, b"half of this").encode()[:-6], deadline)
    sock.shutdown(socket.SHUT_WR)
    return _complaint(read(sock, deadline))


def garbage(sock: socket.socket, deadline: Deadline) -> str:
    """Speak another protocol."""
    send_all(sock, b"GET / HTTP/1.1\r\nHost: sockets\r\n\r\n" * 100, deadline)
    return _complaint(read(sock, deadline))


def reset(sock: socket.socket, deadline: Deadline) -> str:
    """Ask, and break the connection off before the answer (RST)."""
    send_all(sock, Message(1, b"never mind").encode() * 100, deadline)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return "the connection was reset"


def slow_reader(sock: socket.socket, deadline: Deadline) -> str:
    """Ask and ask, and read no answer until the server reads no more; then read all of them."""
    sent = [Message(number, bytes(BULK)) for number in range(1, SLOW + 1)]
    left = memoryview(b"".join(message.encode() for message in sent))
    whole = len(left)
    with contextlib.suppress(TimeoutError):  # it stopped reading: this is the backpressure
        while left:
            sock.settimeout(min(0.5, deadline.remaining or 1e-3))
            left = left[sock.send(left) :]
    taken = whole - len(left)
    if not left:
        raise Unserved(f"the server took all {whole} bytes of one who reads nothing")
    decoder, answers = Decoder(), 0
    sock.setblocking(False)
    while answers < SLOW and not deadline.passed:
        with contextlib.suppress(BlockingIOError):
            left = left[sock.send(left[:65536]) :]
        sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            answers += len(decoder.feed(sock.recv(1 << 20)))
        sock.setblocking(False)
    if answers < SLOW:
        raise Unserved(f"{answers} of {SLOW} answers came in time")
    return f"stopped after {taken} of {whole} bytes; when it read, all {SLOW} answers came"


PEERS: dict[str, Callable[[socket.socket, Deadline], str]] = {
    function.__name__.replace("_", "-"): function
    for function in (one_byte, together, half_close, half_message, garbage, reset, slow_reader)
}


def be(name: str, server: Address | Path, events: Events, timeout: float) -> None:
    """Be this peer of a server, and say what came of it; Unserved if that is not as due."""
    deadline = Deadline(timeout)
    with Operation(events, "peer", name) as operation:
        with contextlib.closing(connect(server, deadline)) as sock:
            try:
                told = PEERS[name](sock, deadline)
            except (OSError, ValueError) as error:
                raise Unserved(f"{name}: {error}") from error
        events.say(f"{name}: {operation.ok(told)}")


def read(sock: socket.socket, deadline: Deadline, count: int | None = None) -> list[Message]:
    """Read so many messages, or all up to the end of the stream; fewer if that ends before."""
    decoder, found = Decoder(), list[Message]()
    while count is None or len(found) < count:
        data = receive(sock, deadline)
        if not data:
            break
        found += decoder.feed(data)
    return found


def _expect(got: list[Message], sent: list[Message]) -> str:
    if got != sent:
        raise Unserved(f"{len(got)} answers to {len(sent)} messages, or others than were sent")
    return f"{len(got)} of {len(sent)} messages answered, each as it was sent"


def _complaint(got: list[Message]) -> str:
    if [message.number for message in got] != [COMPLAINT]:
        raise Unserved(f"no complaint came, but {len(got)} messages ({HEADER.size} bytes and more)")
    return f"told: {got[0].text.decode(errors='replace')}"

"""The mistake: to send numbers in the byte order of one's own machine.

Most machines are little-endian and the network is big-endian (RFC 1700), so two programs with the
same mistake understand each other, until they meet one without it.
"""

from __future__ import annotations

import struct

from apps.kit.address import Address
from apps.kit.events import Events
from apps.posix_sockets.wire import HEADER, Message
from apps.posix_sockets.wrong import listening, meet

MISTAKE = "the byte order of one's own machine"
WRONG = struct.Struct("<II")
"""What `@` is on most machines."""


def serve(listen: Address, events: Events) -> None:
    """Read a header and say how long a text it announces: to this side, the length makes sense."""
    with listening(listen) as listener:
        sock, _ = listener.accept()
    with sock:
        _, length = WRONG.unpack(sock.recv(HEADER.size))
        events.emit("evidence", mistake="byte_order", understood=length)


def provoke(server: Address, events: Events) -> None:
    """Send a message of five bytes as the protocol has it."""
    message = Message(1, b"hello")
    with meet(server) as sock:
        sock.sendall(message.encode())
    events.emit("evidence", mistake="byte_order", meant=len(message.text))
    events.say(f"sent a text of {len(message.text)} bytes; look what the server makes of it")

r"""Messages as bytes: a header of two numbers, and then the text.

     0         4         8
    +---------+---------+----------------+
    | number  | length  | text …         |     both unsigned, 32 bits, in network byte order
    +---------+---------+----------------+

A stream carries one after the other; a datagram is one whole. The client numbers its messages from
1, and the answer to each has its number. Number 0 is the server's: its text says what was wrong,
and is its last.

`printf '\0\0\0\1\0\0\0\5hello' | nc n1 4040` is a client.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = struct.Struct("!II")
"""`!`: network byte order, which is big-endian (RFC 1700), and no padding."""
LONGEST = 1 << 20
"""Bytes of a text."""
LONGEST_DATAGRAM = 1400
"""Bytes of a text over UDP: what an Ethernet frame carries whole, headers and all."""
MOST = (1 << 32) - 1
COMPLAINT = 0


class BadMessage(ValueError):
    """What came is no message; the stream cannot be trusted after it."""


class Message(NamedTuple):
    """A numbered text."""

    number: int
    text: bytes

    def encode(self) -> bytes:
        """Give its bytes; all parties agree on their order because `HEADER` names it."""
        return HEADER.pack(self.number, len(self.text)) + self.text


class Decoder:
    """Cuts a stream into messages, however it comes in: a byte at a time, or many at once."""

    def __init__(self, limit: int = LONGEST) -> None:
        """`limit` is the longest text in bytes."""
        self._limit = limit
        self._held = bytearray()

    @property
    def held(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Message]:
        """Take what arrived, give the messages that are whole now; BadMessage if one is too long.

        That is known from its header, so nobody makes it hold more than the limit.
        """
        self._held += data
        found: list[Message] = []
        at = 0
        while len(self._held) - at >= HEADER.size:
            number, length = HEADER.unpack_from(self._held, at)
            if length > self._limit:
                raise BadMessage(f"a text of {length} bytes; the longest is {self._limit}")
            end = at + HEADER.size + length
            if len(self._held) < end:
                break
            found.append(Message(number, bytes(self._held[at + HEADER.size : end])))
            at = end
        del self._held[:at]  # once for all: it moves what is left
        return found


def read_datagram(data: bytes) -> Message:
    """Read a datagram, which is one message and nothing else; BadMessage if it is not."""
    if len(data) < HEADER.size:
        raise BadMessage(f"a datagram of {len(data)} bytes; a header alone has {HEADER.size}")
    number, length = HEADER.unpack_from(data)
    if length != len(data) - HEADER.size:
        raise BadMessage(f"a datagram that says {length} bytes and has {len(data) - HEADER.size}")
    return Message(number, data[HEADER.size :])

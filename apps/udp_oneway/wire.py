r"""What a datagram holds: who sent it, in which run, its number, and a checksum; or plain text.

    bytes  field
    2      FF D1: this format
    4      CRC-32 (IEEE 802.3, as in zlib) of all that follows
    1      kind: FA data, FB the end of a run
    8      run: when the sender began, ns since 1970; a sender that restarts has a new one
    8      number: 1, 2, 3, …; of an end, the number of the last datagram
    8      sent: when, ns since 1970 by the sender's clock
    1      length of the sender's name
    …      the name (UTF-8), then the payload

All integers are big-endian. What is not this format and is printable UTF-8 is plain text, so that
`nc -u` can take part: it is counted, without a number. What is neither is corrupt.

A damaged datagram must not pass for text. FF and FA never occur in UTF-8 (RFC 3629, section 1), and
they stand too far apart for one burst of up to 32 bits, which CRC-32 always finds, to mend both.
UDP has a checksum of its own (RFC 768), but only 16 bits of ones' complement sum: it misses swapped
words, and may be off (Stone and Partridge, "When the CRC and TCP checksum disagree", SIGCOMM 2000).
A checksum is no signature: who wants to forge a datagram, can.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TypeAlias

DATA, END = 0xFA, 0xFB
FAREWELLS = 3
"""How often the end of a run is said: it may be lost as any datagram may."""
LONGEST_PAYLOAD = 60_000
"""Bytes; a datagram holds 65,507 (RFC 768 over IPv4), the header and a long name included."""
LONGEST_NAME = 255
"""Bytes of a sender's name."""

_MARK = b"\xff\xd1"
_CHECK = struct.Struct("!I")
_REST = struct.Struct("!BQQQB")
_CHECKED_FROM = len(_MARK) + _CHECK.size
_HEADER = _CHECKED_FROM + _REST.size


@dataclass(frozen=True, slots=True)
class Numbered:
    """A datagram of a sender that numbers them."""

    sender: str
    run: int
    number: int
    sent: int
    """ns since 1970, by the sender's clock."""
    payload: bytes = b""
    end: bool = False
    """Whether it says that `number` was the last."""

    @property
    def stream(self) -> str:
        """The name of all that this sender sends in this run."""
        return f"{self.sender}/{self.run:x}"

    @property
    def id(self) -> str:
        """The name of this datagram, alike at both ends."""
        return f"{self.stream}#{self.number}"


@dataclass(frozen=True, slots=True)
class Text:
    """A datagram of plain text, without a number."""

    text: str


@dataclass(frozen=True, slots=True)
class Corrupt:
    """A datagram that is neither; `why` says what is wrong with it."""

    why: str


Datagram: TypeAlias = Numbered | Text | Corrupt


def encode(datagram: Numbered) -> bytes:
    """Give the bytes; ValueError if the name is none, or the name or the payload is too long."""
    name = datagram.sender.encode()
    if not _is_name(datagram.sender):
        raise ValueError(f"{datagram.sender!r} is no sender's name: printable, and no space in it")
    if len(name) > LONGEST_NAME or len(datagram.payload) > LONGEST_PAYLOAD:
        raise ValueError(
            f"a name of {len(name)} bytes and a payload of {len(datagram.payload)}: "
            f"at most {LONGEST_NAME} and {LONGEST_PAYLOAD} fit"
        )
    kind = END if datagram.end else DATA
    rest = _REST.pack(kind, datagram.run, datagram.number, datagram.sent, len(name))
    checked = rest + name + datagram.payload
    return _MARK + _CHECK.pack(zlib.crc32(checked)) + checked


def decode(data: bytes) -> Datagram:
    """Tell what a datagram is; anything may come, and nothing is an error."""
    if data.startswith(_MARK):
        return _numbered(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Corrupt("neither this format nor UTF-8")
    if text.isprintable() or all(c.isprintable() or c in "\r\n\t" for c in text):
        return Text(text)
    return Corrupt("text with control characters")


def _numbered(data: bytes) -> Numbered | Corrupt:
    if len(data) < _HEADER:
        return Corrupt(f"{len(data)} bytes, and the header alone has {_HEADER}")
    (check,) = _CHECK.unpack_from(data, len(_MARK))
    if zlib.crc32(memoryview(data)[_CHECKED_FROM:]) != check:
        return Corrupt("the checksum differs")
    kind, run, number, sent, length = _REST.unpack_from(data, _CHECKED_FROM)
    name = data[_HEADER : _HEADER + length]
    try:
        sender = name.decode()
    except UnicodeDecodeError:
        return Corrupt("the sender's name is no UTF-8")
    if len(name) < length or not _is_name(sender):
        return Corrupt("the sender's name is cut short, or none")
    if kind not in (DATA, END) or (kind == DATA and number == 0):
        return Corrupt(f"no datagram of kind {kind:#x} with number {number}")
    return Numbered(sender, run, number, sent, data[_HEADER + length :], end=kind == END)


def _is_name(sender: str) -> bool:
    return sender.isprintable() and sender != "" and " " not in sender

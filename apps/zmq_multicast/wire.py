r"""What a published message holds: its topic, its stream, its number, and then whatever is said.

    weather n4/18a3c… 17 data 1790000000123456789\n
    rain

The topic stands first, for a subscriber's filter is a prefix (zmq_setsockopt(3), ZMQ_SUBSCRIBE).
Over multicast the filter acts where the message arrives: the network carries it to everybody.

ZeroMQ numbers nothing that an application sees, and does not say when it gave something up. So each
publisher numbers what it says, 1, 2, 3, …, and its run is a stream of its own: `open` is number 0,
`end` has the number of the last. One frame a message: a subscriber that joins in the middle of one
of several frames would be out of step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

Kind: TypeAlias = Literal["open", "data", "end"]

LONGEST = 60_000
"""Bytes of a message, its first line included."""
NAME = re.compile(r"[\w.-]{1,100}")
"""Of a topic, and of a publisher."""
_LINE = re.compile(
    r"(?P<topic>[\w.-]{1,100}) (?P<stream>[\w.-]{1,100}/[0-9a-f]{1,16}) (?P<number>[0-9]{1,15}) "
    r"(?P<kind>open|data|end) (?P<sent>[0-9]{1,20})"
)
_LONGEST_LINE = 300


class Unreadable(ValueError):
    """These bytes are no message of this format; the text says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream."""

    topic: str
    stream: str
    """A publisher's name and when its run began: `n4/18a3c…`."""
    number: int
    kind: Kind
    sent: int
    """ns since 1970, by the publisher's clock."""
    payload: bytes = b""

    @property
    def id(self) -> str:
        """The message's name, alike at all ends."""
        return f"{self.stream}#{self.number}"

    @property
    def publisher(self) -> str:
        """Who said it."""
        return self.stream.partition("/")[0]


def encode(message: Message) -> bytes:
    """Give the bytes; ValueError if it has a name that is none, or is too long."""
    m = message
    line = f"{m.topic} {m.stream} {m.number} {m.kind} {m.sent}"
    if not _LINE.fullmatch(line):
        raise ValueError(f"topic {m.topic!r} or stream {m.stream!r} is no name: {NAME.pattern}")
    data = f"{line}\n".encode() + m.payload
    if len(data) > LONGEST:
        raise ValueError(f"{len(data)} bytes are no message: {LONGEST} at most")
    return data


def decode(data: bytes) -> Message:
    """Read a message; anything may come: Unreadable."""
    head, newline, payload = data.partition(b"\n")
    if not newline or len(head) > _LONGEST_LINE or len(data) > LONGEST:
        raise Unreadable(f"{len(data)} bytes without a short first line")
    try:
        line = _LINE.fullmatch(head.decode())
    except UnicodeDecodeError:
        raise Unreadable("the first line is no UTF-8") from None
    if line is None:
        raise Unreadable("the first line is no topic, stream, number, kind and time")
    number, kind = int(line["number"]), cast("Kind", line["kind"])
    if (kind == "open") != (number == 0) and kind != "end":
        raise Unreadable(f"{kind} with number {number}")
    return Message(line["topic"], line["stream"], number, kind, int(line["sent"]), payload)

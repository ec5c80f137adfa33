"""What is published: a topic's name to subscribe to, the message's own name, and the buffer.

    frame  holds
    1      the topic's name: subscribers ask for all names that begin in some way
    2      `publisher/run/name#number`: whose run, of which topic, and as which of its messages
    3      the FlatBuffer, with the same name, and the number as its `seq_no`

The second frame is what losses are counted by. Each topic of a run is a stream with the numbers 1,
2, 3, …, so who subscribes to one topic counts the same as who subscribes to all; a publisher that
was started anew has another run. It says nothing that the buffer must be believed for: a buffer
that contradicts it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from apps.flatbuffers_zmq.codec import Schema, Topic, decode
from apps.flatbuffers_zmq.verifier import Buffer, Malformed

LONGEST_LABEL = 400
"""Bytes of the second frame."""
LAST = (1 << 32) - 1
"""The highest number of a run: `seq_no` is a uint32."""
_NAMED = re.compile(
    r"(?P<stream>[\w.-]{1,64}/[0-9a-f]{1,16}/(?P<topic>.{1,255}))#(?P<number>[1-9][0-9]{0,9})"
)


class Label(NamedTuple):
    """The name of a message, alike at both ends."""

    stream: str
    """A topic of a run of a publisher: `n4/5f3a09c1/pressure`."""
    number: int

    def __str__(self) -> str:
        return f"{self.stream}#{self.number}"

    @property
    def publisher(self) -> str:
        """Who sent it."""
        return self.stream.partition("/")[0]

    @property
    def topic(self) -> str:
        """What it is about."""
        return self.stream.split("/", 2)[2]


def frames(label: Label, buffer: bytes | bytearray) -> tuple[bytes, bytes, Buffer]:
    """Give a message's frames."""
    return label.topic.encode(), str(label).encode(), buffer


def label(parts: Sequence[Buffer]) -> Label:
    """Give the name of a message that came; Malformed if it has none."""
    if len(parts) != 3:
        raise Malformed(f"{len(parts)} frames: a message has 3")
    if len(parts[1]) > LONGEST_LABEL:
        raise Malformed(f"a second frame of {len(parts[1])} bytes: it has {LONGEST_LABEL} at most")
    text = bytes(parts[1]).decode(errors="replace")
    named = _NAMED.fullmatch(text)
    if named is None or not text.isprintable() or int(named["number"]) > LAST:
        raise Malformed("its second frame is no publisher/run/name#number")
    if named["topic"].encode() != parts[0]:
        raise Malformed("it was published under another name than its own")
    return Label(named["stream"], int(named["number"]))


def unpack(parts: Sequence[Buffer], named: Label, schema: Schema) -> Topic:
    """Read the message of that name; Malformed if it must not be read, or contradicts itself."""
    topic = decode(parts[2], schema)
    if topic.seq_no != named.number:
        raise Malformed(f"it is called number {named.number}, and says that it is {topic.seq_no}")
    if topic.name != named.topic:
        raise Malformed("it is called after another topic than it says")
    return topic

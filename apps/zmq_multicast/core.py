"""Following numbered streams: what came, what is missing, what came twice.

The problem: reliable multicast repairs what the network lost, as long as the publisher still has it
(RFC 3208, section 3: the transmit window). What has left the window is gone, and ZeroMQ then goes
on with the next message that it can read, without a word. So every message is numbered, and who
subscribes works out from the numbers what happened.

The rule: a stream is delivered in order, each number once. A number beyond the expected one shows a
gap, which is final: the transport hands over in order, and will not come back to it. A number below
it is a repetition, or came too late, and is not delivered. The first number that is heard of a
stream is where the subscriber joined; what was said before is missed, and nobody repeats it: the
window's past is for those who knew the stream (RFC 3208, section 5, "late joining").
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from apps.zmq_multicast.wire import Message


class Fate(Enum):
    """What becomes of a message."""

    OPENED = "opened"
    """The stream is known from its beginning."""
    RECEIVED = "received"
    REPEATED = "repeated"
    """It, or a later one of its stream, was delivered before."""
    ENDED = "ended"


@dataclass(slots=True)
class Stream:
    """What is known of one run of a publisher."""

    name: str
    joined: int
    """The first number that could be heard: 1, or later for who came late."""
    expected: int
    received: int = 0
    missed: int = 0
    """In gaps, after it was joined."""
    gaps: int = 0
    repeated: int = 0
    ended: bool = False

    def report(self) -> dict[str, Any]:
        """Give the figures."""
        return {
            "stream": self.name,
            "joined": self.joined,
            "last": self.expected - 1,
            "received": self.received,
            "missed": self.missed,
            "gaps": self.gaps,
            "repeated": self.repeated,
            "ended": self.ended,
        }


@dataclass(frozen=True, slots=True)
class Taken:
    """What one message showed."""

    fate: Fate
    stream: Stream
    joined: bool = False
    """Whether it is the first that was heard of its stream."""
    gap: range = range(0)
    """The numbers that it shows to be missing for good."""


class Follower:
    """Follows up to `limit` streams; the one that was silent longest makes room."""

    def __init__(self, limit: int) -> None:
        """Follow nothing yet."""
        self._limit = limit
        self._streams: OrderedDict[str, Stream] = OrderedDict()
        self.forgotten = 0
        """Streams that made room."""

    @property
    def streams(self) -> Mapping[str, Stream]:
        """The streams that are followed, the one silent longest first."""
        return self._streams

    def take(self, message: Message) -> Taken:
        """Take the next message that the transport handed over."""
        known = self._streams.get(message.stream)
        stream = known or self._join(message)
        self._streams.move_to_end(message.stream)
        first = known is None
        if message.kind == "open":
            again = not first
            stream.repeated += again
            return Taken(Fate.REPEATED if again else Fate.OPENED, stream, first)
        if message.kind == "end":
            gap = self._skip(stream, message.number + 1)
            stream.ended = True
            return Taken(Fate.ENDED, stream, first, gap)
        if message.number < stream.expected:
            stream.repeated += 1
            return Taken(Fate.REPEATED, stream, first)
        gap = self._skip(stream, message.number)
        stream.received += 1
        stream.expected = message.number + 1
        return Taken(Fate.RECEIVED, stream, first, gap)

    def _join(self, message: Message) -> Stream:
        if len(self._streams) >= self._limit:
            self._streams.popitem(last=False)
            self.forgotten += 1
        # Of an end that is the first that is heard, all that it ends was missed.
        begins = message.number + 1 if message.kind == "end" else max(1, message.number)
        stream = Stream(message.stream, joined=begins, expected=begins)
        self._streams[message.stream] = stream
        return stream

    def _skip(self, stream: Stream, to: int) -> range:
        gap = range(stream.expected, to)
        if gap:
            stream.gaps += 1
            stream.missed += len(gap)
            stream.expected = to
        return gap

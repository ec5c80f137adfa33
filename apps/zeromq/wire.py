"""What stands in the frames: text, so that a few lines of any language can take part.

    request     TEXT [ID]                            two frames; who wants no trace sends one
    reply       NODE TEXT [ID]                       NODE answered; the ID comes back as it came
    update      TOPIC NUMBER STREAM TEXT             one frame: subscriptions compare its beginning
    task        BATCH NUMBER OF MILLISECONDS         the NUMBERth task of OF, and how long it takes
    result      BATCH NUMBER OF NODE SQUARE

A STREAM is one run of a publisher, which numbers the updates of each topic from 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Self

LONGEST_TEXT = 60_000
"""Bytes of a request's text: below the bound of a frame, with room for what an answer adds."""
LONGEST_ID = 200
MOST_TASKS = 1_000_000
LONGEST_TASK = 1000
"""Milliseconds."""
END = "END"
"""The text of a stream's last update."""

_WORD = re.compile(r"[!-~]{1,100}")


class Garbled(ValueError):
    """A message is none of this protocol; the text says why."""


class Update(NamedTuple):
    """What a publisher tells all that subscribed."""

    topic: str
    number: int
    stream: str
    text: str

    def encode(self) -> bytes:
        """Give it as a frame."""
        return f"{self.topic} {self.number} {self.stream} {self.text}".encode()

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        """Read a frame; Garbled."""
        topic, number, stream, text = _words(frame, 4)
        return cls(_word(topic), _number(number), _word(stream), text)

    @property
    def id(self) -> str:
        """What names it in events: the same at both ends."""
        return f"{self.stream}/{self.topic}#{self.number}"


class Task(NamedTuple):
    """A number to square, one of a batch."""

    batch: str
    number: int
    of: int
    work: int
    """Milliseconds that it takes."""

    def encode(self) -> bytes:
        """Give it as a frame."""
        return f"{self.batch} {self.number} {self.of} {self.work}".encode()

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        """Read a frame; Garbled."""
        batch, number, of, work = _words(frame, 4)
        task = cls(_word(batch), _number(number), _number(of), _number(work))
        if not 1 <= task.number <= task.of <= MOST_TASKS or task.work > LONGEST_TASK:
            raise Garbled(f"no task: {frame[:80]!r}")
        return task

    @property
    def id(self) -> str:
        """What names it in events."""
        return f"{self.batch}#{self.number}"


class Result(NamedTuple):
    """What a worker made of a task."""

    batch: str
    number: int
    of: int
    node: str
    square: int

    def encode(self) -> bytes:
        """Give it as a frame."""
        return f"{self.batch} {self.number} {self.of} {self.node} {self.square}".encode()

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        """Read a frame; Garbled."""
        batch, number, of, node, square = _words(frame, 5)
        result = cls(_word(batch), _number(number), _number(of), _word(node), _number(square))
        if not 1 <= result.number <= result.of <= MOST_TASKS:
            raise Garbled(f"no result: {frame[:80]!r}")
        return result

    @property
    def id(self) -> str:
        """What names it in events."""
        return f"{self.batch}#{self.number}!"


def reply(node: str, frames: Sequence[bytes]) -> list[bytes]:
    """Give the reply to a request's frames; what cannot be answered is told why."""
    text, *rest = frames
    if len(rest) > 1 or len(b"".join(rest)) > LONGEST_ID:
        return [b"error: a request is a text, and an id of at most %d bytes" % LONGEST_ID]
    if len(text) > LONGEST_TEXT:
        return [b"error: a text has at most %d bytes" % LONGEST_TEXT, *rest]
    return [node.encode() + b" " + text, *rest]


def id_of(frames: Sequence[bytes]) -> str | None:
    """Give the id of a request or a reply, whatever envelope is before it; None if it has none."""
    body = list(frames)[frames.index(b"") + 1 :] if b"" in frames[:-1] else list(frames)
    if len(body) == 2 and 0 < len(body[1]) <= LONGEST_ID:
        return body[1].decode(errors="replace")
    return None


def _words(frame: bytes, count: int) -> list[str]:
    try:
        words = frame.decode().split(" ", count - 1)
    except UnicodeDecodeError as error:
        raise Garbled(f"not UTF-8 at byte {error.start}") from None
    if len(words) < count:
        raise Garbled(f"{len(words)} words, and {count} are needed: {frame[:80]!r}")
    return words


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise Garbled(f"no word: {text[:80]!r}")
    return text


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,15}", text):
        raise Garbled(f"no number: {text[:80]!r}")
    return int(text)

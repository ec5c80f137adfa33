"""What peers and clients say, checked before it changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from apps.kit.effects import Message

LONGEST_TEXT = 1000
"""Characters of a name or a text."""
LATEST = 1 << 53
"""Clock numbers stay below this: what every JSON reader takes exactly."""
KINDS = ("request", "ack", "release", "tell")


class BadMessage(ValueError):
    """What was said is refused and changed nothing; the text says what was wrong with it."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """A message between processes: `time` belongs to requests and releases, `text` to tells."""

    kind: str
    id: str
    lamport: int
    vector: Mapping[str, int]
    time: int
    text: str

    @classmethod
    def read(cls, body: Message) -> Self:
        """Check a message of a peer; BadMessage says what is wrong with it."""
        kind = body.get("kind")
        if kind not in KINDS:
            raise BadMessage(
                f"a message's kind must be one of {', '.join(KINDS)}, not {kind!r:.60}"
            )
        vector = body.get("vector")
        if not isinstance(vector, Mapping) or not all(_is_time(count) for count in vector.values()):
            raise BadMessage(f"a message's vector must map processes to counts, not {vector!r:.60}")
        return cls(
            kind,
            text_of(body, "id"),
            _time_of(body, "lamport"),
            vector,
            _time_of(body, "time") if kind in ("request", "release") else 0,
            text_of(body, "text") if kind == "tell" else "",
        )

    def told(self) -> dict[str, str]:
        """Give what an event tells of the message besides its stamps."""
        return {"text": self.text} if self.kind == "tell" else {}


def text_of(body: Message, key: str) -> str:
    """Give a text of at most LONGEST_TEXT characters, or BadMessage."""
    value = body.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT:
        raise BadMessage(f"{key} must be a text of 1 to {LONGEST_TEXT} characters")
    return value


def number_of(body: Message, key: str, most: float) -> float:
    """Give a number of seconds above 0 and at most `most`, or BadMessage."""
    value: Any = body.get(key)
    if type(value) not in (int, float) or not 0 < value <= most:
        raise BadMessage(f"{key} must be a number of seconds above 0, at most {most:g}")
    return float(value)


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value < LATEST


def _time_of(body: Message, key: str) -> int:
    value = body.get(key)
    if not isinstance(value, int) or not _is_time(value):
        raise BadMessage(f"a message's {key} must be a clock number, not {value!r:.60}")
    return value

"""What the nodes of an election say to each other, read and checked before it changes anything.

An epoch is an election's number and the rank of the node that holds it, so no two elections have
the same one, and epochs compare as pairs: the higher one is the later one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from apps.kit.effects import Message

Epoch: TypeAlias = tuple[int, int]
"""The number of an election, and the rank of who holds it; (0, 0) is before the first."""

HIGHEST = 1 << 53
"""No number is that high: what is, is garbage."""
KINDS = (
    "are_you_there",
    "here",
    "halt",
    "halted",
    "new_coordinator",
    "accepted",
    "ready",
    "are_you_normal",
    "normal",
    "not_normal",
    "stale",
    "order",
)
"""The paper's calls and their answers; `stale` and `order` are this project's."""


class BadMessage(ValueError):
    """What came is no message of an election, or no request: it was ignored, or rejected."""


class Word(NamedTuple):
    """A message of a peer."""

    kind: str
    epoch: Epoch
    """The election that it is about."""
    own: Epoch
    """The latest that the sender takes part in."""
    electing: bool
    number: int
    text: str


def word(message: Message) -> Word:
    """Read a message; BadMessage says what is wrong with it."""
    kind = message.get("kind")
    if kind not in KINDS:
        raise BadMessage(f"no such kind of message: {kind!r:.60}")
    epoch = epoch_of(message, "epoch")
    own = epoch_of(message, "own") if "own" in message else epoch
    electing, number = message.get("electing", False), message.get("number", 0)
    text = message.get("text", "")
    if type(electing) is not bool or type(number) is not int or not isinstance(text, str):
        raise BadMessage(f"{kind} says what it cannot mean")
    return Word(kind, epoch, own, electing, number, text)


def epoch_of(message: Mapping[str, Any], key: str) -> Epoch:
    """Read an epoch; BadMessage says why it is none."""
    match message.get(key):
        case [int(number), int(rank)] if 0 <= number < HIGHEST and 0 <= rank < HIGHEST:
            return number, rank
    raise BadMessage(f"{key} must be an epoch, [number, rank], not {message.get(key)!r:.60}")

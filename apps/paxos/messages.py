"""What acceptors, proposers and learners say to each other, read and checked before it counts.

Every message names its decree. A number is `[round, proposer]`, a proposal `[number, value]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from apps.kit.effects import Message
from apps.paxos.core import ZERO, Number, Proposal, Vote

HIGHEST = 1 << 53
"""No round and no id is that high: what is, is garbage."""
LONGEST_DECREE = 100
"""Characters of a decree's name."""
LONGEST_TOKEN = 200
LONGEST_VALUE = 1000
"""Characters of a value."""
LONGEST_TIME = 60.0
"""Seconds that a client may ask a proposer to wait, or to go on."""
NUMBERED = ("prepare", "promise", "accept", "accepted", "nack", "full")
"""Kinds that are about a number; `full` is an acceptor's that has no room to keep its word."""
KINDS = (*NUMBERED, "query", "vote", "settle")
"""A learner asks what was accepted, and is told; and has a proposer settle what is open."""


class BadMessage(ValueError):
    """What came is no message of Paxos, or no request: it was ignored, or rejected."""


class Word(NamedTuple):
    """A message of a peer; what its kind has no use for is not in it."""

    kind: str
    decree: str
    number: Number
    value: str
    accepted: Proposal | None
    promised: Number
    token: str
    """Which question of a learner it belongs to."""


def word(message: Message) -> Word:
    """Read a message; BadMessage says what is wrong with it."""
    kind = message.get("kind")
    if kind not in KINDS:
        raise BadMessage(f"no such kind of message: {kind!r:.60}")
    return Word(
        kind,
        text_of(message, "decree", LONGEST_DECREE),
        number_of(message.get("number")) if kind in NUMBERED else ZERO,
        text_of(message, "value", LONGEST_VALUE) if kind in ("accept", "accepted") else "",
        proposal_of(message.get("accepted")) if kind in ("promise", "vote") else None,
        number_of(message.get("promised")) if kind == "nack" else ZERO,
        text_of(message, "token", LONGEST_TOKEN) if kind in ("query", "vote") else "",
    )


def text_of(body: Mapping[str, Any], key: str, longest: int) -> str:
    """Read a text; BadMessage says why it is none."""
    text = body.get(key)
    if not isinstance(text, str) or not 0 < len(text) <= longest:
        raise BadMessage(f"{key} must be a string of 1 to {longest} characters")
    return text


def seconds_of(body: Mapping[str, Any], key: str) -> float | None:
    """Read a time; None if it is not given; BadMessage says why it is none."""
    seconds = body.get(key)
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 <= seconds <= LONGEST_TIME:
        raise BadMessage(f"{key} must be from 0 to {LONGEST_TIME:g} seconds, not {seconds!r:.60}")
    return float(seconds)


def number_of(said: Any) -> Number:
    """Read a proposal's number; BadMessage says why it is none."""
    match said:
        case [round_, proposer] if type(round_) is type(proposer) is int:  # True is no number
            if 0 < round_ < HIGHEST and 0 < proposer < HIGHEST:
                return Number(round_, proposer)
    raise BadMessage(f"a number must be [round, proposer], both above 0, not {said!r:.60}")


def proposal_of(said: Any) -> Proposal | None:
    """Read a proposal, or that there is none; BadMessage."""
    match said:
        case None:
            return None
        case [number, str(value)] if 0 < len(value) <= LONGEST_VALUE:
            return Proposal(number_of(number), value)
    raise BadMessage(f"a proposal must be [number, value] or null, not {said!r:.60}")


def vote_of(kept: Mapping[str, Any] | None) -> Vote:
    """Read what an acceptor keeps of a decree; nothing is a vote as well."""
    if kept is None:
        return Vote()
    accepted = kept["accepted"]
    return Vote(
        Number(*kept["promised"]),
        None if accepted is None else Proposal(Number(*accepted[0]), accepted[1]),
    )

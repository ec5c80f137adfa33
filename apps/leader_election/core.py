"""Who leads, and under which token; and what keeps out those who only believe that they lead.

The election is ZooKeeper's recipe. Each candidate makes an ephemeral node with a number; the lowest
number leads, and each other watches the one before it, so that an end wakes one node and no crowd.
The name of a candidate's node has a part that the candidate drew itself: when the answer to its
creation was lost, it finds its own by that.

The token is the number of the transaction that made the leader's node (czxid). Nodes are numbered
as they are made, so a later leader has a higher token, and no two have one.

That a leader knows to be one is no promise that it is: between looking and doing it may be paused
for any time, and the ensemble has given its session up meanwhile. It steps down as soon as its
session is in doubt, which makes two that believe at once rare. What makes them harmless is the
fence: whoever is written to remembers the highest token that it took, and refuses those below
(Gray and Cheriton 1989 on leases; Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Join:
    """Make a node of ours, ephemeral, whose name is this and a number."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Delete a node of ours."""

    name: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Look again when this node is gone."""

    name: str


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the ensemble who the candidates are."""


@dataclass(frozen=True, slots=True)
class Believe:
    """We lead, under this token."""

    token: int


@dataclass(frozen=True, slots=True)
class StepDown:
    """We led under this token, and begin nothing more under it."""

    token: int
    why: str


Effect: TypeAlias = Join | Leave | Watch | Look | Believe | StepDown


class Candidate:
    """One node in the election: told of its session and of the candidates, it says what to do."""

    def __init__(self, node: str, rng: random.Random) -> None:
        """`node` is the name that it stands with."""
        self._node = node
        self._rng = rng
        self._connected = False
        self._prefix = self._draw()
        self._spent = ""
        self.token: int | None = None
        """What it leads under; None while it does not."""

    def connected(self) -> list[Effect]:
        """The session is there, again or anew."""
        self._connected = True
        return [Look()]

    def suspended(self) -> list[Effect]:
        """Nobody answers: the session may be given up at any moment, without our hearing of it."""
        self._connected = False
        return self._down("its session is in doubt")

    def lost(self) -> list[Effect]:
        """The ensemble gave the session up, and our node with it."""
        self._connected = False
        return self._down("its session is lost")

    def mine(self, names: Iterable[str]) -> str | None:
        """Give which of these nodes is ours."""
        return next((name for name in in_order(names) if name.startswith(self._prefix)), None)

    def looked(self, names: Sequence[str], token: int) -> list[Effect]:
        """These are the candidates' nodes; `token` is of the one that is ours, if one is."""
        if not self._connected:
            return []
        spent = [name for name in names if self._spent and name.startswith(self._spent)]
        if spent:
            return [*map(Leave, spent), Look()]
        mine = self.mine(names)
        if mine is None:
            return [*self._down("its candidacy is gone"), Join(self._prefix), Look()]
        order = in_order(names)
        place = order.index(mine)
        if place:
            return [*self._down("another is before it"), Watch(order[place - 1])]
        if self.token == token:
            return [Watch(mine)]
        self.token = token
        return [Believe(token), Watch(mine)]

    def refused(self, token: int) -> list[Effect]:
        """The fence knows a higher token than this: stand again, with a new node."""
        if self.token != token:
            return []
        self._spent, self._prefix = self._prefix, self._draw()
        return [*self._down("the fence refused its token"), Look()]

    def _down(self, why: str) -> list[Effect]:
        token, self.token = self.token, None
        return [] if token is None else [StepDown(token, why)]

    def _draw(self) -> str:
        return f"{self._node}-{self._rng.getrandbits(48):012x}-"


def in_order(names: Iterable[str]) -> list[str]:
    """Give candidates' nodes in the order in which they were made: the first one leads."""
    return sorted(names, key=lambda name: int(name.rpartition("-")[2]))


def node_of(name: str) -> str:
    """Give the candidate that a node stands for."""
    return name.rsplit("-", 2)[0]


class Stale(Exception):
    """A write came under a token below the highest; nothing was changed."""

    def __init__(self, token: int, highest: int, holder: str) -> None:
        """`highest` is the token that the resource took last, and `holder` whose it is."""
        super().__init__(f"token {token} is stale: {holder} holds {highest}")
        self.highest = highest


@dataclass(frozen=True, slots=True)
class Resource:
    """What is protected: one value, and the highest token that wrote it.

    It never changes; a write gives another one, which has to be durable before it is answered.
    """

    token: int = 0
    holder: str = ""
    number: int = 0
    """How many writes it took."""
    value: str = ""

    def write(self, token: int, holder: str, value: str) -> Resource:
        """Give what it is after a write; Stale."""
        if token < self.token or (token == self.token and holder != self.holder):
            raise Stale(token, self.token, self.holder)
        return Resource(token, holder, self.number + 1, value)

    def as_json(self) -> dict[str, Any]:
        """Give it as a store keeps it."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Resource:
        """Read what `as_json` gave."""
        return cls(**stored)

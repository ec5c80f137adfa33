"""The synod: how one value is chosen among those that are proposed.

The problem: processes propose values, and one value at most is to be chosen, though any of them may
stop and start again at any time, and messages take any time, are lost, repeated and reordered. A
single one that decides would do, until it dies.

The rule (L. Lamport, "Paxos Made Simple", ACM SIGACT News 32(4), 2001; sections are its own): a
value is chosen when a majority of the acceptors has accepted it in one numbered proposal, and any
two majorities share an acceptor. So a proposer first asks a majority to promise that it will accept
nothing numbered less, and to say what it has accepted; and then proposes the value of the highest
number that it heard of. It is free to propose its own only if it heard of none (P2c, section 2.2).

    phase 1   prepare n   ->  promise n, and the highest numbered proposal accepted, if any
    phase 2   accept n v  ->  accepted n v, unless something above n was promised meanwhile
              otherwise   ->  nack n, and what was promised (section 2.3: abandon n)

A promise and an acceptance are durable before anybody hears of them (section 2.5): that is all that
an acceptor has to keep, and it keeps it for ever. No two proposals ever have the same number.

Here is one decree's part of it, without messages and time: what an acceptor remembers (`Vote`), a
proposer's one attempt (`Ballot`), and what a learner has heard (`Tally`). `acceptor`, `proposer`
and `learner` carry them for many decrees, each of which is an agreement of its own.

What cannot be had (section 2.4, and Fischer, Lynch and Paterson 1985): that it surely ends. Two
proposers can duel for ever, each outbidding the other between its two phases. Paxos is safe
whatever the times are; who wants it to end must have them wait, each for a random time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

Read: TypeAlias = Callable[[str], Any]
"""Gives what a process has persisted under a key; None if nothing."""


class Number(NamedTuple):
    """A proposal's number. They compare as numbers: the round first, then the proposer's own.

    Different proposers have different ids, and none uses a round twice, so a number is used once.
    """

    round: int
    proposer: int

    def __str__(self) -> str:
        return f"{self.round}.{self.proposer}"


class Proposal(NamedTuple):
    """A numbered proposal of a value."""

    number: Number
    value: str


ZERO = Number(0, 0)
"""Below every number that is used."""


@dataclass(frozen=True, slots=True)
class Vote:
    """All that an acceptor has to remember of a decree (section 2.5)."""

    promised: Number = ZERO
    """Nothing that is numbered less will be accepted."""
    accepted: Proposal | None = None
    """The highest numbered one that it has accepted."""

    def prepare(self, number: Number) -> Vote | None:
        """Promise (P1a, phase 1(b)); None if a higher number has been promised.

        The very number that is promised may come again, for a datagram may: it is promised again.
        """
        return Vote(number, self.accepted) if number >= self.promised else None

    def accept(self, proposal: Proposal) -> Vote | None:
        """Accept (phase 2(b)); None if a higher number has been promised."""
        return Vote(proposal.number, proposal) if proposal.number >= self.promised else None


@dataclass(slots=True)
class Ballot:
    """One attempt of a proposer, with a number of its own."""

    number: Number
    quorum: int
    """How many acceptors are a majority."""
    promises: dict[str, Proposal | None] = field(default_factory=dict)
    """What each that has promised had accepted."""
    accepted: set[str] = field(default_factory=set)
    """Who has accepted what this ballot proposes."""

    @property
    def prepared(self) -> bool:
        """Whether a majority has promised: phase 2 may begin."""
        return len(self.promises) >= self.quorum

    @property
    def chosen(self) -> bool:
        """Whether a majority has accepted: the value is chosen."""
        return len(self.accepted) >= self.quorum

    @property
    def bound(self) -> str | None:
        """The value that must be proposed (P2c, phase 2(a)); None if any may be."""
        return highest(self.promises.values())


@dataclass(slots=True)
class Tally:
    """What a learner has heard of a decree (section 2.3): each acceptor's highest vote."""

    quorum: int
    votes: dict[str, Proposal] = field(default_factory=dict)

    def count(self, acceptor: str, proposal: Proposal) -> bool:
        """Take a vote; say whether a majority has now accepted this very proposal.

        Votes of one value under different numbers are no majority: a third might yet be chosen.
        """
        known = self.votes.get(acceptor)
        if known is None or known.number < proposal.number:
            self.votes[acceptor] = proposal
        return sum(vote == proposal for vote in self.votes.values()) >= self.quorum


def majority(acceptors: int) -> int:
    """Give the least number of acceptors of which any two sets share one."""
    return acceptors // 2 + 1


def highest(proposals: Iterable[Proposal | None]) -> str | None:
    """Give the value of the highest numbered one; None if there is none."""
    told = [proposal for proposal in proposals if proposal is not None]
    return max(told, key=lambda proposal: proposal.number).value if told else None

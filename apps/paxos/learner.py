"""A learner: it hears from the acceptors what they accept, and knows so what is chosen (2.3).

Messages are lost, so who asks a learner that does not know has it ask the acceptors. Perhaps a
majority tells that it has accepted nothing: then nothing was chosen when the question came. If they
tell of proposals none of which has a majority, only a further proposal can show what is chosen, or
bring it about (the end of section 2.3): the learner has a proposer settle it, with no value of its
own.

What is known is a cache: the acceptors know it still when it was dropped, or the process killed.

Clients ask {"f": "chosen", "decree": "d"}, and are told {"value": …}, null if
nothing was chosen; or {"failed": why} if that cannot be told now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.kit.effects import CancelTimer, Effect, Emit, Message, Reject, Reply, Send, SetTimer
from apps.paxos.core import Proposal, Tally, majority
from apps.paxos.messages import LONGEST_DECREE, BadMessage, Word, text_of, word

KNOWN = 10_000
"""Decrees that are remembered: those that were heard of last."""
WAITING = 1000
"""Clients that may wait at once."""


@dataclass(slots=True)
class _Inquiry:
    """What one client waits for. Only answers to its own question tell that nothing is chosen."""

    decree: str
    until: float
    """When it is told that it cannot be said."""
    answered: set[str] = field(default_factory=set)
    """The acceptors that have told what they accepted."""
    voted: bool = False
    """Whether one of them had accepted anything."""
    asked: int = 0


class Learner:
    """The core of one learner, for all decrees; see `apps.kit.effects.Core`."""

    def __init__(
        self,
        acceptors: Sequence[str],
        proposers: Sequence[str],
        *,
        answer: float = 0.3,
        patience: float = 3.0,
    ) -> None:
        """Who has not answered within `answer` s is asked again, for `patience` s in all."""
        self._acceptors = tuple(acceptors)
        self._proposers = tuple(proposers)
        self._quorum = majority(len(self._acceptors))
        self._answer = answer
        self._patience = patience
        self._tallies: dict[str, Tally] = {}
        self._chosen: dict[str, Proposal] = {}
        self._inquiries: dict[str, _Inquiry] = {}  # by the client's request
        self._effects: list[Effect] = []

    def start(self, now: float) -> list[Effect]:
        """Be there."""
        del now
        return []

    def receive(self, now: float, sender: str, message: Message) -> list[Effect]:
        """Take what an acceptor tells."""
        del now
        try:
            said = word(message)
            if said.kind not in ("accepted", "vote") or sender not in self._acceptors:
                raise BadMessage(f"{said.kind} of {sender} is not for a learner")
        except BadMessage as error:
            return [Emit("malformed", {"peer": sender, "error": str(error)})]
        if said.kind == "accepted":
            self._count(said.decree, sender, Proposal(said.number, said.value))
        else:
            self._on_vote(sender, said)
        return self._finish()

    def request(self, now: float, request: str, body: Message) -> list[Effect]:
        """Tell what is chosen, once that is known."""
        try:
            if body.get("f") != "chosen":
                raise BadMessage("f must be chosen")
            decree = text_of(body, "decree", LONGEST_DECREE)
        except BadMessage as error:
            return [Reject(request, str(error))]
        if decree in self._chosen:
            return [self._told(request, decree)]
        if len(self._inquiries) >= WAITING:
            return [Reply(request, {"failed": f"{WAITING} clients wait already"})]
        inquiry = self._inquiries[request] = _Inquiry(decree, now + self._patience)
        self._ask(request, inquiry)
        return self._finish()

    def timer(self, now: float, name: str) -> list[Effect]:
        """Ask again, or give up."""
        inquiry = self._inquiries.get(name)
        if inquiry is None:
            return []
        if now < inquiry.until:
            self._ask(name, inquiry)
        else:
            told = len(inquiry.answered)
            why = f"not known: {told} of {len(self._acceptors)} acceptors answered"
            if told >= self._quorum:
                why = "not known: the acceptors have not agreed yet, and no proposer settled it"
            self._end(name, Reply(name, {"failed": why}))
        return self._finish()

    # Hearing

    def _count(self, decree: str, acceptor: str, vote: Proposal) -> None:
        """Count a vote: the acceptors have chosen what a majority has accepted by one number."""
        tally = self._tallies.setdefault(decree, Tally(self._quorum))
        if tally.count(acceptor, vote):
            self._learn(decree, vote)
        _bounded(self._tallies, KNOWN)

    def _learn(self, decree: str, proposal: Proposal) -> None:
        """Know what is chosen; were it ever something else than before, the log would say so."""
        known = self._chosen.get(decree)
        if known is None or known.value != proposal.value:
            told = {"decree": decree, "number": list(proposal.number), "value": proposal.value}
            self._do(Emit("chosen", told))
            self._chosen[decree] = proposal
            _bounded(self._chosen, KNOWN)
        waiting = [name for name, inquiry in self._inquiries.items() if inquiry.decree == decree]
        for request in waiting:
            self._end(request, self._told(request, decree))

    def _told(self, request: str, decree: str) -> Reply:
        known = self._chosen[decree]
        return Reply(request, {"decree": decree, "value": known.value, "number": [*known.number]})

    # Asking

    def _ask(self, request: str, inquiry: _Inquiry) -> None:
        """Ask the acceptors; and where that did not help before, have a proposer settle it."""
        if len(inquiry.answered) >= self._quorum and self._proposers:
            proposer = self._proposers[inquiry.asked % len(self._proposers)]
            self._do(Send(proposer, {"kind": "settle", "decree": inquiry.decree}))
        inquiry.asked += 1
        query = {"kind": "query", "decree": inquiry.decree, "token": request}
        self._do(*(Send(acceptor, query) for acceptor in self._acceptors))
        self._do(SetTimer(request, self._answer))

    def _on_vote(self, acceptor: str, said: Word) -> None:
        """Take an answer: that of a majority that accepted nothing is one to the client."""
        if said.accepted is not None:
            self._count(said.decree, acceptor, said.accepted)
        inquiry = self._inquiries.get(said.token)
        if inquiry is None or inquiry.decree != said.decree:
            return
        inquiry.answered.add(acceptor)
        inquiry.voted = inquiry.voted or said.accepted is not None
        if len(inquiry.answered) >= self._quorum and not inquiry.voted:
            self._end(said.token, Reply(said.token, {"decree": said.decree, "value": None}))

    def _end(self, request: str, answer: Reply) -> None:
        """Have a client wait no longer."""
        del self._inquiries[request]
        self._do(CancelTimer(request), answer)

    def _do(self, *effects: Effect) -> None:
        self._effects += effects

    def _finish(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects


def _bounded(memory: dict[str, Any], most: int) -> None:
    """Forget what was learnt first, if there is too much."""
    if len(memory) > most:
        del memory[next(iter(memory))]

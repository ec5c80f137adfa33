"""An acceptor: it promises, accepts, and never goes back on its word (sections 2.2 and 2.5).

It knows nothing but what its disk says. What it answers is durable first; where there is no room to
keep its word it gives none: it says that it is full, and takes no part until there is room again.

Who wants to look asks it: {"f": "vote", "decree": "d"} gives what it promised and accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from apps.kit.effects import Effect, Emit, Message, Persist, Reject, Reply, Send, SetTimer
from apps.paxos.core import Proposal, Read, Vote
from apps.paxos.messages import LONGEST_DECREE, BadMessage, Word, text_of, vote_of, word

LATE = 10_000
"""Answers that may be held back at once; what is more is lost."""


class Acceptor:
    """The core of one acceptor, for all decrees; see `apps.kit.effects.Core`."""

    def __init__(
        self, learners: Sequence[str], read: Read, delay: Callable[[], float] | None = None
    ) -> None:
        """`learners` hear of all that it accepts; `read` gives what it persisted.

        `delay` draws for each of its messages how many seconds it is held back.
        """
        self._learners = tuple(learners)
        self._read = read
        self._delay = delay
        self._late: dict[str, Send] = {}
        self._count = 0

    def start(self, now: float) -> Iterator[Effect]:
        """Be there: all that it knows is durable."""
        del now
        yield from ()

    def receive(self, now: float, sender: str, message: Message) -> Iterator[Effect]:
        """Take a request of a proposer, or a question of a learner."""
        del now
        try:
            said = word(message)
            if said.kind not in ("prepare", "accept", "query"):
                raise BadMessage(f"{said.kind} is not for an acceptor")
        except BadMessage as error:
            yield Emit("malformed", {"peer": sender, "error": str(error)})
            return
        vote = self._vote(said.decree)
        match said.kind:
            case "prepare":
                yield from self._prepare(sender, said, vote)
            case "accept":
                yield from self._accept(sender, said, vote)
            case _:
                answer = {"kind": "vote", "decree": said.decree, "token": said.token}
                yield from self._send(sender, {**answer, **_shown(vote)})

    def request(self, now: float, request: str, body: Message) -> Iterator[Effect]:
        """Tell what it promised and accepted."""
        del now
        try:
            if body.get("f") != "vote":
                raise BadMessage("f must be vote")
            vote = self._vote(text_of(body, "decree", LONGEST_DECREE))
        except BadMessage as error:
            yield Reject(request, str(error))
            return
        yield Reply(request, {"promised": list(vote.promised), **_shown(vote)})

    def timer(self, now: float, name: str) -> Iterator[Effect]:
        """Let go what was held back."""
        del now
        yield self._late.pop(name)

    def _vote(self, decree: str) -> Vote:
        return vote_of(self._read(decree))

    def _prepare(self, sender: str, said: Word, vote: Vote) -> Iterator[Effect]:
        """Phase 1(b)."""
        new = vote.prepare(said.number)
        if new is None:
            yield from self._nack(sender, said, vote)
            return
        yield from self._keep(sender, said, vote, new)
        answer = {"decree": said.decree, "number": list(said.number)}
        yield Emit("promised", answer)
        yield from self._send(sender, {"kind": "promise", **answer, **_shown(new)})

    def _accept(self, sender: str, said: Word, vote: Vote) -> Iterator[Effect]:
        """Phase 2(b); the proposer hears of it, and every learner."""
        new = vote.accept(Proposal(said.number, said.value))
        if new is None:
            yield from self._nack(sender, said, vote)
            return
        yield from self._keep(sender, said, vote, new)
        answer = {"decree": said.decree, "number": list(said.number), "value": said.value}
        yield Emit("accepted", answer)
        for peer in (sender, *self._learners):
            yield from self._send(peer, {"kind": "accepted", **answer})

    def _keep(self, sender: str, said: Word, vote: Vote, new: Vote) -> Iterator[Effect]:
        """Make it durable before anybody hears of it, or else say that there is no room."""
        if new == vote:
            return  # a request that came again: its answer is durable
        told = {"decree": said.decree, "number": list(said.number)}
        refusal = Emit("refused", told), Send(sender, {"kind": "full", **told})
        kept = {"promised": list(new.promised), **_shown(new)}
        yield Persist(said.decree, kept, otherwise=refusal)

    def _nack(self, sender: str, said: Word, vote: Vote) -> Iterator[Effect]:
        told = {"decree": said.decree, "number": list(said.number)}
        return self._send(sender, {"kind": "nack", **told, "promised": list(vote.promised)})

    def _send(self, to: str, message: Message) -> Iterator[Effect]:
        """Send it, or hold it back for a time of its own: messages overtake each other then."""
        if self._delay is None:
            yield Send(to, message)
        elif len(self._late) < LATE:
            self._count += 1
            self._late[str(self._count)] = Send(to, message)
            yield SetTimer(str(self._count), self._delay())


def _shown(vote: Vote) -> dict[str, Any]:
    """Give what was accepted, as messages and the disk have it."""
    if vote.accepted is None:
        return {"accepted": None}
    return {"accepted": [list(vote.accepted.number), vote.accepted.value]}

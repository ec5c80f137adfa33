"""A proposer: it has a value chosen, its own or, if it comes too late, another's (section 2.2).

For each decree that clients wait for it makes one attempt after the other, each with a number of
its own, until one is accepted by a majority. A number is never used twice, over restarts too: a
ceiling is durable before any round below it is used (section 2.5).

    preparing   a majority has not promised yet; who has not answered is asked again and again
    holding     it has, and the artificial delay between the phases passes (`Pace.delay`)
    accepting   a majority has not accepted yet; who has not answered is asked again and again
    yielding    a higher number was promised to somebody: this attempt is over. The next one comes
                after a random time that grows, so that a duel ends (section 2.4); without backoff
                (`Pace.backoff` 0) it comes at once, and the duel may go on for ever

Clients ask {"f": "propose", "decree": "d", "value": "v"}, with `delay`, `backoff` and `patience`
(seconds) if they shall differ from the proposer's own. They are told the value that was chosen,
whoever proposed it; or {"unknown": why}, if theirs may be chosen yet; or {"failed": why}, if it was
never proposed to anybody.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from apps.kit.effects import (
    CancelTimer,
    Effect,
    Emit,
    Message,
    Persist,
    Reject,
    Reply,
    Send,
    SetTimer,
)
from apps.kit.retry import Backoff
from apps.paxos.core import Ballot, Number, Read, majority
from apps.paxos.messages import (
    LONGEST_DECREE,
    LONGEST_VALUE,
    BadMessage,
    Word,
    seconds_of,
    text_of,
    word,
)

CEILING = "ceiling"
"""The durable key: no round above it was ever used."""
OWN = "proposer"
"""The durable key: the proposer's own number, which it had from the first."""
AHEAD = 1000
"""Rounds that one write makes usable."""
BUSY = 1000
"""Decrees that clients may wait for at once."""

Phase: TypeAlias = Literal["preparing", "holding", "accepting", "yielding"]


@dataclass(frozen=True)
class Pace:
    """How a proposer takes its time. Seconds."""

    answer: float = 0.3
    """Who has not answered within it is asked again."""
    delay: float = 0.0
    """Between the two phases: so long do others have time to outbid it."""
    backoff: float = 1.0
    """The longest that it waits, when it was outbid, before it tries again; 0: not at all."""
    patience: float = 5.0
    """After which it gives up, and says so."""


@dataclass(slots=True)
class _Attempt:
    """What goes on about one decree."""

    decree: str
    pace: Pace
    until: float
    waits: Iterator[float]
    """How long to wait when outbid, each time."""
    ballot: Ballot
    value: str | None = None
    """What is proposed if nothing is bound; None if somebody only wants it settled."""
    phase: Phase = "yielding"
    requests: list[tuple[str, str]] = field(default_factory=list)
    """The clients' requests, and the value of each."""
    proposed: str = ""
    """What this ballot proposes, in its second phase."""
    exposed: set[str] = field(default_factory=set)
    """What was ever proposed to an acceptor: it may be chosen from then on."""
    rounds: int = 0
    above: int = 0
    """The highest round that an acceptor told of."""


class Proposer:
    """The core of one proposer, for all decrees; see `apps.kit.effects.Core`."""

    def __init__(
        self,
        id_: int,
        acceptors: Sequence[str],
        read: Read,
        rng: random.Random,
        pace: Pace | None = None,
    ) -> None:
        """`id_`, above 0, no other proposer has, or ever had; `read` gives what it persisted."""
        self._id = id_
        self._acceptors = tuple(acceptors)
        self._quorum = majority(len(self._acceptors))
        self._read = read
        self._rng = rng
        self._pace = pace or Pace()
        self._round: int = read(CEILING) or 0
        self._attempts: dict[str, _Attempt] = {}
        self._effects: list[Effect] = []

    def start(self, now: float) -> list[Effect]:
        """Be there: what an earlier life was about is over, and its numbers are not used again."""
        del now
        return []

    def receive(self, now: float, sender: str, message: Message) -> list[Effect]:
        """Take an acceptor's answer, or a learner's wish to have a decree settled."""
        try:
            said = word(message)
            if said.kind == "settle":
                self._settle(now, said.decree)
            elif sender in self._acceptors and said.kind in ("promise", "accepted", "nack", "full"):
                self._on_answer(sender, said)
            else:
                raise BadMessage(f"{said.kind} of {sender} is not for a proposer")
        except BadMessage as error:
            self._do(Emit("malformed", {"peer": sender, "error": str(error)}))
        return self._finish()

    def request(self, now: float, request: str, body: Message) -> list[Effect]:
        """Take a client's value."""
        try:
            if body.get("f") != "propose":
                raise BadMessage("f must be propose")
            decree = text_of(body, "decree", LONGEST_DECREE)
            value = text_of(body, "value", LONGEST_VALUE)
            wanted = {name: seconds_of(body, name) for name in ("delay", "backoff", "patience")}
            pace = replace(self._pace, **{k: v for k, v in wanted.items() if v is not None})
        except BadMessage as error:
            return [Reject(request, str(error))]
        if decree not in self._attempts and len(self._attempts) >= BUSY:
            return [Reply(request, {"failed": f"{BUSY} decrees are proposed for already"})]
        attempt = self._attempts.get(decree) or self._begin(now, decree, pace)
        if attempt.value is None:
            attempt.value = value
        attempt.requests.append((request, value))
        attempt.until = max(attempt.until, now + pace.patience)
        return self._finish()

    def timer(self, now: float, name: str) -> list[Effect]:
        """Go on with a decree: ask again, hold no longer, try anew; or give up."""
        attempt = self._attempts.get(name)
        if attempt is None:
            return []
        if now >= attempt.until:
            self._give_up(attempt)
        elif attempt.phase == "holding":
            self._accept(attempt)
        elif attempt.phase == "yielding":
            self._prepare(attempt)
        else:
            self._ask(attempt)
        return self._finish()

    # An attempt, from its first step to its last

    def _begin(self, now: float, decree: str, pace: Pace) -> _Attempt:
        waits = Backoff(retries=1 << 30, longest=pace.backoff).delays(self._rng)
        ballot = Ballot(Number(0, self._id), self._quorum)
        attempt = _Attempt(decree, pace, now + pace.patience, waits, ballot)
        self._attempts[decree] = attempt
        self._prepare(attempt)
        return attempt

    def _settle(self, now: float, decree: str) -> None:
        """Have what was perhaps accepted be chosen, for a learner that cannot tell."""
        if decree not in self._attempts and len(self._attempts) < BUSY:
            self._begin(now, decree, self._pace)

    def _prepare(self, attempt: _Attempt) -> None:
        """Phase 1(a), with a number above all that it used, or was told of."""
        round_ = max(self._round, attempt.above) + 1
        if round_ > (self._read(CEILING) or 0):
            self._raise_ceiling(attempt, round_ + AHEAD)
            return
        self._round = round_
        attempt.ballot = Ballot(Number(round_, self._id), self._quorum)
        attempt.rounds += 1
        attempt.phase = "preparing"
        self._tell("prepare", attempt)
        self._ask(attempt)

    def _raise_ceiling(self, attempt: _Attempt, ceiling: int) -> None:
        """Prepare once the new ceiling is durable; if there is no room for it, try that again."""
        attempt.phase = "yielding"
        refused = Emit("refused", {"decree": attempt.decree})
        later = SetTimer(attempt.decree, attempt.pace.answer)
        self._do(Persist(CEILING, ceiling, otherwise=(refused, later)))
        self._do(SetTimer(attempt.decree, 0.0))

    def _accept(self, attempt: _Attempt) -> None:
        """Phase 2(a): propose what is bound, or else what the client wants."""
        bound = attempt.ballot.bound
        value = attempt.value if bound is None else bound
        if value is None:
            self._forget(attempt)  # there is nothing to settle: nothing was accepted
            return
        attempt.proposed = value
        attempt.exposed.add(value)
        attempt.phase = "accepting"
        self._tell("propose", attempt, value=value, bound=bound is not None)
        self._ask(attempt)

    def _ask(self, attempt: _Attempt) -> None:
        """Ask all acceptors that have not answered, and again when they do not."""
        ballot = attempt.ballot
        message = {"kind": "prepare", "decree": attempt.decree, "number": list(ballot.number)}
        answered = set(ballot.promises)
        if attempt.phase == "accepting":
            message |= {"kind": "accept", "value": attempt.proposed}
            answered = ballot.accepted
        self._do(*(Send(peer, message) for peer in self._acceptors if peer not in answered))
        self._do(SetTimer(attempt.decree, attempt.pace.answer))

    def _on_answer(self, acceptor: str, said: Word) -> None:
        """Take an answer to the attempt that is under way; one to an earlier attempt is late."""
        attempt = self._attempts.get(said.decree)
        if attempt is None or said.number != attempt.ballot.number:
            return
        ballot = attempt.ballot
        match attempt.phase, said.kind:
            case "preparing", "promise":
                ballot.promises[acceptor] = said.accepted
                if ballot.prepared:
                    self._hold(attempt)
            case "accepting", "accepted":
                ballot.accepted.add(acceptor)
                if ballot.chosen:
                    self._succeed(attempt)
            case (("preparing" | "holding" | "accepting"), "nack"):
                self._yield(attempt, said.promised)

    def _hold(self, attempt: _Attempt) -> None:
        """Have the artificial delay pass, if there is one."""
        self._tell("prepared", attempt)
        if attempt.pace.delay:
            attempt.phase = "holding"
            self._do(SetTimer(attempt.decree, attempt.pace.delay))
        else:
            self._accept(attempt)

    def _yield(self, attempt: _Attempt, promised: Number) -> None:
        """Abandon a number that was outbid (section 2.3), and come back with a higher one."""
        attempt.above = max(attempt.above, promised.round)
        self._tell("outbid", attempt, by=list(promised))
        if attempt.pace.backoff:
            attempt.phase = "yielding"
            self._do(SetTimer(attempt.decree, next(attempt.waits)))
        else:
            self._prepare(attempt)

    def _succeed(self, attempt: _Attempt) -> None:
        """Know what is chosen, and tell who waits."""
        number, value = list(attempt.ballot.number), attempt.proposed
        self._tell("chosen", attempt, value=value, rounds=attempt.rounds)
        told = {"decree": attempt.decree, "value": value, "number": number}
        for request, _ in attempt.requests:
            self._do(Reply(request, {**told, "rounds": attempt.rounds}))
        self._forget(attempt)

    def _give_up(self, attempt: _Attempt) -> None:
        self._tell("gave_up", attempt, rounds=attempt.rounds)
        self._do(*self._ends(attempt))
        self._forget(attempt)

    def _ends(self, attempt: _Attempt) -> Iterator[Effect]:
        """Tell who waits that it did not come about: unknown, if the value was ever proposed."""
        why = f"no majority in {attempt.rounds} rounds"
        for request, value in attempt.requests:
            if value in attempt.exposed:
                yield Reply(request, {"unknown": f"{why}; the value may be chosen yet"})
            else:
                yield Reply(request, {"failed": f"{why}; the value was not proposed to anybody"})

    def _forget(self, attempt: _Attempt) -> None:
        self._do(CancelTimer(attempt.decree))
        del self._attempts[attempt.decree]

    # Effects

    def _tell(self, event: str, attempt: _Attempt, **fields: object) -> None:
        number = list(attempt.ballot.number)
        self._do(Emit(event, {"decree": attempt.decree, "number": number, **fields}))

    def _do(self, *effects: Effect) -> None:
        self._effects += effects

    def _finish(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

"""The judges are judged: cores that are wrong on purpose are found out, within 1000 seeds."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from apps.kit.effects import Effect, Persist
from apps.paxos.acceptor import Acceptor
from apps.paxos.core import ZERO, Proposal, Read, Tally, Vote
from apps.paxos.learner import Learner
from apps.paxos.messages import Word
from apps.paxos.proposer import Pace, Proposer, _Attempt
from lab.simulator.scenario import Scenario
from tests.simulation.test_paxos import judge, play


class ForgetsItsPromise(Acceptor):
    """Knows after a restart what it accepted, and no longer what it promised."""

    def __init__(self, learners: Sequence[str], read: Read) -> None:
        super().__init__(learners, read)
        self._promised_in_this_life: set[str] = set()

    def _vote(self, decree: str) -> Vote:
        vote = super()._vote(decree)
        return vote if decree in self._promised_in_this_life else Vote(ZERO, vote.accepted)

    def _keep(self, sender: str, said: Word, vote: Vote, new: Vote) -> Iterator[Effect]:
        self._promised_in_this_life.add(said.decree)
        return super()._keep(sender, said, vote, new)


class AcceptsBelowItsPromise(Acceptor):
    """Accepts whatever is proposed."""

    def _accept(self, sender: str, said: Word, vote: Vote) -> Iterator[Effect]:
        return super()._accept(sender, said, Vote(ZERO, vote.accepted))


class ForgetsWhatItAccepted(Acceptor):
    """Says, when it promises, that it has accepted nothing."""

    def _prepare(self, sender: str, said: Word, vote: Vote) -> Iterator[Effect]:
        return super()._prepare(sender, said, Vote(vote.promised))


class AnswersBeforeItPersists(Acceptor):
    """Makes its word durable last: after a crash in between, it never gave it."""

    def receive(self, now: float, sender: str, message: Mapping[str, Any]) -> Iterator[Effect]:
        effects = super().receive(now, sender, message)
        return iter(sorted(effects, key=lambda effect: isinstance(effect, Persist)))


class AnswersWithoutRoom(Acceptor):
    """Gives its word where it cannot be kept."""

    def receive(self, now: float, sender: str, message: Mapping[str, Any]) -> Iterator[Effect]:
        effects = list(super().receive(now, sender, message))
        for place, effect in enumerate(effects):
            if isinstance(effect, Persist):
                rest = tuple(effects[place + 1 :])
                effects[place] = Persist(effect.key, effect.value, otherwise=rest)
        return iter(effects)


class ProposesItsOwn(Proposer):
    """Ignores what the acceptors have accepted."""

    def _accept(self, attempt: _Attempt) -> None:
        attempt.ballot.promises = dict.fromkeys(attempt.ballot.promises)
        super()._accept(attempt)


class AdoptsTheLowest(Proposer):
    """Takes some value that was accepted, and not the one of the highest number."""

    def _accept(self, attempt: _Attempt) -> None:
        told = [proposal for proposal in attempt.ballot.promises.values() if proposal]
        attempt.ballot.promises = {"": min(told)} if told else {}
        super()._accept(attempt)


class ForgetsItsNumbers(Proposer):
    """Begins with its first round again, after each restart."""

    def __init__(
        self, id_: int, acceptors: Sequence[str], read: Read, rng: random.Random, pace: Pace
    ) -> None:
        super().__init__(id_, acceptors, read, rng, pace)
        self._round = 0


class ContentWithHalf(Proposer):
    """Takes one acceptor too few for a majority."""

    def __init__(
        self, id_: int, acceptors: Sequence[str], read: Read, rng: random.Random, pace: Pace
    ) -> None:
        super().__init__(id_, acceptors, read, rng, pace)
        self._quorum = max(1, self._quorum - 1)


class NeverComesBack(Proposer):
    """Gives up for good when it is outbid."""

    def _prepare(self, attempt: _Attempt) -> None:
        if attempt.rounds == 0:
            super()._prepare(attempt)


class CountsNumbersTogether(Learner):
    """Takes votes by different numbers for a majority."""

    def _count(self, decree: str, acceptor: str, vote: Proposal) -> None:
        tally = self._tallies.setdefault(decree, Careless(self._quorum))
        if tally.count(acceptor, vote):
            self._learn(decree, vote)


class Careless(Tally):
    """Counts who has accepted anything."""

    def count(self, acceptor: str, proposal: Proposal) -> bool:
        super().count(acceptor, proposal)
        return len(self.votes) >= self.quorum


class BelievesOneAcceptor(Learner):
    """Takes what one acceptor accepted for chosen."""

    def _count(self, decree: str, acceptor: str, vote: Proposal) -> None:
        del acceptor
        self._learn(decree, vote)


@pytest.mark.parametrize(
    ("makes", "claims"),
    [
        ({"acceptor": ForgetsItsPromise}, {"promises"}),
        ({"acceptor": AcceptsBelowItsPromise}, {"promises"}),
        ({"acceptor": ForgetsWhatItAccepted}, {"one value", "one story"}),
        ({"acceptor": AnswersBeforeItPersists}, {"promises", "one value"}),
        ({"acceptor": AnswersWithoutRoom}, {"promises", "one value", "one story", "none untold"}),
        ({"proposer": ProposesItsOwn}, {"one value", "one story"}),
        ({"proposer": AdoptsTheLowest}, {"one value", "one story"}),
        ({"proposer": ForgetsItsNumbers}, {"numbers"}),
        ({"proposer": ContentWithHalf}, {"one value", "one story", "none untold"}),
        ({"proposer": NeverComesBack}, {"progress"}),
        ({"learner": CountsNumbersTogether}, {"one story"}),
        ({"learner": BelievesOneAcceptor}, {"one story"}),
    ],
    ids=lambda case: next(iter(case.values())).__name__ if isinstance(case, dict) else "",
)
def test_judges_find_a_core_that_is_wrong(makes: Mapping[str, Any], claims: set[str]) -> None:
    mutant = Scenario(lambda seed: play(seed, **makes), judge)
    violation = mutant.first_violation(range(1000))
    assert violation is not None
    assert violation.claim in claims
    assert violation.finding.witness

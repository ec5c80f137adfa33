"""The judges are judged: cores that are wrong on purpose are found out, within 1000 seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from apps.kit.effects import Effect
from apps.kit.link import PeerUp
from apps.lamport_clock.clocks import LamportClock, Vector, VectorClock
from apps.lamport_clock.core import LamportNode
from apps.lamport_clock.mutex import RequestQueue
from lab.simulator.scenario import Scenario
from tests.simulation.test_lamport_clock import Make, judge_all, play


class Impatient(RequestQueue):
    """Does not wait for the answer of one peer."""

    def my_turn(self) -> bool:
        first = next(iter(self._heard))
        return (
            self.mine is not None
            and all(
                peer == first or (time, peer) > (self.mine, self._me)
                for peer, time in self._heard.items()
            )
            and self.requests[0] == (self.mine, self._me)
        )


class Loyal(RequestQueue):
    """Goes on believing what a dead life of a peer said."""

    def forget(self, peer: str) -> None:
        """Nothing is forgotten."""


class DeafClock(LamportClock):
    """Does not advance on a receipt (IR2 is broken)."""

    def receive(self, time: int) -> int:
        del time
        return self.tick()


class DeafVector(VectorClock):
    """Does not take over what a message knew."""

    def receive(self, vector: Vector) -> dict[str, int]:
        del vector
        return self.tick()


class Mutant(LamportNode):
    """A node that forgets some of what it persisted, or that says nothing to a restarted peer."""

    forgets: tuple[str, ...] = ()

    def __init__(self, node: str, peers: list[str], stored: Mapping[str, Any]) -> None:
        super().__init__(
            node, peers, {key: value for key, value in stored.items() if key not in self.forgets}
        )


class ImpatientNode(Mutant):
    def __init__(self, node: str, peers: list[str], stored: Mapping[str, Any]) -> None:
        super().__init__(node, peers, stored)
        self._mutex = Impatient(node, self._process.links)


class LoyalNode(Mutant):
    def __init__(self, node: str, peers: list[str], stored: Mapping[str, Any]) -> None:
        super().__init__(node, peers, stored)
        self._mutex = Loyal(node, self._process.links)


class DeafNode(Mutant):
    def __init__(self, node: str, peers: list[str], stored: Mapping[str, Any]) -> None:
        super().__init__(node, peers, stored)
        self._process.clock = DeafClock(self._process.clock.time)


class DeafVectorNode(Mutant):
    def __init__(self, node: str, peers: list[str], stored: Mapping[str, Any]) -> None:
        super().__init__(node, peers, stored)
        self._process._vector = DeafVector(self._process._vector.process)


class ClockForgotten(Mutant):
    forgets = ("ceiling",)


class IncarnationForgotten(Mutant):
    forgets = ("incarnation",)


class LeaseForgotten(Mutant):
    forgets = ("lease",)


class SilentToNewcomers(Mutant):
    def _meet(self, peer: str, up: PeerUp) -> None:
        super()._meet(peer, replace(up, restarted=False))


class SpeaksBeforeItPersists(Mutant):
    """Does what is durable last: a crash within a batch loses what was already told."""

    def start(self, now: float) -> list[Effect]:
        return persist_last(super().start(now))

    def receive(self, now: float, sender: str, message: Mapping[str, Any]) -> list[Effect]:
        return persist_last(super().receive(now, sender, message))


def persist_last(effects: list[Effect]) -> list[Effect]:
    return sorted(effects, key=lambda effect: type(effect).__name__ == "Persist")


@pytest.mark.parametrize(
    ("make", "claims"),
    [
        (ImpatientNode, {"mutual_exclusion", "granted_in_order"}),
        (LoyalNode, {"mutual_exclusion", "granted_in_order", "every_request_granted"}),
        (DeafNode, {"clock_condition"}),
        (DeafVectorNode, {"vector_condition"}),
        (ClockForgotten, {"clock_condition"}),
        (IncarnationForgotten, {"clock_condition", "vector_condition", "every_request_granted"}),
        (LeaseForgotten, {"clients"}),
        (SilentToNewcomers, {"mutual_exclusion", "granted_in_order", "every_request_granted"}),
        (SpeaksBeforeItPersists, {"clock_condition", "vector_condition", "clients"}),
    ],
)
def test_judges_find_a_core_that_is_wrong(make: Make, claims: set[str]) -> None:
    mutant = Scenario(lambda seed: play(seed, make), judge_all)
    violation = mutant.first_violation(range(1000))
    assert violation is not None
    assert violation.claim in claims
    assert violation.finding.witness

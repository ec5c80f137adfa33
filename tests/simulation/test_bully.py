"""The bully election over a thousand seeded schedules.

Where the paper's assumptions hold (no message lost, all in time, nobody paused): its Assertions 1
and 2. Where they do not: what the epochs promise, always, and one coordinator once it is calm.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from apps.bully.claims import (
    deposed_are_refused,
    epochs_grow,
    one_coordinator_an_epoch,
    settled,
    two_coordinators,
)
from apps.bully.core import Bully
from apps.bully.messages import Word
from apps.kit.claims import Finding, History
from apps.kit.effects import Effect, Send
from lab.faults import nemesis
from lab.faults.aims import Aims
from lab.simulator.clients import Outcome
from lab.simulator.faults import NAMES, Lab
from lab.simulator.network import Wire, between
from lab.simulator.scenario import Scenario, inject, random_faults, scenario
from lab.simulator.simulation import Simulation
from tests.shares import share

SEEDS = 500
TROUBLE = 15.0
"""Virtual seconds of faults and orders."""
CALM = 20.0
"""Virtual seconds in which one coordinator is found again, of a network that loses much, too."""
FIVE = ("n1", "n2", "n3", "n4", "n5")

Make = Callable[[str, Sequence[str], Mapping[str, Any]], Bully]


def world(nodes: Sequence[str], seed: int, wire: Wire | None = None, make: Make = Bully) -> Any:
    return Simulation(
        nodes,
        lambda node, stored, _: make(node, nodes, stored),
        seed=seed,
        wire=wire,
        pattern="bully",
        encode=False,
    )


def named(count: int) -> list[str]:
    return [f"n{number + 1}" for number in range(count)]


def commanded(simulation: Simulation, rng: random.Random, orders: int, until: float) -> None:
    """Have any nodes told to give orders: most of them do not lead, and say so."""
    for number in range(orders):
        body = {"f": "order", "text": f"order {number}"}
        simulation.request(rng.choice(simulation.nodes), body, after=rng.uniform(0, until))


def judge(history: History) -> dict[str, Finding]:
    history = list(history)
    return {
        "one coordinator": one_coordinator_an_epoch(history),
        "epochs": epochs_grow(history),
        "deposed": deposed_are_refused(history),
        "settled": settled(history, sorted({e["node"] for e in history if "epoch" in e})),
    }


def assertion_1(history: History) -> Finding:
    """At any instant, all nodes that are normal have one coordinator (the paper's section III).

    A simulation knows the instant. Who crashed is not normal.
    """
    coordinators: dict[str, Any] = {}
    for event in history:
        if event["event"] in ("crash", "election", "halt", "halted"):
            coordinators.pop(event["node"], None)
        elif event["event"] in ("lead", "follow"):
            coordinators[event["node"]] = event
            first = next(iter(coordinators.values()))
            if first["epoch"] != event["epoch"]:
                return Finding(False, "two are normal in different groups", (first, event))
    return Finding(True, "at every instant those that were normal were of one group")


def judge_by_the_paper(history: History) -> dict[str, Finding]:
    history = list(history)
    return {**judge(history), "Assertion 1": assertion_1(history)}


def play(seed: int, make: Make = Bully) -> Simulation:
    """One to six nodes under all kinds of faults, and orders."""
    rng = random.Random(seed)
    nodes = named(rng.randint(1, 6))
    wire = Wire(
        delay=(0.001, rng.choice((0.01, 0.05))),
        loss=rng.choice((0.0, 0.05, 0.15)),
        duplicate=rng.choice((0.0, 0.1, 0.3)),
    )
    simulation: Simulation = world(nodes, seed, wire, make)
    inject(simulation, random_faults(rng, nodes, TROUBLE, crashes=5))
    commanded(simulation, rng, 30, TROUBLE)
    simulation.run(TROUBLE + CALM)
    return simulation


@scenario(judge)
def election_under_faults(seed: int) -> Simulation:
    return play(seed)


@scenario(judge_by_the_paper)
def election_as_the_paper_assumes(seed: int) -> Simulation:
    """Crashes and returns alone, and every answer within 2T: assumptions 1 to 9 hold."""
    rng = random.Random(seed)
    nodes = named(rng.randint(2, 6))
    simulation: Simulation = world(nodes, seed, Wire(delay=(0.001, 0.19), fifo=True))
    inject(simulation, random_faults(rng, nodes, TROUBLE, crashes=8, cuts=0, pauses=0))
    commanded(simulation, rng, 20, TROUBLE)
    simulation.run(TROUBLE + CALM)
    return simulation


@scenario(judge)
def election_under_a_nemesis(seed: int) -> Simulation:
    """What befalls hosts in `run-demo --nemesis`, from the same seeds."""
    simulation: Simulation = world(FIVE, seed)
    aims = Aims([(node, "bully_node") for node in FIVE], FIVE)
    schedule = nemesis.draw(seed, aims, NAMES, 20.0)
    Lab(simulation).schedule(schedule.planned)
    commanded(simulation, random.Random(seed), 40, schedule.seconds)
    simulation.run(schedule.seconds + CALM)
    return simulation


def test_holds_what_the_paper_asserts_where_it_assumes() -> None:
    """Garcia-Molina 1982, section III: Assertions 1 and 2."""
    election_as_the_paper_assumes.check(share(range(SEEDS), 3))


def test_epochs_hold_under_loss_reordering_partition_pause_and_restart() -> None:
    election_under_faults.check(share(range(SEEDS), 3))


def test_holds_under_what_befalls_hosts() -> None:
    election_under_a_nemesis.check(share(range(60), 3))


def test_faults_and_orders_did_happen() -> None:
    """The schedules above are not empty."""
    seen = {event["event"] for seed in range(100) for event in play(seed).trace}
    trouble = {"crash", "restart", "pause", "resume", "cut", "heal", "lost"}
    assert trouble | {"election", "halt", "halted", "lead", "follow"} <= seen
    assert {"order", "obey", "refuse", "ok", "fail"} <= seen


def parted(make: Make = Bully) -> Simulation:
    """Two nodes cut off from three, each side with a coordinator; then one network again."""
    simulation: Simulation = world(FIVE, 1, make=make)
    simulation.at(5.0, simulation.cut, between(FIVE[:3], FIVE[3:]))
    simulation.at(15.0, simulation.heal)
    return simulation


def test_two_coordinate_in_a_partition_and_one_again_after_it() -> None:
    """The known limit: silence is no proof of death where a network may part."""
    simulation = parted()
    simulation.run(25.0)
    shown = two_coordinators(simulation.trace)
    assert shown.holds
    assert [event["node"] for event in shown.witness] == ["n5", "n3", "n5"]
    assert settled(simulation.trace, FIVE).holds


def test_assertion_1_falls_in_a_partition() -> None:
    simulation = parted()
    simulation.run(14.0)
    assert assertion_1(simulation.trace).holds is False


def test_a_paused_coordinator_is_obeyed_by_nobody_when_it_goes_on() -> None:
    """Its order waits in its queue while another one is elected: it is of an epoch that is over."""
    simulation: Simulation = world(FIVE, 1)
    outcomes: list[Outcome] = []
    simulation.run(5.0)
    simulation.pause("n5")
    simulation.run(5.01)
    simulation.request("n5", {"f": "order", "text": "late"}, after=0.0, then=outcomes.append)
    simulation.run(12.0)
    simulation.resume("n5")
    simulation.run(20.0)
    assert outcomes
    obeyed = {e["text"] for e in simulation.trace if e["event"] == "obey"}
    assert "late" not in obeyed
    assert all(finding.holds is not False for finding in judge(simulation.trace).values())


@pytest.mark.parametrize("count", [1, 2, 9])
def test_any_number_of_nodes_finds_its_highest(count: int) -> None:
    simulation: Simulation = world(named(count), 1)
    simulation.run(10.0)
    assert settled(simulation.trace, named(count)).holds


# The judges are judged: cores that are wrong on purpose are found out.


class Forgetful(Bully):
    """Does not know after a crash what it had promised."""

    def __init__(self, node: str, nodes: Sequence[str], stored: Mapping[str, Any]) -> None:
        del stored
        super().__init__(node, nodes, {})


class Obedient(Bully):
    """Obeys whoever orders."""

    def _on_order(self, peer: str, said: Word) -> None:
        del peer
        self._tell("obey", epoch=list(said.epoch), number=said.number, text=said.text)


class Content(Bully):
    """Takes everything for normal, so that nothing is ever noticed."""

    def _on_are_you_normal(self, peer: str, said: Word) -> None:
        del said
        self._do(Send(peer, self._word("normal")))


class SpeaksBeforeItPersists(Bully):
    """Makes its epoch durable last: a crash in between, and it uses it again."""

    def _finish(self) -> list[Effect]:
        return sorted(super()._finish(), key=lambda effect: type(effect).__name__ == "Persist")


@pytest.mark.parametrize(
    ("make", "claims"),
    [
        (Forgetful, {"epochs", "one coordinator", "settled"}),
        (Obedient, {"deposed"}),
        (Content, {"settled"}),
        (SpeaksBeforeItPersists, {"epochs", "one coordinator"}),
    ],
)
def test_judges_find_a_core_that_is_wrong(make: Make, claims: set[str]) -> None:
    violation = Scenario(partial(play, make=make), judge).first_violation(range(300))
    assert violation is not None
    assert violation.claim in claims
    assert violation.finding.witness

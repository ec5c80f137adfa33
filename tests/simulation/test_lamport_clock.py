"""Lamport's clocks and mutual exclusion over thousands of seeded schedules of faults.

Safety always: the Clock Condition, the vectors, conditions I and II of the paper. Liveness
(condition III) when the faults end and every node is up. `test_lamport_mutants` judges the judges.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from apps.kit.claims import Finding, History
from apps.lamport_clock.claims import concurrent_pairs, judge
from apps.lamport_clock.core import LamportNode
from lab.faults import nemesis
from lab.faults.aims import Aims
from lab.simulator.clients import Outcome
from lab.simulator.faults import NAMES, Lab
from lab.simulator.network import Wire
from lab.simulator.scenario import inject, random_faults, scenario
from lab.simulator.simulation import Simulation
from tests.shares import share

SEEDS = 2000
TROUBLE = 10.0
"""Virtual seconds of faults and requests."""
PATIENCE = 300.0
"""Virtual time by which every request must have its outcome."""

LONGEST_HOLD_HERE = 2.0
"""Virtual seconds; also the longest silence of a node that died in a hold."""

Make = Callable[[str, list[str], Mapping[str, Any]], LamportNode]


def clients_exclude_each_other(history: History) -> Finding:
    """No client is told that it holds before another's hold is over, crashed nodes or not.

    In a simulation time is true, so the clients may be judged by it.
    """
    held_until, holder, fence = -1.0, None, None
    for event in history:
        if event["event"] == "ok" and event["f"] == "acquire":
            if event["t"] < held_until:
                assert holder is not None
                return Finding(False, "granted while another client held", (holder, event))
            held_until = event["t"] + event["value"]["hold"]
            holder, fence = event, event["value"]["fence"]
        elif (event["event"], event.get("f")) == ("invoke", "release"):
            held_until = event["t"] if event["value"]["fence"] == fence else held_until
    return Finding(True, "each hold was over before the next")


def judge_all(history: History) -> dict[str, Finding]:
    history = list(history)
    return {**judge(history), "clients": clients_exclude_each_other(history)}


def play(seed: int, make: Make = LamportNode, *, encode: bool = False) -> Simulation:
    """Two to five nodes under faults, and clients who acquire, release or forget to, and tell."""
    rng = random.Random(seed)
    nodes = [f"n{number + 1}" for number in range(rng.randint(2, 5))]
    simulation = Simulation(
        nodes,
        lambda node, stored, _: make(node, [peer for peer in nodes if peer != node], stored),
        seed=seed,
        wire=Wire(
            delay=(0.001, rng.choice((0.01, 0.1, 0.5))),
            loss=rng.choice((0.0, 0.1, 0.3, 0.5)),
            duplicate=rng.choice((0.0, 0.1, 0.3)),
        ),
        pattern="lamport_clock",
        encode=encode,
    )
    inject(simulation, random_faults(rng, nodes, TROUBLE, crashes=5))
    for _ in range(rng.randint(1, 12)):
        acquire(simulation, rng, rng.choice(nodes))
    for _ in range(rng.randint(0, 6)):
        one, other = rng.sample(nodes, 2)
        at = rng.uniform(0, TROUBLE)
        simulation.request(one, {"f": "tell", "to": other, "text": "hello"}, after=at)
        simulation.request(other, {"f": "event", "name": "lunch"}, after=at)
    simulation.run(TROUBLE)
    simulation.run_until(lambda: not simulation.open_requests, PATIENCE)
    simulation.run(simulation.now + LONGEST_HOLD_HERE)
    return simulation


def acquire(simulation: Simulation, rng: random.Random, node: str, until: float = TROUBLE) -> None:
    """Acquire some time; release in most cases before the hold ends of itself."""
    body = {"f": "acquire", "hold": rng.uniform(0.05, LONGEST_HOLD_HERE)}
    if rng.random() < 0.2:
        body["wait"] = rng.uniform(0.1, 5.0)
    released = rng.uniform(0.0, 0.3) if rng.random() < 0.6 else None

    def granted(outcome: Outcome) -> None:
        if outcome.kind == "ok" and released is not None:
            release = {"f": "release", "fence": outcome.value["fence"]}
            simulation.request(node, release, after=released)

    simulation.request(node, body, after=rng.uniform(0, until), then=granted)


@scenario(judge_all)
def mutex_under_faults(seed: int) -> Simulation:
    return play(seed)


@scenario(judge_all)
def mutex_through_json(seed: int) -> Simulation:
    return play(seed, encode=True)


@scenario(judge_all)
def mutex_under_a_nemesis(seed: int) -> Simulation:
    """What befalls hosts in `run-demo --nemesis`, from the same seeds."""
    simulation = peers("n1", "n2", "n3", "n4", seed=seed)
    aims = Aims([(node, "lamport_clock_node") for node in simulation.nodes], simulation.nodes)
    schedule = nemesis.draw(seed, aims, NAMES, 20.0)
    Lab(simulation).schedule(schedule.planned)
    rng = random.Random(seed)
    for _ in range(30):
        acquire(simulation, rng, rng.choice(simulation.nodes), schedule.seconds)
    simulation.run(schedule.seconds)
    simulation.run_until(lambda: not simulation.open_requests, PATIENCE)
    simulation.run(simulation.now + LONGEST_HOLD_HERE)
    return simulation


def test_holds_under_what_befalls_hosts() -> None:
    mutex_under_a_nemesis.check(share(range(100), 3))


def test_holds_under_loss_duplication_reordering_partition_and_restart() -> None:
    """Lamport 1978: Clock Condition; conditions I, II and III of "Ordering the Events Totally"."""
    mutex_under_faults.check(share(range(SEEDS), 3))


def test_holds_when_messages_cross_as_json() -> None:
    mutex_through_json.check(range(SEEDS, SEEDS + 200))


def test_faults_and_grants_did_happen() -> None:
    """The schedules above are not empty: all kinds of trouble came, and holds were granted."""
    seen = {event["event"] for seed in range(100) for event in play(seed).trace}
    kinds = {
        "crash",
        "restart",
        "pause",
        "resume",
        "cut",
        "heal",
        "lost",
        "enter",
        "exit",
        "withdraw",
        "lease_wait",
    }
    assert kinds | {"unknown", "fail", "ok", "peer_up", "local"} <= seen


def test_number_does_not_tell_what_the_vector_does() -> None:
    """The known limit: C(a) < C(b) without a -> b is shown by every ordinary run."""
    found = concurrent_pairs(play(1).trace)
    assert found.holds
    low, high = found.witness
    assert low["lamport"] < high["lamport"]


def peers(*nodes: str, seed: int = 1) -> Simulation:
    return Simulation(
        nodes,
        lambda node, stored, _: LamportNode(node, [p for p in nodes if p != node], stored),
        seed=seed,
        pattern="lamport_clock",
    )


def trio() -> Simulation:
    return peers("n1", "n2", "n3")


def test_nobody_enters_while_one_node_is_paused_and_none_is_lost() -> None:
    simulation = trio()
    outcomes: list[Outcome] = []
    body = {"f": "acquire", "hold": 1.0}
    simulation.at(1.0, simulation.pause, "n3")
    simulation.request("n1", body, after=2.0, then=outcomes.append)
    simulation.run(10.0)
    assert not outcomes
    simulation.resume("n3")
    simulation.run(20.0)
    (granted,) = outcomes
    assert granted.kind == "ok"
    assert all(finding.holds for finding in judge(simulation.trace).values())


def test_nobody_enters_while_one_node_is_down() -> None:
    """The algorithm's known limit: rule 5 waits for a word of every process."""
    simulation = trio()
    outcomes: list[Outcome] = []
    simulation.at(1.0, simulation.crash, "n3")
    body = {"f": "acquire", "hold": 1.0, "wait": 5.0}
    simulation.request("n1", body, after=2.0, then=outcomes.append)
    simulation.at(20.0, simulation.restart, "n3")
    simulation.request("n1", body, after=18.0, then=outcomes.append)
    simulation.run(30.0)
    refused, granted = outcomes
    assert refused == Outcome("fail", "not granted in the time to wait: no answer of n3")
    assert granted.kind == "ok"


def test_node_that_died_in_a_hold_is_silent_until_the_hold_is_over() -> None:
    simulation = trio()
    body = {"f": "acquire", "hold": 10.0}
    simulation.request("n1", body)
    simulation.at(1.0, simulation.crash, "n1")
    simulation.at(2.0, simulation.restart, "n1")
    simulation.request("n1", body, after=3.0)
    simulation.request("n2", body, after=3.0)
    simulation.run(20.0)
    first, second = (event for event in simulation.trace if event["event"] == "enter")
    (refusal,) = (event for event in simulation.trace if event["event"] == "fail")
    assert (first["node"], second["node"]) == ("n1", "n2")
    assert second["t"] > 2.0 + 10.0
    assert refusal["value"].startswith("n1 restarted while a client held the resource")

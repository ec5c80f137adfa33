"""Paxos over thousands of seeded schedules: crashes, loss, duplication, reordering, partition.

`PAXOS_SCHEDULES=10000 pytest tests/simulation/test_paxos.py` plays as many as that.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

from apps.kit.claims import Finding, History
from apps.kit.effects import Core
from apps.paxos.acceptor import Acceptor
from apps.paxos.claims import (
    chosen_was_proposed,
    none_is_untold,
    numbers_used_once,
    one_story,
    one_value_chosen,
    promises_kept,
)
from apps.paxos.core import Read
from apps.paxos.learner import Learner
from apps.paxos.proposer import Pace, Proposer
from lab.simulator.network import Wire
from lab.simulator.scenario import inject, random_faults, scenario
from lab.simulator.simulation import Simulation

SCHEDULES = int(os.environ.get("PAXOS_SCHEDULES", "1000"))
ENCODED = 50
"""In one schedule of so many, messages are JSON: that finds what is shared, and is slow."""
TROUBLE = 2.0
"""Virtual seconds of faults and proposals."""
CALM = 12.0
"""Virtual seconds after them, in which what is proposed must be chosen."""
LAST = "last"
"""The decree that is proposed for when all is calm."""
PACE = Pace(answer=0.1, backoff=2.0, patience=1.0)

MakeAcceptor = Callable[[Simulation, str, Sequence[str], Read], Core]


def world(
    seed: int,
    counts: tuple[int, int, int] = (3, 2, 1),
    wire: Wire | None = None,
    *,
    acceptor: type[Acceptor] = Acceptor,
    proposer: type[Proposer] = Proposer,
    learner: type[Learner] = Learner,
    pace: Pace = PACE,
) -> Simulation:
    """So many acceptors a1…, proposers p1…, learners l1…"""
    acceptors, proposers, learners = (
        [f"{kind}{number + 1}" for number in range(count)]
        for kind, count in zip("apl", counts, strict=True)
    )

    def build(node: str, _: object, rng: random.Random) -> Core:
        read: Read = simulation.disks[node].get
        if node[0] == "a":
            return acceptor(learners, read)
        if node[0] == "p":
            return proposer(int(node[1:]), acceptors, read, rng, pace)
        return learner(acceptors, proposers, answer=0.1, patience=1.0)

    nodes = [*acceptors, *proposers, *learners]
    encode = seed % ENCODED == 0
    simulation = Simulation(nodes, build, seed=seed, wire=wire, pattern="paxos", encode=encode)
    return simulation


def of(simulation: Simulation, kind: str) -> list[str]:
    return [node for node in simulation.nodes if node[0] == kind]


def judge(history: History) -> dict[str, Finding]:
    history = list(history)
    (first,) = [event for event in history if event["event"] == "population"]
    return {
        "one value": one_value_chosen(history, first["acceptors"]),
        "one story": one_story(history),
        "none untold": none_is_untold(history),
        "proposed": chosen_was_proposed(history),
        "promises": promises_kept(history),
        "numbers": numbers_used_once(history),
        "progress": progress(history),
    }


def progress(history: History) -> Finding:
    """When all is calm, what is proposed is chosen, and every learner knows it."""
    asked = {e["op"]: e for e in history if e["event"] == "invoke" and e["value"]["decree"] == LAST}
    for event in history:
        if event["event"] == "ok" and event["op"] in asked and event["value"].get("value"):
            del asked[event["op"]]
    return Finding(not asked, f"{len(asked)} were not answered", tuple(asked.values()))


def play(seed: int, **makes: Any) -> Simulation:
    """One to five acceptors, some proposers and learners, under all kinds of faults."""
    rng = random.Random(seed)
    crowded = rng.random() < 1 / 4
    counts = (rng.choice((1, 2, 3, 3, 3, 4, 5)), rng.choice((1, 2, 2, 3)), rng.choice((1, 1, 2)))
    if crowded:
        counts = (rng.choice((3, 4, 5)), 3, 1)
    wire = Wire(
        delay=(0.001, rng.choice((0.01, 0.05, 0.3))),
        loss=rng.choice((0.0, 0.05, 0.2)),
        duplicate=rng.choice((0.0, 0.1, 0.3)),
    )
    simulation = world(seed, counts, wire, **makes)
    simulation.record("population", "world", "", acceptors=counts[0])
    inject(simulation, random_faults(rng, simulation.nodes, TROUBLE, crashes=5, cuts=4))
    fill_a_disk(simulation, rng)
    for number in range(rng.randint(5, 10) if crowded else rng.randint(2, 6)):
        value = {"decree": "d" if crowded else rng.choice("de"), "value": f"v{number}"}
        delay = {"delay": rng.choice((0.0, 0.0, 0.1))}
        proposer, after = rng.choice(of(simulation, "p")), rng.uniform(0, TROUBLE)
        simulation.request(proposer, {"f": "propose", **value, **delay}, after=after)
    for _ in range(rng.randint(1, 4)):
        ask = {"f": "chosen", "decree": rng.choice(("d", "e"))}
        learner, after = rng.choice(of(simulation, "l")), rng.uniform(0, TROUBLE + 1.0)
        simulation.request(learner, ask, after=after)
    simulation.at(TROUBLE, calmly, simulation)
    simulation.run(TROUBLE + CALM)
    return simulation


def fill_a_disk(simulation: Simulation, rng: random.Random) -> None:
    """In one schedule of three an acceptor's or a proposer's disk has no room for a time."""
    if rng.random() < 1 / 3:
        node = rng.choice([*of(simulation, "a"), *of(simulation, "p")])
        start = rng.uniform(0, TROUBLE)
        simulation.at(start, simulation.full.add, node)
        simulation.at(rng.uniform(start, TROUBLE), simulation.full.discard, node)


def calmly(simulation: Simulation) -> None:
    """Propose, now that all is calm, by every proposer; then ask every learner."""
    for proposer in of(simulation, "p"):
        body = {"f": "propose", "decree": LAST, "value": f"of {proposer}", "patience": CALM}
        simulation.request(proposer, body)
    for learner in of(simulation, "l"):
        body = {"f": "chosen", "decree": LAST}
        simulation.request(learner, body, after=CALM - 1.5)


@scenario(judge)
def paxos_under_faults(seed: int) -> Simulation:
    return play(seed)


def test_one_value_is_chosen_whatever_befalls_anybody() -> None:
    """Lamport 2001, section 2.1, and progress once it is calm."""
    paxos_under_faults.check(range(SCHEDULES))

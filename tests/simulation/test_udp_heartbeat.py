"""The failure detectors over thousands of seeded schedules of loss, reordering, crashes and cuts.

The judges work out from the trace alone which heartbeats were signs of life, and when; what the
monitor says must follow from that, to the millisecond. Then the comparison: how often does each
detector suspect the living, on a network that loses?
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from apps.kit.claims import Event, Finding, History
from apps.kit.effects import Core
from apps.udp_heartbeat.claims import (
    MONITOR,
    SENDER,
    all_are_alive,
    false_suspicions,
    healthy_are_trusted,
    left_alone,
    signs_of_life,
    silent_are_suspected,
)
from apps.udp_heartbeat.core import Monitor
from apps.udp_heartbeat.detectors import Detector, FixedTimeout, PhiAccrual
from apps.udp_heartbeat.heart import Heart
from apps.udp_heartbeat.tracking import Rules, Track, Turn
from lab.faults import nemesis
from lab.faults.aims import Aims
from lab.simulator.faults import KNOWN, NAMES, Lab
from lab.simulator.network import Wire
from lab.simulator.scenario import inject, random_faults, scenario
from lab.simulator.simulation import Simulation
from tests.shares import share

SEEDS = 1000
TROUBLE = 30.0
"""Virtual seconds of faults."""
RULES = Rules()
INTERVAL = RULES.phi.interval
SLACK = 1e-9
SENDERS = ("n1", "n2", "n3", "n4")


def build(node: str, durable: Mapping[str, Any], _rng: random.Random) -> Core:
    return Monitor(RULES) if node == "hub" else Heart(node, ["hub"], INTERVAL, durable)


def world(seed: int, wire: Wire) -> Simulation:
    return Simulation(
        ["hub", *SENDERS], build, seed=seed, wire=wire, pattern="udp_heartbeat", encode=False
    )


def heard_at(history: History) -> dict[str, list[float]]:
    """Give when each sender was heard anew."""
    return {peer: [e["t"] for e in signs] for peer, signs in signs_of_life(history).items()}


def turns(history: History, peer: str, detector: str) -> list[Event]:
    return [
        e
        for e in history
        if e["event"] == "transition" and (e["peer"], e["detector"]) == (peer, detector)
    ]


def fixed_follows_from_silence(history: History) -> Finding:
    """`fixed` suspects exactly when a sender was silent for the timeout, and says dead as due."""
    history = list(history)
    end = history[-1]["t"]
    for peer, heard in heard_at(history).items():
        expected = []
        for last, following in zip(heard, [*heard[1:], end], strict=True):
            suspect = last + RULES.timeout
            for state, due in (("suspected", suspect), ("dead", suspect + RULES.dead_after)):
                if due < following - SLACK:
                    expected.append((state, due))
        said = [
            (e["state"], e["t"]) for e in turns(history, peer, "fixed") if e["state"] != "alive"
        ]
        said = [(state, t) for state, t in said if t < end - SLACK]
        expected = [(state, t) for state, t in expected if t < end - SLACK]
        if [s for s, _ in said] != [s for s, _ in expected] or any(
            abs(a - b) > SLACK for (_, a), (_, b) in zip(said, expected, strict=True)
        ):
            return Finding(False, f"of {peer} it said {said}; due was {expected}")
    return Finding(True, "each suspicion and each death came when due")


def phi_keeps_its_ceiling(history: History) -> Finding:
    """`phi` suspects no later than its ceiling, and not before its least horizon."""
    history = list(history)
    least = 0.5 * INTERVAL + RULES.phi.pause
    for peer, heard in heard_at(history).items():
        suspected = [e for e in turns(history, peer, "phi") if e["state"] == "suspected"]
        for last, following in zip(heard, [*heard[1:], history[-1]["t"]], strict=True):
            inside = [e for e in suspected if last < e["t"] < following]
            if not inside and following - last > RULES.phi.ceiling + SLACK:
                return Finding(False, f"{peer} was silent from {last} to {following}, unsuspected")
            if inside and not least <= inside[0]["t"] - last <= RULES.phi.ceiling + SLACK:
                return Finding(False, f"{peer} was last heard at {last}", (inside[0],))
    return Finding(True, "no silence beyond the ceiling went unsuspected")


def only_life_makes_alive(history: History) -> Finding:
    """Nothing but a newer heartbeat, at the moment of its arrival, makes a sender alive."""
    history = list(history)
    for peer, heard in heard_at(history).items():
        moments = set(heard)
        for detector in ("fixed", "phi"):
            for turn in turns(history, peer, detector):
                if turn["state"] == "alive" and turn["t"] not in moments:
                    return Finding(False, f"{peer} came to life by itself", (turn,))
    return Finding(True, "every return followed from a newer heartbeat")


def judge(history: History) -> dict[str, Finding]:
    history = list(history)
    claims = (fixed_follows_from_silence, phi_keeps_its_ceiling, only_life_makes_alive)
    found = {claim.__name__: claim(history) for claim in claims}
    return {**found, "alive": all_are_alive(history, SENDERS)}


def judge_as_on_hosts(history: History) -> dict[str, Finding]:
    """The claims of the workload, over faults that stand in the history as a run's do."""
    history = list(history)
    bounds = {"fixed": RULES.timeout, "phi": RULES.phi.ceiling}
    return {
        "suspected": silent_are_suspected(history, "hub", bounds),
        "trusted": healthy_are_trusted(history, left_alone(history, SENDERS, "hub")),
        "alive": all_are_alive(history, SENDERS),
    }


@scenario(judge)
def detectors_under_faults(seed: int) -> Simulation:
    rng = random.Random(seed)
    wire = Wire(
        delay=(0.001, rng.choice((0.01, 0.1, 0.6))),
        loss=rng.choice((0.0, 0.1, 0.3)),
        duplicate=rng.choice((0.0, 0.2)),
    )
    simulation = world(seed, wire)
    faults = random_faults(rng, ["hub", *SENDERS], TROUBLE, crashes=6, cuts=4)
    inject(simulation, [fault for fault in faults if "hub" not in fault.arguments])
    simulation.run(TROUBLE)
    return settle(simulation)


def settle(simulation: Simulation) -> Simulation:
    """Run on until each sender is alive to both, which loss may put off; judge then."""

    def settled() -> bool:
        return bool(all_are_alive(simulation.trace, SENDERS).holds)

    for _ in range(200):
        simulation.run(simulation.now + 1.0)
        if settled():
            break
    return simulation


@scenario(judge_as_on_hosts)
def detectors_under_a_nemesis(seed: int) -> Simulation:
    """What befalls hosts in `run-demo --nemesis`, the monitor's too, from the same seeds."""
    simulation = world(seed, Wire())
    units = [*((node, SENDER) for node in SENDERS), ("hub", MONITOR)]
    schedule = nemesis.draw(seed, Aims(units, simulation.nodes), NAMES, 30.0)
    Lab(simulation).schedule(schedule.planned)
    simulation.run(schedule.seconds)
    return settle(simulation)


def test_it_holds_under_what_befalls_hosts() -> None:
    detectors_under_a_nemesis.check(share(range(150), 3))


def test_a_nemesis_does_all_that_can_be_simulated() -> None:
    plays = [detectors_under_a_nemesis.play(seed).trace for seed in range(30)]
    begun = [event for trace in plays for event in trace if event["event"] == "inject"]
    assert {event["fault"]["fault"] for event in begun} == set(KNOWN)
    assert any(left_alone(trace, SENDERS, "hub") for trace in plays)


def test_what_the_monitor_says_follows_from_what_it_heard() -> None:
    detectors_under_faults.check(share(range(SEEDS), 3))


def test_there_was_trouble() -> None:
    """The schedules above are not empty."""
    seen: Counter[str] = Counter()
    for seed in range(30):
        trace = detectors_under_faults.play(seed).trace
        seen.update(e["event"] for e in trace)
        seen.update(e["state"] for e in trace if e["event"] == "transition")
    assert {"crash", "restart", "cut", "lost", "restarted", "suspected", "dead"} <= set(seen)


class Gullible(Track):
    """Takes any heartbeat for a sign of life, however old."""

    def hear(self, now: float, incarnation: int, seq: int) -> list[Turn] | None:
        self.incarnation, self.seq = incarnation, seq - 1
        return super().hear(now, incarnation, seq)


class Hasty(Track):
    """Is a little quicker to suspect than it was told."""

    def _detectors(self) -> Iterator[Detector]:
        yield FixedTimeout(RULES.timeout * 0.99)
        yield PhiAccrual(RULES.phi)


@pytest.mark.parametrize("mutant", [Gullible, Hasty])
def test_the_judges_catch_a_wrong_monitor(
    mutant: type[Track], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.udp_heartbeat.core.Track", mutant)
    assert detectors_under_faults.first_violation(range(200)) is not None


@scenario(lambda history: {"trusted": nobody_is_suspected(history)})
def calm(seed: int) -> Simulation:
    simulation = world(seed, Wire(delay=(0.001, 0.2), duplicate=0.3))
    simulation.run(60.0)
    return simulation


def nobody_is_suspected(history: History) -> Finding:
    wrong = [e for e in history if e["event"] == "transition" and e["state"] != "alive"]
    return Finding(not wrong, f"{len(wrong)} suspicions", tuple(wrong[:1]))


def test_the_healthy_are_trusted_though_delays_vary_and_datagrams_double() -> None:
    calm.check(share(range(200), 3))


def lossy(seed: int, loss: float) -> Simulation:
    simulation = world(seed, Wire(delay=(0.001, 0.02), loss=loss))
    simulation.run(120.0)
    return simulation


def errors(loss: float, seeds: range) -> Counter[str]:
    """Count false suspicions by detector: in these worlds everyone lives."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        counts.update(false_suspicions(lossy(seed, loss).trace))
    return counts


def test_phi_suspects_the_living_less_often_where_datagrams_are_lost() -> None:
    """The known limit, and its comparison: with equal patience on a quiet network, phi errs less.

    It pays for it: what it learnt makes it slower to suspect. That is the next test.
    """
    counts = errors(0.4, range(40))
    assert counts["fixed"] > 100
    assert counts["phi"] < counts["fixed"] / 3


def test_phi_pays_for_its_patience_in_time() -> None:
    waits: dict[float, float] = {}
    for loss in (0.0, 0.4):
        simulation = world(1, Wire(loss=loss))
        simulation.at(60.0, simulation.crash, "n1")
        simulation.run(90.0)
        last = heard_at(simulation.trace)["n1"][-1]
        end = [e["t"] for e in turns(simulation.trace, "n1", "phi") if e["state"] == "suspected"]
        waits[loss] = end[-1] - last
    assert waits[0.0] < RULES.timeout * 1.1
    assert waits[0.4] > waits[0.0] * 1.3

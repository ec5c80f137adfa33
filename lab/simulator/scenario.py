"""Scenarios: a simulation drawn from a seed, what befalls it, and what it is judged by.

    @scenario(judge)
    def partitions(seed: int) -> Simulation: ...

    partitions.check(range(1000))     # in a test: the first violation is an error that says all

A violation names the claim, the few events that show it, and one command that replays the seed
(`lab.simulator.replay`).
"""

from __future__ import annotations

import gc
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from typing import Any, TypeAlias, cast

from apps.kit.claims import Finding, History
from lab.simulator.network import Way, between
from lab.simulator.simulation import Simulation

_SHARED = 2000
"""So many seeds are played by one process; more are shared, by parts of `_SHARE`."""
_SHARE = 100

Judge: TypeAlias = Callable[[History], Mapping[str, Finding]]
"""Judge a history: from a claim's name to what was found."""


class Violated(AssertionError):
    """A claim does not hold for a seed; the text says which, what shows it and how to replay it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """The first claim that does not hold, and where."""

    seed: int
    claim: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run for every seed, and its judge. Made by the decorator `scenario`."""

    play: Callable[[int], Simulation]
    judge: Judge

    def first_violation(self, seeds: Iterable[int]) -> Violation | None:
        """Play the seeds in order up to the first that violates a claim."""
        for seed in seeds:
            for claim, finding in self.judge(self.play(seed).trace).items():
                if finding.holds is False:
                    return Violation(seed, claim, finding)
        return None

    def check(self, seeds: Iterable[int]) -> None:
        """Play the seeds; Violated at the first that violates a claim.

        Many are shared among processes, one for each processor.
        """
        seeds = list(seeds)
        if len(seeds) > _SHARED:
            shares = [seeds[start : start + _SHARE] for start in range(0, len(seeds), _SHARE)]
            # What a process inherits is not searched for garbage again and again.
            with ProcessPoolExecutor(None, get_context("fork"), gc.freeze) as pool:
                seeds = next((found for found in pool.map(self._violating, shares) if found), [])
        violation = self.first_violation(seeds)
        if violation is not None:
            raise Violated(self.explain(violation))

    def _violating(self, seeds: Iterable[int]) -> list[int]:
        violation = self.first_violation(seeds)
        return [] if violation is None else [violation.seed]

    def __reduce__(self) -> tuple[Callable[..., Scenario], tuple[str, str]]:
        """Cross to another process by name: what it decorates is known under that no more."""
        return _named, (self.play.__module__, self.play.__qualname__)

    def explain(self, violation: Violation) -> str:
        """Say what was violated, what shows it, and how to see it again."""
        events = "\n".join(f"  {json.dumps(event)}" for event in violation.finding.witness)
        return (
            f"seed {violation.seed} violates {violation.claim}: {violation.finding.detail}\n"
            f"{events}\nreplay: python -m lab.simulator.replay {self.play.__module__}:"
            f"{self.play.__qualname__} --seed {violation.seed} --trace"
        )


def _named(module: str, name: str) -> Scenario:
    return cast("Scenario", getattr(import_module(module), name))


def scenario(judge: Judge) -> Callable[[Callable[[int], Simulation]], Scenario]:
    """Make a scenario of a function that plays a seed to its end; it is judged by `judge`."""
    return lambda play: Scenario(play, judge)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that the world does to the nodes at a time, in seconds."""

    at: float
    act: Callable[..., None]
    arguments: tuple[Any, ...] = ()


def random_faults(
    rng: random.Random,
    nodes: Sequence[str],
    until: float,
    *,
    crashes: int = 3,
    cuts: int = 3,
    pauses: int = 2,
) -> list[Fault]:
    """Draw at most so many crashes with restarts, cuts, and pauses, before `until`.

    A trouble lasts up to a quarter of the time; those that overlap end each other. Half of the
    crashes fall within a batch of effects, some while the node restarts. From `until` on, every
    node is up and every way is open.
    """
    faults = []
    for _ in range(rng.randint(0, crashes)):
        node, start = rng.choice(nodes), rng.uniform(0, until)
        within = rng.choice((None, rng.randint(0, 8)))
        again = rng.choice((None, None, rng.randint(0, 8)))
        faults.append(Fault(start, Simulation.crash, (node, within)))
        end = rng.uniform(start, min(until, start + until / 4))
        faults.append(Fault(end, Simulation.restart, (node, again)))
    for _ in range(rng.randint(0, cuts)):
        start = rng.uniform(0, until)
        faults.append(Fault(start, Simulation.cut, (random_cut(rng, nodes),)))
        end = rng.uniform(start, min(until, start + until / 4))
        faults.append(Fault(end, Simulation.heal))
    for _ in range(rng.randint(0, pauses)):
        node, start = rng.choice(nodes), rng.uniform(0, until)
        faults.append(Fault(start, Simulation.pause, (node,)))
        end = rng.uniform(start, min(until, start + until / 4))
        faults.append(Fault(end, Simulation.resume, (node,)))
    faults += [Fault(until, Simulation.resume, (node,)) for node in nodes]
    faults += [Fault(until, Simulation.restart, (node,)) for node in nodes]
    return [*faults, Fault(until, Simulation.heal)]


def random_cut(rng: random.Random, nodes: Sequence[str]) -> list[Way]:
    """Draw ways to close: two sides, one node alone, a bridge between two sides, or any ways."""
    mixed = rng.sample(nodes, len(nodes))
    side = rng.randint(1, max(1, len(nodes) - 1))
    match rng.choice(("sides", "alone", "bridge", "any")):
        case "sides":
            return between(mixed[:side], mixed[side:])
        case "alone":
            return between(mixed[:1], mixed[1:])
        case "bridge":
            return between(mixed[1:side], mixed[side:])
        case _:
            return [(a, b) for a in nodes for b in nodes if a != b and rng.random() < 0.3]


def inject(simulation: Simulation, faults: Iterable[Fault]) -> None:
    """Schedule the faults."""
    for fault in faults:
        simulation.at(fault.at, fault.act, simulation, *fault.arguments)

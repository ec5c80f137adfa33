"""The bag of tasks among workers that die, dawdle and repeat themselves; its server crashes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import pytest

from apps.kit.claims import Event, Finding, History
from apps.kit.effects import Effect, Emit, Message, Reply
from apps.tcp_squares.claims import (
    counted_once,
    lost_work_is_redone,
    outcomes_are_true,
    results_are_right,
)
from apps.tcp_squares.core import Bag, BagLimits, _Request
from lab.simulator.clients import Outcome
from lab.simulator.scenario import Scenario
from lab.simulator.simulation import Simulation
from tests.shares import share

LIMITS = BagLimits(lease=2.0, attempts=100, keep=30.0, capacity=1000)
SUBMITTERS, WORKERS = 3, 4
CALM = 60.0
"""From this time on nothing breaks, so all that was asked must be done by `END`."""
END = 200.0


class Recounting(Bag):
    """Counts every result, and not the first alone."""

    def _done(self, now: float, call: str, body: Message) -> Iterator[Effect]:
        lease = self._leases.get(body["lease"])
        for effect in super()._done(now, call, body):
            if isinstance(effect, Emit) and effect.event == "dropped" and lease is not None:
                task = lease.task
                yield self._event("counted", request=task.request, task=task.index)
            else:
                yield effect


class Forgetful(Bag):
    """Loses a task with its lease."""

    def _lost(self, now: float, name: str, why: str) -> Iterator[Effect]:
        task = self._leases[name].task
        task.leased = -1000
        yield from super()._lost(now, name, why)
        if task in self._free:
            self._free.remove(task)


class Disorderly(Bag):
    """Answers with the squares in the order of their size."""

    def _answer(self, request: _Request) -> Iterator[Effect]:
        for effect in super()._answer(request):
            if isinstance(effect, Reply):
                yield Reply(effect.request, {"squares": sorted(effect.result["squares"])})
            else:
                yield effect


class Client:
    """Submits one request after the other, each until it is answered."""

    def __init__(self, world: Simulation, name: str) -> None:
        self.world = world
        self.name = name
        self.left = world.rng.randint(1, 4)
        self.next()

    def next(self) -> None:
        rng = self.world.rng
        self.request = f"{self.name}-{self.left}"
        self.numbers = [rng.randrange(-50, 50) for _ in range(rng.randint(1, 8))]
        self.submit(after=rng.uniform(0, 10))

    def submit(self, after: float) -> None:
        body = {"f": "submit", "peer": self.name, "request": self.request, "numbers": self.numbers}
        self.world.request("hub", {**body, "wait": 5.0}, after=after, then=self.answered)

    def answered(self, outcome: Outcome) -> None:
        if outcome.kind != "ok" or not outcome.value:
            self.submit(after=self.world.rng.uniform(0, 2))
            return
        self.left -= 1
        if self.left:
            self.next()


class Worker:
    """Takes and does tasks. Until it is calm it may die, take too long, or say a result twice."""

    def __init__(self, world: Simulation, name: str) -> None:
        self.world = world
        self.name = name
        self.lives = 0
        self.live()

    def live(self) -> None:
        self.lives += 1
        self.peer = f"{self.name}.{self.lives}"
        self.take(after=self.world.rng.uniform(0, 3))

    def take(self, after: float) -> None:
        body = {"f": "take", "peer": self.peer, "worker": self.name, "wait": 3.0}
        self.world.request("hub", body, after=after, then=self.taken)

    def taken(self, outcome: Outcome) -> None:
        rng, troubled = self.world.rng, self.world.now < CALM
        if outcome.kind != "ok" or not outcome.value:
            self.take(after=rng.uniform(0, 1))
            return
        if troubled and rng.random() < 0.2:
            gone = {"f": "left", "peer": self.peer}
            if rng.random() < 0.7:  # otherwise its host is cut off, and nobody hears of it
                self.world.request("hub", gone, after=rng.uniform(0, 1))
            self.live()
            return
        number, lease = outcome.value["number"], outcome.value["lease"]
        body = {"f": "done", "peer": self.peer, "lease": lease, "square": number**2}
        takes = rng.uniform(0, 2 * LIMITS.lease if troubled else LIMITS.lease / 2)
        if troubled and rng.random() < 0.2:
            self.world.request("hub", body, after=takes + rng.uniform(0, 20))
        self.world.request("hub", body, after=takes, then=self.said)

    def said(self, _outcome: Outcome) -> None:
        self.take(after=0.0)


def as_told_by_clients(history: History) -> list[Event]:
    """Give a simulated history as clients of hosts write it.

    There, to submit a request again is one operation with its attempts, and numbers are decimal.
    """
    told: list[Event] = []
    attempts: dict[str, str] = {}
    answered: set[str] = set()
    for event in history:
        if event.get("f") is None:
            told.append(event)
        elif event["f"] == "submit" and event["event"] == "invoke":
            request, numbers = event["value"]["request"], event["value"]["numbers"]
            if request not in attempts.values():
                told.append({**event, **_of(request, numbers)})
            attempts[event["op"]] = request
        elif event["f"] == "submit" and event["event"] == "ok" and event["value"]:
            request = attempts[event["op"]]
            if request not in answered:
                told.append({**event, **_of(request, event["value"]["squares"])})
            answered.add(request)
    return told


def _of(request: str, numbers: list[int]) -> Event:
    return {"op": request, "request": request, "value": [str(number) for number in numbers]}


def all_is_answered(history: History) -> Finding:
    """Every request that was ever submitted was answered in the end."""
    asked: set[str] = set()
    answered: set[str] = set()
    ops: dict[str, str] = {}
    for event in history:
        if event["event"] == "invoke" and event["f"] == "submit":
            ops[event["op"]] = event["value"]["request"]
            asked.add(event["value"]["request"])
        elif event["event"] == "ok" and event["op"] in ops and event["value"]:
            answered.add(ops[event["op"]])
    open_ = sorted(asked - answered)
    return Finding(not open_, f"{len(answered)} answered, open: {open_}")


def judge(history: History) -> dict[str, Finding]:
    events = list(history)
    told = as_told_by_clients(events)
    return {
        "each task is counted once": counted_once(told),
        "each result is right": results_are_right(told),
        "what a lost worker left undone, another does": lost_work_is_redone(told),
        "every client is told the true outcome": outcomes_are_true(told),
        "each request is answered": all_is_answered(events),
    }


def play(seed: int, kind: type[Bag] = Bag) -> Simulation:
    """Workers in trouble; the server crashes up to three times, and begins with a new bag."""

    def build(_name: str, _durable: Mapping[str, object], rng: random.Random) -> Bag:
        return kind(f"{rng.getrandbits(32):08x}", LIMITS)

    world = Simulation(["hub"], build, seed=seed, pattern="tcp_squares", component="server")
    for number in range(SUBMITTERS):
        Client(world, f"c{number}")
    for number in range(WORKERS):
        Worker(world, f"w{number}")
    for _ in range(world.rng.randint(0, 3)):
        crash = world.rng.uniform(0, CALM)
        world.at(crash, world.crash, "hub", world.rng.choice((None, world.rng.randint(0, 5))))
        world.at(world.rng.uniform(crash, CALM), world.restart, "hub")
    world.at(CALM, world.restart, "hub")
    world.run(END)
    return world


troubles = Scenario(play, judge)


def test_every_task_counts_once_whatever_befalls_the_workers_and_the_server() -> None:
    troubles.check(share(range(500), 3))


@pytest.mark.parametrize("trouble", ["lease_lost", "dropped", "crash"])
def test_the_troubles_are_real(trouble: str) -> None:
    seen = [sum(e["event"] == trouble for e in troubles.play(seed).trace) for seed in range(20)]
    assert sum(seen) > 10, f"{trouble} hardly ever happens: {seen}"


@pytest.mark.parametrize(
    ("kind", "claim"),
    [
        (Recounting, "each task is counted once"),
        (Forgetful, "what a lost worker left undone, another does"),
        (Disorderly, "each result is right"),
    ],
)
def test_a_wrong_bag_is_found_out(kind: type[Bag], claim: str) -> None:
    wrong = Scenario(lambda seed: play(seed, kind), judge)
    violation = wrong.first_violation(range(50))
    assert violation is not None
    assert violation.claim == claim
    assert violation.finding.witness

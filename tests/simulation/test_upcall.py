"""Upcalls over a network that loses, doubles and reorders; clients and server crash and pause."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from apps.kit.claims import Event, Finding, History
from apps.kit.effects import Core, Effect, Effects, Emit, Message, Send, SetTimer
from apps.upcall.claims import delivered_once, evicted_in_time, in_order
from apps.upcall.core import Registry
from apps.upcall.registration import Registration
from apps.upcall.subscription import Bounds, Subscription
from lab.simulator.clients import Outcome
from lab.simulator.network import Wire
from lab.simulator.scenario import Scenario, inject, random_faults
from lab.simulator.simulation import Simulation
from tests.shares import share

SERVER = "hub"
CLIENTS = ("n1", "n2", "n3")
BOUNDS = Bounds(queue=50)
CALM = 40.0
"""From this time on nothing breaks: who is up is registered, and told all."""
QUIET = CALM + 20.0
END = 90.0


class Called(Registration):
    """A client whose callback takes a while, sometimes longer than the server waits."""

    def __init__(self, rng: random.Random, topic: str) -> None:
        super().__init__(SERVER, topic, f"{rng.getrandbits(64):x}")
        self._rng = rng

    def timer(self, now: float, name: str) -> Effects:
        if name == "callback":
            yield from self._slowed(now, self.request(now, "", {"f": "done"}))
        else:
            yield from self._slowed(now, super().timer(now, name))

    def receive(self, now: float, sender: str, message: Message) -> Effects:
        yield from self._slowed(now, super().receive(now, sender, message))

    def _slowed(self, now: float, effects: Effects) -> Iterator[Effect]:
        for effect in effects:
            yield effect
            if isinstance(effect, Emit) and effect.event == "called":
                stuck = now < CALM and self._rng.random() < 0.01
                takes = self._rng.uniform(4, 8) if stuck else self._rng.uniform(0, 0.05)
                yield SetTimer("callback", takes)


class Doubling(Called):
    """Takes every upcall that comes, be it had already."""

    def _take(self, message: Message) -> Iterator[Effect]:
        self._taken = min(self._taken, message["seq"] - 1)
        yield from super()._take(message)


class Hasty(Called):
    """Takes upcalls as they come, in whatever order."""

    def _take(self, message: Message) -> Iterator[Effect]:
        if message["seq"] > self._taken:
            self._taken = message["seq"] - 1
        yield from super()._take(message)


class Trusting(Registry):
    """Believes that what was sent was heard: it repeats nothing, and tells its publisher so."""

    def _upcall(self, now: float, subscription: Subscription, place: int) -> Effect:
        event = subscription.queue[place - 1]
        publication = self._publications.get(event.id)
        if publication is not None and subscription.id not in publication.told:
            publication.told.append(subscription.id)
        return super()._upcall(now, subscription, place)


class Patient(Registry):
    """Waits for a callback for ever, in effect."""

    def _look_at(self, now: float, subscription: Subscription) -> Iterator[Effect]:
        if now - subscription.heard < 3 * BOUNDS.silence:
            subscription.heard = min(subscription.heard, now)
            return
        yield from super()._look_at(now, subscription)


class Publisher:
    """Publishes one event after the other."""

    def __init__(self, world: Simulation, name: str) -> None:
        self.world, self.name, self.count = world, name, 0
        self.next()

    def next(self, _outcome: Outcome | None = None) -> None:
        if self.world.now < QUIET:
            self.count += 1
            id_ = f"{self.name}-{self.count}"
            body = {"f": "publish", "id": id_, "topic": "news", "value": f"event {id_}"}
            after = self.world.rng.uniform(0, 0.5)
            self.world.request(SERVER, body, after=after, then=self.next)


def as_told_by_publishers(history: History) -> list[Event]:
    """Give a simulated history as hosts' publishers write it: an operation's id is its event's."""
    told: list[Event] = []
    ids: dict[str, str] = {}
    for event in history:
        if event["event"] == "invoke":
            ids[event["op"]] = event["value"]["id"]
        told.append({**event, "op": ids[event["op"]]} if "op" in event else event)
    return told


def all_is_told_when_calm(history: History) -> Finding:
    """Once all is well, every event is answered, told to each client, and missed by none."""
    asked: dict[str, Event] = {}
    judged = 0
    for event in history:
        if event["event"] == "invoke" and event["t"] > CALM + 10:
            asked[event["op"]] = event
        elif event["event"] in {"ok", "fail", "unknown"} and event["op"] in asked:
            del asked[event["op"]]
            result: Any = event["value"]
            names = {name.partition("/")[0] for name in result["told"]} if result else set()
            if event["event"] != "ok" or result["missed"] or names != set(CLIENTS):
                return Finding(False, f"told to {sorted(names)}: {result}", (event,))
            judged += 1
    if asked:
        return Finding(False, f"{len(asked)} publishers have no answer", (*asked.values(),)[:2])
    return Finding(judged > 0, f"{judged} events, each told to all")


def judge(history: History) -> dict[str, Finding]:
    told = as_told_by_publishers(history)
    return {
        "each event is delivered once": delivered_once(told),
        "in order": in_order(told),
        "who is silent or stuck is evicted in time": evicted_in_time(told),
        "when it is calm, all are told": all_is_told_when_calm(told),
    }


def play(seed: int, client: type[Called] = Called, server: type[Registry] = Registry) -> Simulation:
    """Three clients, two publishers, and all that can befall them, until it is calm."""

    def build(name: str, _durable: Mapping[str, object], rng: random.Random) -> Core:
        return server(BOUNDS, rng) if name == SERVER else client(rng, "news")

    wire = Wire(delay=(0.001, 0.08), loss=0.05, duplicate=0.05)
    world = Simulation((SERVER, *CLIENTS), build, seed=seed, wire=wire, pattern="upcall")
    inject(world, random_faults(world.rng, (SERVER, *CLIENTS), CALM))
    for number in range(2):
        Publisher(world, f"p{number}")
    world.run(END)
    return world


troubles = Scenario(play, judge)


def test_each_event_is_delivered_once_in_order_whatever_happens() -> None:
    troubles.check(share(range(120), 3))


@pytest.mark.parametrize("trouble", ["evicted", "ended", "server_silent", "crash", "pause", "lost"])
def test_the_troubles_are_real(trouble: str) -> None:
    seen = [sum(e["event"] == trouble for e in troubles.play(seed).trace) for seed in range(10)]
    assert sum(seen) > 5, f"{trouble} hardly ever happens: {seen}"


@pytest.mark.parametrize("why", ["silent", "no answer", "replaced"])
def test_subscriptions_end_for_every_reason(why: str) -> None:
    ends = {"evicted", "unsubscribed"}
    assert why in [e["why"] for seed in range(20) for e in play(seed).trace if e["event"] in ends]


@pytest.mark.parametrize(
    ("client", "server", "claim"),
    [
        (Doubling, Registry, "each event is delivered once"),
        (Hasty, Registry, "in order"),
        (Called, Trusting, "each event is delivered once"),
        (Called, Patient, "who is silent or stuck is evicted in time"),
    ],
)
def test_a_wrong_one_is_found_out(client: type[Called], server: type[Registry], claim: str) -> None:
    for seed in range(50):
        finding = judge(play(seed, client, server).trace)[claim]
        if finding.holds is False:
            assert finding.witness
            return
    pytest.fail(f"no seed violates {claim!r}")


def test_a_client_that_is_cut_off_costs_the_others_nothing() -> None:
    world = Simulation(
        (SERVER, *CLIENTS),
        lambda name, _disk, rng: Registry(BOUNDS, rng) if name == SERVER else Called(rng, "news"),
        seed=1,
    )
    world.at(5.0, world.cut, [("n1", SERVER), (SERVER, "n1")])
    told: list[Outcome] = []
    body = {"f": "publish", "id": "e1", "topic": "news", "value": ""}
    world.request(SERVER, body, after=6.0, then=told.append)
    world.run(12.0)
    assert [name.partition("/")[0] for name in told[0].value["told"]] == ["n2", "n3"]
    assert [name.partition("/")[0] for name in told[0].value["missed"]] == ["n1"]


def test_no_message_of_a_stranger_breaks_the_registry() -> None:
    registry = Registry(BOUNDS, random.Random(1))
    list(registry.start(0.0))
    for message in (
        {},
        {"kind": "register"},
        {"kind": "register", "session": "s", "topic": "t", "attempt": "1"},
        {"kind": "ack", "subscription": 7, "seq": None},
        {"kind": ["ack"]},
        {"kind": "upcall"},
    ):
        effects = list(registry.receive(1.0, "stranger", message))
        assert all(isinstance(e, Emit | Send) for e in effects)

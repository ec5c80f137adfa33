"""Counting over a network that loses, doubles and reorders: what it counts is what was done."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from apps.kit.claims import Finding, History
from apps.kit.effects import Effects, Emit, Message, Persist, Reject, Send, SetTimer
from apps.udp_oneway.claims import (
    counts_add_up,
    counts_are_what_came,
    figures,
    nothing_corrupt_was_delivered,
)
from apps.udp_oneway.core import Fate, Receiver
from apps.udp_oneway.wire import FAREWELLS, Numbered, decode, encode
from lab.faults import nemesis
from lab.faults.aims import Aims
from lab.faults.nemesis import WARM
from lab.simulator.faults import NAMES, Lab
from lab.simulator.network import Wire
from lab.simulator.scenario import scenario
from lab.simulator.simulation import Simulation
from tests.shares import share

TICK = 0.001
CRC = "00000000"
"""Of the payload, which is empty."""


class Sending:
    """The sender as a core: a datagram at every tick, then the end, said several times."""

    def __init__(self, name: str, rng: random.Random, run: int) -> None:
        self.name, self.run = name, run
        self.left = self.count = rng.randint(1, 300)

    def start(self, now: float) -> Effects:  # noqa: ARG002
        yield Persist("run", self.run)
        yield SetTimer("next", TICK)

    def timer(self, now: float, name: str) -> Effects:  # noqa: ARG002
        self.left -= 1
        end = self.left < 0
        number = self.count if end else self.count - self.left
        datagram = Numbered(self.name, self.run, number, int(now * 1e9), b"", end=end)
        if not end:
            yield Emit("send", {"id": datagram.id, "crc": CRC})
        yield Send("receiver", {"data": encode(datagram).hex()})
        if self.left > -FAREWELLS:
            yield SetTimer("next", TICK)
            return
        summary = {"sent": self.count, "copies": 0, "corrupted": 0, "late": 0}
        yield Emit("summary", {"stream": datagram.stream, **summary})

    def receive(self, now: float, sender: str, message: Message) -> Effects:  # noqa: ARG002
        return []

    def request(self, now: float, request: str, body: Message) -> Effects:  # noqa: ARG002
        return [Reject(request, "a sender takes no requests")]


class Receiving:
    """The receiver as a core: it counts, and says at once what it has counted."""

    def __init__(self, rng: random.Random) -> None:
        self.counts = Receiver(senders=10, window=rng.choice((4, 32, 4096)))

    def start(self, now: float) -> Effects:  # noqa: ARG002
        yield Emit("start")

    def receive(self, now: float, sender: str, message: Message) -> Effects:  # noqa: ARG002
        datagram = decode(bytes.fromhex(message["data"]))
        fate = self.counts.take(datagram, int(now * 1e9))
        assert isinstance(datagram, Numbered)
        told = {"id": datagram.id, "peer": datagram.sender}
        yield (
            Emit("recv", {**told, "crc": CRC}) if fate is Fate.RECEIVED else Emit(fate.value, told)
        )
        yield from (Emit("counts", stream) for stream in self.counts.changes())

    def timer(self, now: float, name: str) -> Effects:  # noqa: ARG002
        return []

    def request(self, now: float, request: str, body: Message) -> Effects:  # noqa: ARG002
        return [Reject(request, "a receiver takes no requests")]


def build(name: str, durable: Mapping[str, Any], rng: random.Random) -> Sending | Receiving:
    if name == "receiver":
        return Receiving(rng)
    return Sending(name, rng, durable.get("run", 0) + 1)


def world(seed: int, wire: Wire) -> Simulation:
    nodes = ["receiver", "a", "b", "c"]
    return Simulation(
        nodes, build, seed=seed, wire=wire, pattern="udp_oneway", component="receiver"
    )


def judge(history: History) -> dict[str, Finding]:
    """Judge by the claims of hosts; of a stream of which nobody heard, they tell nothing."""
    events = list(history)
    heard = {event["stream"] for event in events if event["event"] == "counts"}
    known = [e for e in events if "stream" not in e or e["stream"] in heard]
    return {
        "the counts add up": counts_add_up(known),
        "the counts are what came": counts_are_what_came(known),
        "nothing comes twice": nothing_corrupt_was_delivered(known),
    }


@scenario(judge)
def under_a_nemesis(seed: int) -> Simulation:
    """What befalls hosts in `run-demo --nemesis`, from the same seeds, and at shorter intervals."""
    simulation = world(seed, Wire(delay=(0.0, 0.01)))
    aims = Aims([(node, "udp_oneway_receiver") for node in simulation.nodes], simulation.nodes)
    drawn = nemesis.draw(seed, aims, NAMES, 20.0)
    sooner = [replace(p, at=(p.at - WARM) / 20, seconds=p.seconds / 20) for p in drawn.planned]
    Lab(simulation).schedule(sooner)
    simulation.run(5.0)
    return simulation


def test_counts_add_up_whatever_befalls_hosts() -> None:
    under_a_nemesis.check(share(range(200), 3))


def test_a_nemesis_loses_doubles_and_reorders() -> None:
    counted: Counter[str] = Counter()
    for seed in range(20):
        counted.update(figures(under_a_nemesis.play(seed).trace))
    assert all(counted[name] > 10 for name in ("lost", "duplicated", "reordered")), counted


@scenario(judge)
def bad_network(seed: int) -> Simulation:
    """Three senders; each seed has a network of its own badness."""
    rng = random.Random(seed)
    wire = Wire(
        delay=(0.0, rng.choice((0.0005, 0.01, 0.1))),
        loss=rng.choice((0.0, 0.1, 0.5)),
        duplicate=rng.choice((0.0, 0.1, 0.5)),
    )
    simulation = world(seed, wire)
    simulation.run(5.0)
    return simulation


def test_counts_add_up_whatever_the_network_does() -> None:
    bad_network.check(share(range(300), 3))


def test_the_network_is_bad() -> None:
    counted: Counter[str] = Counter()
    for seed in range(20):
        last = {e["stream"]: e for e in bad_network.play(seed).trace if e["event"] == "counts"}
        for event in last.values():
            for name in ("lost", "duplicated", "reordered", "stale"):
                counted[name] += event[name]
    assert all(counted[name] > 100 for name in ("lost", "duplicated", "reordered", "stale")), (
        counted
    )

"""Counting over a network that loses, doubles and reorders: what it counts is what was done."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from apps.kit.claims import Finding, History
from apps.kit.effects import Effects, Emit, Message, Reject, Send, SetTimer
from apps.udp_oneway.claims import counts_add_up
from apps.udp_oneway.core import Receiver
from apps.udp_oneway.wire import FAREWELLS, Numbered, decode, encode
from lab.simulator.network import Wire
from lab.simulator.scenario import scenario
from lab.simulator.simulation import Simulation

TICK = 0.001


class Sending:
    """The sender as a core: a datagram at every tick, then the end, said several times."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self.left = self.count = rng.randint(1, 300)

    def start(self, now: float) -> Effects:  # noqa: ARG002
        yield SetTimer("next", TICK)

    def timer(self, now: float, name: str) -> Effects:  # noqa: ARG002
        self.left -= 1
        end = self.left < 0
        number = self.count if end else self.count - self.left
        data = encode(Numbered(self.name, 1, number, int(now * 1e9), b"", end=end))
        yield Send("receiver", {"data": data.hex()})
        if self.left > -FAREWELLS:
            yield SetTimer("next", TICK)
            return
        figures = {"sent": self.count, "copies": 0, "corrupted": 0, "late": 0}
        yield Emit("summary", {"stream": f"{self.name}/1", **figures})

    def receive(self, now: float, sender: str, message: Message) -> Effects:  # noqa: ARG002
        return []

    def request(self, now: float, request: str, body: Message) -> Effects:  # noqa: ARG002
        return [Reject(request, "a sender takes no requests")]


class Receiving:
    """The receiver as a core: it counts, and says at once what it has counted."""

    def __init__(self, rng: random.Random) -> None:
        self.counts = Receiver(senders=10, window=rng.choice((4, 32, 4096)))

    def start(self, now: float) -> Effects:  # noqa: ARG002
        return []

    def receive(self, now: float, sender: str, message: Message) -> Effects:  # noqa: ARG002
        datagram = decode(bytes.fromhex(message["data"]))
        fate = self.counts.take(datagram, int(now * 1e9))
        assert isinstance(datagram, Numbered)
        yield Emit("taken", {"id": datagram.id, "fate": fate.value})
        yield from (Emit("counts", stream) for stream in self.counts.changes())

    def timer(self, now: float, name: str) -> Effects:  # noqa: ARG002
        return []

    def request(self, now: float, request: str, body: Message) -> Effects:  # noqa: ARG002
        return [Reject(request, "a receiver takes no requests")]


def build(name: str, _durable: Mapping[str, Any], rng: random.Random) -> Sending | Receiving:
    return Receiving(rng) if name == "receiver" else Sending(name, rng)


def counts_are_what_happened(history: History) -> Finding:
    """Every stream's counts are what the network did to it, number by number."""
    taken: dict[str, Counter[str]] = {}
    numbers: dict[str, Counter[str]] = {}
    last: dict[str, Mapping[str, Any]] = {}
    for event in history:
        if event["event"] == "taken":
            stream, _, number = event["id"].partition("#")
            taken.setdefault(stream, Counter())[event["fate"]] += 1
            if event["fate"] == "received":
                numbers.setdefault(stream, Counter())[number] += 1
        elif event["event"] == "counts":
            last[event["stream"]] = event
    for stream, counted in last.items():
        fates = {name: taken[stream][name] for name in ("received", "duplicated", "stale")}
        if any(counted[name] != number for name, number in fates.items()):
            return Finding(False, f"{fates} happened", (counted,))
        if any(times > 1 for times in numbers.get(stream, {}).values()):
            return Finding(False, "one number was received twice", (counted,))
    return Finding(True, f"{len(last)} streams")


def judge(history: History) -> dict[str, Finding]:
    events = list(history)
    heard = {event["stream"] for event in events if event["event"] == "counts"}
    known = [e for e in events if e["event"] == "counts" or e.get("stream") in heard]
    return {
        "the counts add up": counts_add_up(known),
        "the counts are what happened": counts_are_what_happened(events),
    }


@scenario(judge)
def bad_network(seed: int) -> Simulation:
    """Three senders; each seed has a network of its own badness."""
    rng = random.Random(seed)
    wire = Wire(
        delay=(0.0, rng.choice((0.0005, 0.01, 0.1))),
        loss=rng.choice((0.0, 0.1, 0.5)),
        duplicate=rng.choice((0.0, 0.1, 0.5)),
    )
    world = Simulation(
        ["receiver", "a", "b", "c"], build, seed=seed, wire=wire, pattern="udp_oneway"
    )
    world.run(5.0)
    return world


def test_counts_add_up_whatever_the_network_does() -> None:
    bad_network.check(range(300))


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

"""Pirates, Majordomo and Titanic through crashes, pauses and cuts; what is asked is answered.

The simulation knows nodes and no sockets, so `Wired` is a little ZeroMQ: a node's message names the
socket that it left from, and a bound socket knows its peers by node, socket, and the socket's
number, which `Reopen` changes. Nothing said to an old socket arrives at a new one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from apps.kit import effects as kit
from apps.kit.claims import Event, Finding, History
from apps.kit.effects import Emit, Message, Persist, Reply, Send, SetTimer
from apps.zeromq_reliable import claims, wire
from apps.zeromq_reliable.crew import Pace
from apps.zeromq_reliable.effects import Effect, Effects, Frames, Reopen, peer_of, send
from apps.zeromq_reliable.majordomo import Broker, BrokerLimits
from apps.zeromq_reliable.paranoid import CLIENTS, WORKERS, Queue, QueueLimits
from apps.zeromq_reliable.titanic import Titanic, TitanicLimits
from apps.zeromq_reliable.worker import Majordomo, ParanoidPirate, Talk, Worker
from lab.simulator.clients import Outcome
from lab.simulator.network import Wire
from lab.simulator.scenario import Scenario, inject, random_faults
from lab.simulator.simulation import Simulation

PACE = Pace(0.5, 3)
ATTEMPT = 2.5
CALM = 30.0
"""From this time on nothing breaks, so all that was asked must be answered by `END`."""
END = 90.0
TCP = Wire(fifo=True)


class Wired:
    """A core of this pattern as a node of the simulation; see the module."""

    def __init__(self, core: Any, rng: random.Random, homes: Mapping[str, tuple[str, str]]) -> None:
        """`homes` are the connected sockets: the node and the bound socket that each goes to."""
        self.core = core
        self._rng = rng
        self._homes = homes
        self._numbers = {name: rng.getrandbits(32) for name in homes}

    def start(self, now: float) -> Iterator[kit.Effect]:
        return self._done(self.core.start(now))

    def timer(self, now: float, name: str) -> Iterator[kit.Effect]:
        return self._done(self.core.timer(now, name))

    def request(self, now: float, request: str, body: Message) -> Iterator[kit.Effect]:
        return self._done(self.core.request(now, request, body))

    def receive(self, now: float, sender: str, message: Message) -> Iterator[kit.Effect]:
        frames = tuple(frame.encode("latin-1") for frame in message["frames"])
        socket, name = message["to"], message["name"]
        if socket in self._homes:
            if message["number"] != self._numbers[socket]:
                return iter(())
            peer = socket
        else:
            peer = peer_of(socket, f"{sender}.{name}.{message['number']}".encode())
        return self._done(self.core.receive(now, peer, {"frames": frames}))

    def _done(self, effects: Effects) -> Iterator[kit.Effect]:
        for effect in effects:
            match effect:
                case Reopen(socket):
                    self._numbers[socket] = self._rng.getrandbits(32)
                case Send(to, message):
                    yield self._sent(to, message["frames"])
                case _:
                    yield effect

    def _sent(self, to: str, frames: Frames) -> Send:
        text = [frame.decode("latin-1") for frame in frames]
        if to in self._homes:
            node, socket = self._homes[to]
            number = self._numbers[to]
        else:
            name, _, peer = to.partition("/")
            node, _, rest = peer.partition(".")
            socket, _, written = rest.rpartition(".")
            to, number = name, int(written)
        return Send(node, {"to": socket, "name": to, "number": number, "frames": text})


class Asking:
    """A lazy client of a queue or a broker: it asks again until it is answered."""

    def __init__(self, *, pirate: bool) -> None:
        self._pirate = pirate
        self._waiting: deque[tuple[str, Message]] = deque()
        self._attempts = 0

    def start(self, _now: float) -> Effects:
        return []

    def request(self, _now: float, request: str, body: Message) -> Effects:
        self._waiting.append((request, body))
        return list(self._ask()) if len(self._waiting) == 1 else []

    def timer(self, _now: float, _name: str) -> Effects:
        return [Reopen(CLIENTS), *self._ask()]

    def receive(self, _now: float, _sender: str, message: Message) -> Iterator[Any]:
        if not self._waiting:
            return
        op, body = self._waiting[0]
        reply = message["frames"][1:] if self._pirate else self._read(message["frames"], body)
        self._waiting.popleft()
        yield kit.CancelTimer("attempt")
        yield Reply(op, {"frames": [frame.decode("latin-1") for frame in reply]})
        if self._waiting:
            yield from self._ask()

    def _read(self, frames: Frames, body: Message) -> Frames:
        return wire.read_reply(frames, body["service"])

    def _ask(self) -> Iterator[Effect]:
        op, body = self._waiting[0]
        self._attempts += 1
        tag = f"{op}/{self._attempts}".encode()
        words = tuple(tag if word == "TAG" else word.encode() for word in body["words"])
        frames = (b"", *words) if self._pirate else wire.client_request(body["service"], words)
        yield send(CLIENTS, frames)
        yield SetTimer("attempt", ATTEMPT)


class Calls:
    """Drives a client that calls services, or asks the queue, one text after the other."""

    def __init__(self, world: Simulation, node: str, f: str, left: int) -> None:
        self.world, self.node, self.f, self.left = world, node, f, left
        self.next(None)

    def next(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            self.left -= 1
        if self.left:
            service = self.world.rng.choice(("echo", "upper")) if self.f == "call" else "echo"
            text = f"{self.node} {self.left}"
            body = {"f": self.f, "service": service, "words": ["TAG", text], "value": text}
            self.world.request(self.node, body, after=self.world.rng.uniform(0, 2), then=self.next)


class Travels:
    """Drives a client that hands requests to Titanic, fetches the replies, and closes."""

    def __init__(self, world: Simulation, node: str, left: int) -> None:
        self.world, self.node, self.left = world, node, left
        self.store(None)

    def ask(self, f: str, service: str, value: str, *words: str, after: float, then: Any) -> None:
        body = {"f": f, "service": service, "words": [*words, value], "value": value}
        if f == "store":
            body["target"] = words[0]
        self.world.request(self.node, body, after=after, then=then)

    def store(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            self.left -= 1
        if self.left:
            target = self.world.rng.choice(("echo", "upper"))
            text, after = f"{self.node} {self.left}", self.world.rng.uniform(0, 2)
            self.ask("store", wire.STORING, text, target, "TAG", after=after, then=self.stored)

    def stored(self, outcome: Outcome) -> None:
        self.ticket = outcome.value["frames"][1]
        self.fetch(after=0.1)

    def fetch(self, after: float) -> None:
        self.ask("fetch", wire.FETCHING, self.ticket, after=after, then=self.fetched)

    def fetched(self, outcome: Outcome) -> None:
        if outcome.value["frames"][0] == "300":
            self.fetch(after=0.5)
        else:
            self.ask("close", wire.CLOSING, self.ticket, after=0.0, then=self.store)


def as_told_by_clients(history: History) -> list[Event]:
    """Give a simulated history as clients of hosts write it, who wait for a reply in one breath."""
    events = list(history)
    pending = {
        event["op"]
        for event in events
        if event["event"] == "ok" and event["f"] == "fetch" and event["value"]["frames"][0] == "300"
    }
    told: list[Event] = []
    for event in events:
        if event.get("op") in pending:
            continue
        if event["event"] == "invoke":
            body = event["value"]
            service = body.get("target", body["service"])
            told.append({**event, "value": body["value"], "service": service})
        elif event["event"] == "ok":
            frames = event["value"]["frames"]
            if event["f"] == "fetch" and frames[0] != "200":
                told.append({**event, "event": "fail"})
                continue
            told.append({**event, "value": frames[1 if event["f"] == "store" else -1]})
        else:
            told.append(event)
    return told


def judge(history: History) -> dict[str, Finding]:
    told = as_told_by_clients(history)
    return {
        "every reply is to what was asked": claims.replies_are_right(told),
        "every client is told the truth": claims.told_truly(told),
        "no request with a ticket is lost": claims.none_is_lost(told),
        "all are answered": claims.all_are_answered(told, ["ask", "call", "store", "fetch"]),
        "a ticket has one reply": claims.one_reply_each(told),
        "Titanic asks in the order in which it accepted": claims.first_come_first_asked(told),
    }


WORKING = ("w1", "w2", "w3")
PIRATES = ("p1", "p2")
TRAVELLERS = ("c2", "c3", "c4", "c5")
FAULTY = ["broker", "queue", "titanic", *WORKING, *PIRATES]
LIMITS = TitanicLimits(sockets=1, lanes=1)


def play(seed: int, broker: type[Broker] = Broker, titanic: type[Titanic] = Titanic) -> Simulation:
    """Everybody but the clients crashes, is paused and cut off; clients ask until it is calm."""

    def build(name: str, durable: Mapping[str, Any], rng: random.Random) -> Any:
        core: Any
        homes: dict[str, tuple[str, str]] = {}
        match name[0]:
            case "b":
                core = broker(PACE, BrokerLimits(patience=5.0, attempts=100))
            case "q":
                core = Queue(PACE, QueueLimits())
            case "w":
                talks = {Talk(name, Majordomo(name), PACE): name for name in ("echo", "upper")}
                core = Worker(talks, takes=rng.choice((0.0, 0.3)))
                homes = {talk.socket: ("broker", "broker") for talk in talks}
            case "p":
                core = Worker({Talk(WORKERS, ParanoidPirate(), PACE): "echo"}, takes=0.1)
                homes = {WORKERS: ("queue", WORKERS)}
            case "t":
                core = titanic(PACE, LIMITS, {k: v for k, v in durable.items() if v}, rng)
                homes = dict.fromkeys(core.sockets, ("broker", "broker"))
            case _:
                pirate = name == "lazy"
                core = Asking(pirate=pirate)
                homes = {CLIENTS: ("queue", CLIENTS) if pirate else ("broker", "broker")}
        return Wired(core, rng, homes)

    nodes = [*FAULTY, "lazy", "c1", *TRAVELLERS]
    world = Simulation(
        nodes, build, seed=seed, wire=TCP, pattern="zeromq_reliable", component="node"
    )
    inject(world, random_faults(world.rng, FAULTY, CALM, crashes=8, cuts=3, pauses=3))
    Calls(world, "lazy", "ask", 8)
    Calls(world, "c1", "call", 8)
    for client in TRAVELLERS:
        Travels(world, client, 6)
    world.run(END)
    return world


disasters = Scenario(play, judge)


def test_everybody_is_answered_whatever_befalls_whom() -> None:
    disasters.check(range(20))


@pytest.mark.parametrize(
    "trouble", ["crash", "lost", "disconnected", "refused", "recovered", "registered"]
)
def test_the_troubles_are_real(trouble: str) -> None:
    seen = [sum(e["event"] == trouble for e in disasters.play(seed).trace) for seed in range(5)]
    assert sum(seen) > 5, f"{trouble} hardly ever happens: {seen}"


class Hasty(Titanic):
    """Gives the ticket at once, and makes the request durable when there is time."""

    def _serve(self, *given: Any) -> Iterator[Effect]:
        effects = list(super()._serve(*given))
        self.late = [*getattr(self, "late", ()), *(e for e in effects if isinstance(e, Persist))]
        yield from (e for e in effects if not isinstance(e, Persist))

    def timer(self, now: float, name: str) -> Effects:
        late, self.late = getattr(self, "late", []), []
        return [*late, *super().timer(now, name)]


class Forgetful(Titanic):
    """Does not ask again what an earlier life accepted."""

    def _start(self, now: float) -> Iterator[Effect]:
        self._queue.clear()
        return super()._start(now)


class Capricious(Titanic):
    """Asks the latest first."""

    def _dispatch(self) -> Iterator[Effect]:
        self._queue.reverse()
        yield from super()._dispatch()
        self._queue.reverse()


class Believing(Titanic):
    """Takes every reply, also one to what was asked before on that lane."""

    def _answered(self, lane: str, frames: Frames) -> Iterator[Effect]:
        kept = self._lanes[lane]
        yield from super()._answered(lane, frames)
        if kept is not None:
            yield Emit("answered", kept.told())


class Deaf(Broker):
    """Never misses a worker."""

    def _beat(self, now: float) -> Iterator[Effect]:
        for member in self._crew.due(now):
            yield send(member.peer, wire.command(wire.HEARTBEAT))
        yield SetTimer("beat", self._pace.heartbeat)


@pytest.mark.parametrize(
    ("kinds", "claim"),
    [
        ({"titanic": Hasty}, "no request with a ticket is lost"),
        ({"titanic": Forgetful}, "no request with a ticket is lost"),
        ({"titanic": Capricious}, "Titanic asks in the order in which it accepted"),
        ({"titanic": Believing}, "a ticket has one reply"),
        ({"broker": Deaf}, "no request with a ticket is lost"),
    ],
)
def test_a_wrong_one_is_found_out(kinds: dict[str, Any], claim: str) -> None:
    wrong = Scenario(lambda seed: play(seed, **kinds), judge)
    violation = wrong.first_violation(range(60))
    assert violation is not None
    assert violation.claim == claim
    assert violation.finding.witness

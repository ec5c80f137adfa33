"""The replicated log over thousands of seeded schedules; cores that are wrong are found out.

The cores are those of the hosts. Their disk is simulated here: a write takes its time, and a crash
leaves any beginning of the one that was under way, never less than what was said to be synced.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from apps.kit.claims import Finding, History
from apps.kit.effects import Effect, Effects, Emit, Message, Persist, Reply, SetTimer
from apps.kit.history import operations
from apps.replicated_log.claims import (
    acknowledged_survive,
    every_message_once,
    master_is_linearizable,
    on_enough_disks,
    reads_are_prefixes,
)
from apps.replicated_log.clients import ClientTable
from apps.replicated_log.core import Master
from apps.replicated_log.effects import Write
from apps.replicated_log.entries import Entry
from apps.replicated_log.follower import Follower
from apps.replicated_log.peers import Pace
from apps.replicated_log.requests import asked
from apps.replicated_log.stages import STAGES
from lab.faults import nemesis
from lab.faults.aims import Aims
from lab.simulator.clients import Outcome
from lab.simulator.faults import NAMES, Lab
from lab.simulator.network import Wire
from lab.simulator.scenario import inject, random_faults, scenario
from lab.simulator.simulation import Simulation
from tests.shares import share

SEEDS = int(os.environ.get("REPLICATED_LOG_SEEDS", "150"))
"""How many schedules of each kind; more by hand."""
LOG = "5eed" * 8
MASTER = "n1"
TROUBLE = 12.0
"""Virtual seconds of faults and requests."""
CALM = 25.0
"""Virtual seconds in which every node gets all, over a network that loses much."""
CALLERS, APPENDS = 4, 12


class Disk:
    """What is on the disk of one node: the log as its core reads it."""

    def __init__(self, stored: Mapping[str, Any], rng: random.Random, replaced: float) -> None:
        """With a probability it is another disk than before, and empty."""
        self.rng = rng
        self.number = stored.get("disk", 0) + (rng.random() < replaced)
        self.identity = str(stored.get(f"{self.number} log", ""))
        self.entries: list[Entry] = []
        while found := stored.get(f"{self.number} entry {len(self.entries)}"):
            self.entries.append(Entry(*found))

    @property
    def length(self) -> int:
        return len(self.entries)

    def read(self, first: int, most: int, size: int = 0) -> list[Entry]:
        del size
        return self.entries[first : first + min(most, 5)]

    def write(self, write: Write) -> Iterator[Effect]:
        """Have a write on the disk; a crash may come between any two effects."""
        self.identity = self.identity or write.log
        yield Persist(f"{self.number} log", self.identity)
        for number, entry in enumerate(write.entries, len(self.entries)):
            yield Persist(f"{self.number} entry {number}", list(entry))
        self.entries += write.entries


class Node:
    """A core with its disk, as a core of the simulator; it answers reads from the disk."""

    full = 0.0
    """Part of the writes that the disk has no room for."""
    replaced = 0.0
    """Part of the starts in which a secondary has a new disk."""

    def __init__(self, core: Any, disk: Disk, rng: random.Random, nodes: int) -> None:
        self.core, self.disk, self.rng, self.nodes = core, disk, rng, nodes
        self.writing: Write | None = None

    def start(self, now: float) -> Effects:
        yield Persist("disk", self.disk.number)
        yield Emit("opened", {"length": self.disk.length})
        yield from self.done(self.core.start(now))

    def receive(self, now: float, sender: str, message: Message) -> Effects:
        entries = [Entry(*entry) for entry in message.get("entries", ())]
        told = {**message, "entries": entries} if "entries" in message else message
        return self.done(self.core.receive(now, sender, told))

    def request(self, now: float, request: str, body: Message) -> Effects:
        if body["f"] == "read":
            messages = [entry.message for entry in self.disk.entries]
            return [Reply(request, messages)]  # type: ignore[arg-type]
        wanted = {name: body[name] for name in ("message", "client", "seq", "w")}
        return self.done(self.core.request(now, request, asked(wanted, self.nodes, STAGES[3])))

    def timer(self, now: float, name: str) -> Effects:
        if name != "disk":
            yield from self.done(self.core.timer(now, name))
            return
        write, self.writing = self.writing, None
        assert write is not None
        if self.rng.random() < self.full:
            yield from self.done(self.core.refused(now))
            return
        yield from self.disk.write(write)
        yield from self.done(self.core.written(now))

    def done(self, effects: Iterable[Any]) -> Iterator[Effect]:
        for effect in effects:
            if isinstance(effect, Write):
                assert self.writing is None, "a second write before the first is done"
                self.writing = effect
                yield SetTimer("disk", self.rng.uniform(0.0005, 0.02))
            else:
                yield effect


class Tight(Node):
    """Its disk has no room now and then."""

    full = 0.1


class Renewed(Node):
    """It comes back with a new disk now and then."""

    replaced = 0.3


class Caller:
    """Appends one message after the other; asks again for what was not acknowledged, and reads."""

    def __init__(self, world: Simulation, name: str) -> None:
        self.world, self.name, self.seq = world, name, 0
        self.next()

    def next(self, _: Outcome | None = None) -> None:
        if self.seq == APPENDS:
            return
        rng = self.world.rng
        if rng.random() < 0.2:
            self.ask({"f": "read", "from": 0}, rng.choice(self.world.nodes), self.next)
            return
        self.seq += 1
        w = rng.choice(("majority", "majority", 1, "all"))
        message = {"message": f"{self.name}/{self.seq}", "client": self.name, "seq": self.seq}
        self.append({"f": "append", **message, "w": w}, tries=3)

    def append(self, body: dict[str, Any], tries: int) -> None:
        def ended(outcome: Outcome) -> None:
            if tries > 1 and (outcome.kind != "ok" or self.world.rng.random() < 0.2):
                self.append(body, tries - 1)
            else:
                self.next()

        self.ask(body, MASTER, ended)

    def ask(self, body: dict[str, Any], node: str, then: Callable[[Outcome], None]) -> None:
        after = self.world.rng.uniform(0, 0.4)
        self.world.request(node, body, after=after, timeout=2.0, then=then)


def as_told_by_clients(history: History) -> list[dict[str, Any]]:
    """Give a simulated history as clients of hosts write it: one operation for all its attempts.

    The last attempt's outcome is the operation's, unless an earlier one is known to have succeeded.
    """
    told: list[dict[str, Any]] = []
    for event in map(dict, history):
        if event["component"] == "client":
            if event["event"] == "invoke":
                event["asked"] = event["value"]
                if event["f"] == "append":
                    event["value"] = {"key": event["value"]["message"]}
            event["server"] = event["node"]
        told.append(event)
    asked_of = {e["op"]: e["asked"] for e in told if "asked" in e}
    for event in told:
        if event["event"] == "ok" and event["f"] == "append":
            key = asked_of[event["op"]]["message"]
            value = event["value"]
            event["value"] = {"key": key, "number": value["offset"], "w": value["w"]}
    return told


def joined(told: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave of several attempts at one append the first invocation and the best outcome."""
    first: dict[str, str] = {}
    best: dict[str, tuple[int, str]] = {}
    rank = {"ok": 0, "unknown": 1, "fail": 2}
    ops = {op.op: op for op in operations(told, {"append": "append"})}
    for op in ops.values():
        key = op.value["key"]
        first.setdefault(key, op.op)
        best[key] = min(best.get(key, (3, "")), (rank[op.outcome], op.op))
    kept: list[Mapping[str, Any]] = []
    for event in told:
        attempt = ops.get(event.get("op", ""))
        if attempt is None:
            kept.append(event)
            continue
        key = attempt.value["key"]
        if attempt.op == (first[key] if event["event"] == "invoke" else best[key][1]):
            kept.append({**event, "op": first[key]})
    return kept


def judge(history: History) -> dict[str, Finding]:
    told = as_told_by_clients(history)
    reads = [e for e in told if e["event"] == "ok" and e["f"] == "read"]
    last = {e["node"]: e["value"] for e in reads}
    final = last[MASTER]
    same = all(log == final for log in last.values())
    lengths = ", ".join(f"{node}: {len(log)}" for node, log in last.items())
    return {
        "survive": acknowledged_survive(told, final, 0),
        "once": every_message_once(final),
        "prefix": reads_are_prefixes(told, final),
        "linearizable": master_is_linearizable(joined(told), MASTER, 0),
        "disks": on_enough_disks(told),
        "caught up": Finding(same, f"at the end: {lengths}", ()),
    }


Make = Callable[[str, Sequence[str], Disk], Any]


def core_of(node: str, nodes: Sequence[str], disk: Disk) -> Master | Follower:
    """Make the core of a node from its disk, as its component does."""
    if node != MASTER:
        return Follower(MASTER, disk)
    disk.identity = LOG
    return Master(nodes[1:], disk, known(disk), STAGES[3], rng=disk.rng, pace=Pace(batch=60))


def known(disk: Disk) -> ClientTable:
    table = ClientTable()
    for offset, entry in enumerate(disk.entries):
        table.add(offset, entry)
    return table


def world(
    seed: int, nodes: Sequence[str], wire: Wire, make: Make = core_of, kind: type[Node] = Node
) -> Simulation:
    def build(node: str, stored: Mapping[str, Any], rng: random.Random) -> Node:
        disk = Disk(stored, rng, 0.0 if node == MASTER else kind.replaced)
        return kind(make(node, nodes, disk), disk, rng, len(nodes))

    return Simulation(nodes, build, seed=seed, wire=wire, pattern="replicated_log")


def named(count: int) -> list[str]:
    return [f"n{number + 1}" for number in range(count)]


def finish(simulation: Simulation, nodes: Sequence[str], end: float) -> Simulation:
    """Let it be calm for long enough, and read every node's log."""
    simulation.run(end)
    for node in nodes:
        simulation.request(node, {"f": "read", "from": 0})
    simulation.run(end + 1)
    return simulation


def play(seed: int, make: Make = core_of, kind: type[Node] = Node) -> Simulation:
    """Two to five nodes under crashes, cuts and pauses, over a network that is bad."""
    rng = random.Random(seed)
    nodes = named(rng.randint(2, 5))
    wire = Wire(
        delay=(0.001, rng.choice((0.005, 0.05))),
        loss=rng.choice((0.0, 0.05, 0.2)),
        duplicate=rng.choice((0.0, 0.1, 0.3)),
    )
    simulation = world(seed, nodes, wire, make, kind)
    inject(simulation, random_faults(rng, nodes, TROUBLE, crashes=6))
    for number in range(CALLERS):
        Caller(simulation, f"c{number}")
    return finish(simulation, nodes, TROUBLE + CALM)


@scenario(judge)
def log_under_faults(seed: int) -> Simulation:
    return play(seed)


@scenario(judge)
def log_on_full_disks(seed: int) -> Simulation:
    return play(seed, kind=Tight)


@scenario(judge)
def log_with_new_disks(seed: int) -> Simulation:
    return play(seed, kind=Renewed)


@scenario(judge)
def log_under_a_nemesis(seed: int) -> Simulation:
    """What befalls hosts in `run-demo --nemesis`, from the same seeds."""
    nodes = named(5)
    simulation = world(seed, nodes, Wire())
    aims = Aims([(node, "replicated_log_secondary") for node in nodes], tuple(nodes))
    schedule = nemesis.draw(seed, aims, NAMES, TROUBLE)
    Lab(simulation).schedule(schedule.planned)
    for number in range(CALLERS):
        Caller(simulation, f"c{number}")
    return finish(simulation, nodes, schedule.seconds + CALM)


def test_holds_under_loss_reordering_partition_pause_and_restart() -> None:
    log_under_faults.check(share(range(SEEDS), 3))


def test_holds_where_disks_are_full_now_and_then() -> None:
    log_on_full_disks.check(share(range(SEEDS), 3))


def test_holds_where_secondaries_return_with_new_disks() -> None:
    log_with_new_disks.check(share(range(SEEDS), 3))


def test_holds_under_what_befalls_hosts() -> None:
    log_under_a_nemesis.check(share(range(SEEDS // 3), 3))


def test_faults_and_appends_did_happen() -> None:
    """The schedules above are not empty."""
    seen = {event["event"] for seed in range(40) for event in play(seed, kind=Tight).trace}
    trouble = {"crash", "restart", "pause", "resume", "cut", "heal", "lost"}
    assert trouble | {"stored", "health", "read_only", "writable", "gap"} <= seen
    assert {"ok", "fail", "unknown", "disk_full"} <= seen

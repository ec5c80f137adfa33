"""How fast the checkers judge: operations, or deliveries, a second of one core."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator, Mapping

from apps.kit import checkers
from apps.kit.claims import Event, Finding
from apps.kit.history import operations
from benchmarks.figures import Figure, Tell
from benchmarks.stand import Stand
from lab.simulator import objects

_CLIENTS = 5
_COUNT = 1_000
_UNKNOWN = 0.01
_MESSAGES = 5_000
_NODES = ("n1", "n2", "n3", "n4", "n5")
_PATTERN = {"pattern": "bench", "component": "node"}

Check = Callable[[list[Event]], Finding]

_OBJECTS: Mapping[str, tuple[Callable[[], objects.Thing], type[checkers.Model]]] = {
    "register": (objects.Register, checkers.Register),
    "log": (objects.Log, checkers.Log),
    "set": (objects.Set, checkers.Set),
    "queue": (objects.Queue, checkers.Queue),
}
_DELIVERIES: Mapping[str, Check] = {
    "exactly once": lambda history: checkers.exactly_once(history, to=_NODES),
    "FIFO": checkers.fifo,
    "causal order": checkers.causal,
    "total order": lambda history: checkers.total_order(history, delivered="recv"),
    "prefix": lambda history: checkers.same_prefix(history, delivered="recv"),
}


def judging(_: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure each checker with histories that hold: it has to look at all of them."""
    tell(f"checkers, {runs} times each")
    note = f"{_COUNT:,} operations of {_CLIENTS} clients, {_UNKNOWN:.0%} of unknown outcome"
    for name, (thing, model) in _OBJECTS.items():
        judge = functools.partial(checkers.linearizable, model=model)
        usage = objects.Usage(_CLIENTS, _COUNT, _UNKNOWN)
        histories = [objects.used(thing(), seed, usage) for seed in range(runs)]
        rates = tuple(_rate(history, judge, _COUNT) for history in histories)
        yield Figure("checkers", f"linearizability, {name}", "/s", rates, note=note)
    reads = [_reads(seed) for seed in range(runs)]
    rates = tuple(
        _rate(h, lambda h: checkers.monotonic_reads(operations(h)), _COUNT) for h in reads
    )
    yield Figure("checkers", "monotonic reads", "/s", rates)
    stays = [_stays(seed) for seed in range(runs)]
    rates = tuple(_rate(history, checkers.mutual_exclusion, _COUNT) for history in stays)
    yield Figure("checkers", "mutual exclusion", "/s", rates)
    broadcasts = [_broadcasts(seed) for seed in range(runs)]
    note = f"deliveries: {_MESSAGES:,} broadcasts to {len(_NODES)} nodes"
    for name, check in _DELIVERIES.items():
        rates = tuple(_rate(history, check, _MESSAGES * len(_NODES)) for history in broadcasts)
        yield Figure("checkers", name, "/s", rates, note=note)


def _rate(history: list[Event], check: Check, count: int) -> float:
    began = time.process_time()
    found = check(history)
    took = time.process_time() - began
    if not found.holds:
        raise AssertionError(f"a good history was not found good: {found.detail}")
    return count / took


def _reads(seed: int) -> list[Event]:
    rng, version = random.Random(seed), 0
    history: list[Event] = []
    for number in range(_COUNT):
        version += rng.random() < 0.5
        common = {**_PATTERN, "node": rng.choice(_NODES), "op": str(number), "f": "read"}
        history.append({"event": "invoke", **common, "t": number, "value": None})
        history.append({"event": "ok", **common, "t": number + 0.5, "value": version})
    return history


def _stays(seed: int) -> list[Event]:
    rng = random.Random(seed)
    holders = [rng.choice(_NODES) for _ in range(_COUNT)]
    return [
        {"event": event, **_PATTERN, "node": node, "t": number + after}
        for number, node in enumerate(holders)
        for event, after in (("enter", 0.0), ("exit", 0.5))
    ]


def _broadcasts(seed: int) -> list[Event]:
    """Messages that all nodes deliver in the order of their sending, each node in its own time."""
    rng = random.Random(seed)
    sent: list[str] = []
    done = dict.fromkeys(_NODES, 0)
    history: list[Event] = []
    while len(sent) < _MESSAGES or min(done.values()) < _MESSAGES:
        node = rng.choice(_NODES)
        if done[node] < len(sent) and rng.random() < 0.8:
            history.append({"event": "recv", **_PATTERN, "node": node, "id": sent[done[node]]})
            done[node] += 1
        elif len(sent) < _MESSAGES:
            sent.append(f"{node}#{len(sent)}")
            history.append({"event": "send", **_PATTERN, "node": node, "id": sent[-1]})
    return history

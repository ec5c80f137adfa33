"""The random nemesis: draws from a seed what befalls a workload, and when.

Faults come in bouts with calm between them, after a while in which all is well and before one in
which all can recover. A bout is one fault or two at once; never two of one kind in one place, never
one that the other makes senseless: a pause of what has no power, a link's fault between hosts that
are cut off from each other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from apps.kit.faults import (
    SHAPES,
    Clock,
    Disk,
    Fault,
    Kill,
    Link,
    Partition,
    Pause,
    PowerOff,
    Reset,
)
from lab.errors import LabError
from lab.faults.aims import Aims
from lab.faults.planned import Planned, Schedule

WARM = 2.0
"""Seconds before the first fault."""
RECOVERY = 5.0
"""Seconds after the last one."""
SHORTEST = 10.0
"""Seconds of a workload below which there is no room for a bout."""
BOUT = (1.5, 4.0)
CALM = (1.0, 2.5)
TWO_AT_ONCE = 0.25
"""How probable it is that a bout has two faults."""
_TRIES = 20


def draw(seed: int, aims: Aims, names: Sequence[str], seconds: float) -> Schedule:
    """Draw what befalls a workload of so many seconds; the same for the same arguments.

    `names` are the faults to choose from (`lab.faults.aims.NAMES`).
    """
    if seconds < SHORTEST:
        raise LabError(
            f"{seconds:g} s are too short for a nemesis",
            f"give it {SHORTEST:g} s or more: --seconds",
        )
    rng = random.Random(f"nemesis/{seed}/{aims.components[0]}")
    planned: list[Planned] = []
    at, last = WARM, seconds - RECOVERY
    while last - at >= BOUT[0]:
        length = min(round(rng.uniform(*BOUT), 1), last - at)
        planned += [
            Planned(at, length if fault.lasts else 0.0, fault) for fault in _bout(rng, aims, names)
        ]
        at = round(at + length + rng.uniform(*CALM), 1)
    return Schedule(seed, seconds, tuple(planned))


def draw_one(rng: random.Random, aims: Aims, names: Sequence[str]) -> Fault:
    """Draw a fault of one of these names, among those that make sense; LabError if none does."""
    sensible = aims.sensible(names)
    if not sensible:
        why = "; ".join(f"{name}: {aims.why_not(name)}" for name in names)
        raise LabError(f"no such fault makes sense here: {why}", "choose others: --faults")
    return _fault(rng.choice(sensible), rng, aims)


def compatible(one: Fault, other: Fault) -> bool:
    """Tell whether both can be on at once, each as if alone."""
    for a, b in ((one, other), (other, one)):
        # A link's fault is measured between all of its hosts: a dark one would not answer.
        if isinstance(a, PowerOff) and (isinstance(b, Link) or a.host in _touched(b)):
            return False
    if isinstance(one, Partition | Link | Reset) and isinstance(other, Partition | Link | Reset):
        return False
    same_place = one.where() == other.where()
    unit = (Kill, Pause, Clock, Disk)
    return not (same_place and isinstance(one, unit) and isinstance(other, unit))


def _bout(rng: random.Random, aims: Aims, names: Sequence[str]) -> list[Fault]:
    first = draw_one(rng, aims, names)
    if rng.random() >= TWO_AT_ONCE:
        return [first]
    for _ in range(_TRIES):
        second = draw_one(rng, aims, names)
        if compatible(first, second):
            return [first, second]
    return [first]


def _touched(fault: Fault) -> set[str]:
    """Give the hosts that a fault acts on, or needs to be measured."""
    match fault:
        case Partition(_, hosts):
            return set(hosts)
        case Reset(host, peers):
            return {host, *peers}
    return set(fault.where())


def _fault(name: str, rng: random.Random, aims: Aims) -> Fault:
    """Draw where, and how bad."""
    host, component = rng.choice(aims.components)
    match name:
        case "kill":
            return Kill(host, component)
        case "pause":
            return Pause(host, component)
        case "power_off":
            return PowerOff(rng.choice(aims.powered()))
        case "partition" | "mute":
            return _partition(rng, host, aims.hosts, ("mute",) if name == "mute" else SHAPES)
        case "clock":
            offset = rng.choice((-1, 1)) * round(rng.uniform(0.2, 5.0), 1)
            return Clock(host, component, offset, drift=rng.choice((0.0, -0.05, 0.05)))
        case "disk_full":
            return Disk(host, component, full=True, free=rng.choice((64 << 10, 256 << 10)))
        case "disk_slow":
            return Disk(host, component, delay=rng.choice((0.02, 0.1, 0.3)))
        case "reset":
            return Reset(host)
    among = [h for h in aims.hosts if h == host or h in aims.clients]
    return _link(name, rng, rng.choice(((host,), tuple(among))))


def _partition(
    rng: random.Random, first: str, hosts: Sequence[str], shapes: Sequence[str]
) -> Partition:
    """Draw a shape that cuts something, with one that faults aim at in the first place."""
    others = [host for host in hosts if host != first]
    rng.shuffle(others)
    cutting = [s for s in shapes if Partition(s, (first, *others)).cut()]
    return Partition(rng.choice(cutting), (first, *others))


def _link(name: str, rng: random.Random, on: tuple[str, ...]) -> Link:
    match name:
        case "loss":
            return Link(on, loss=rng.choice((0.05, 0.2, 0.5)))
        case "delay":
            delay = rng.choice((0.02, 0.1, 0.3))
            return Link(on, delay=delay, jitter=rng.choice((0.0, delay / 4)))
        case "duplicate":
            return Link(on, duplicate=rng.choice((0.05, 0.2)))
        case "reorder":
            return Link(on, delay=0.02, reorder=rng.choice((0.1, 0.3)))
        case "corrupt":
            return Link(on, corrupt=rng.choice((0.01, 0.05)))
        case _:
            return Link(on, rate=rng.choice((64e3, 256e3, 1e6)))

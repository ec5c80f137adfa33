"""What a matrix injects: one fault of each name, as strong for every pattern as for the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.kit.faults import Clock, Disk, Fault, Kill, Link, Partition, Pause, PowerOff, Reset
from lab.errors import LabError
from lab.faults.aims import NAMES, Aims, chosen
from lab.faults.planned import Planned, Schedule

NONE = "none"
"""The workload without a fault: what all else is compared with."""
WARM = 1.2
"""Seconds before the fault, in which clients start and all is well."""
LASTS = 2.0
"""Seconds of the fault."""
AFTER = 2.3
"""Seconds for all else: until the fault took, its end, and whether all is as before."""


@dataclass(frozen=True, slots=True)
class Column:
    """A fault of the matrix."""

    about: str
    """What befalls whom, in a few words."""
    make: Callable[[Aims], Fault]
    after: float = AFTER
    """Seconds beside those that it lasts; a restart and a boot need more of them."""
    confined: bool = False
    """Whether it acts on one unit alone, so that patterns can be played side by side."""


def _first(make: Callable[[str, str], Fault]) -> Callable[[Aims], Fault]:
    return lambda aims: make(*aims.components[0])


def _cut(shape: str) -> Callable[[Aims], Fault]:
    def make(aims: Aims) -> Fault:
        first, _ = aims.components[0]
        return Partition(shape, (first, *(host for host in aims.hosts if host != first)))

    return make


def _link(**effects: Any) -> Callable[[Aims], Fault]:
    """Let what leaves its host suffer, and what leaves its clients' hosts."""

    def make(aims: Aims) -> Fault:
        first, _ = aims.components[0]
        return Link(tuple(h for h in aims.hosts if h == first or h in aims.clients), **effects)

    return make


COLUMNS: Mapping[str, Column] = {
    "kill": Column("SIGKILL; systemd starts it again", _first(Kill), after=3.0, confined=True),
    "pause": Column("SIGSTOP", _first(Pause), confined=True),
    "power_off": Column("its host without power", lambda a: PowerOff(a.powered()[0]), after=4.0),
    "partition": Column("its host cut off from all others", _cut("isolate")),
    "mute": Column("nothing of its host arrives, but it hears", _cut("mute")),
    "loss": Column("20% of the packets lost", _link(loss=0.2)),
    "delay": Column("packets 200 ms late, ± 50 ms", _link(delay=0.2, jitter=0.05), after=3.0),
    "duplicate": Column("20% of the packets twice", _link(duplicate=0.2)),
    "reorder": Column("25% of the packets overtake", _link(delay=0.02, reorder=0.25)),
    "corrupt": Column("5% of the packets with a bit flipped", _link(corrupt=0.05)),
    "rate": Column("128 kbit/s at most", _link(rate=128e3), after=3.0),
    "clock": Column(
        "its wall clock 30 s ahead",
        _first(lambda host, component: Clock(host, component, offset=30.0)),
        after=4.0,
        confined=True,
    ),
    "disk_full": Column(
        "64 KiB more, then no write succeeds",
        _first(lambda host, component: Disk(host, component, full=True, free=64 << 10)),
        after=4.0,
        confined=True,
    ),
    "disk_slow": Column(
        "each write 0.1 s longer",
        _first(lambda host, component: Disk(host, component, delay=0.1)),
        after=4.0,
        confined=True,
    ),
    "reset": Column("its host's TCP connections reset", lambda a: Reset(a.components[0][0])),
}
"""Of links suffers what leaves its host, and what leaves its clients' hosts."""
SIDE_BY_SIDE = 2
"""Patterns that are played at the same time under faults that are confined to one unit."""


def at_once(name: str) -> int:
    """Give how many patterns can be played under it at the same time."""
    return SIDE_BY_SIDE if name == NONE or COLUMNS[name].confined else 1


def named(text: str) -> list[str]:
    """Give the faults of a comma-separated list, the baseline first; all if it is empty."""
    names = [name for name in text.split(",") if name.strip() not in {NONE, ""}]
    if text and not names:
        return [NONE]
    return [NONE, *(name for name in NAMES if name in chosen(",".join(names)))]


def about(name: str) -> str:
    """Tell what a column is."""
    return "no fault" if name == NONE else COLUMNS[name].about


def schedule(name: str, aims: Aims, seed: int, lasts: float = LASTS) -> Schedule:
    """Give the schedule of a cell."""
    if name == NONE:
        return Schedule(seed, WARM + AFTER, ())
    column = COLUMNS[name]
    fault = column.make(aims)
    planned = Planned(WARM, lasts if fault.lasts else 0.0, fault)
    return Schedule(seed, planned.end + column.after, (planned,))


def why_not(name: str, aims: Aims) -> str:
    """Tell why a cell makes no sense; nothing if it does."""
    return "" if name == NONE else aims.why_not(name)


def known(names: Sequence[str]) -> list[str]:
    """Refuse a name that a stored matrix has and this program does not."""
    for name in names:
        if name != NONE and name not in COLUMNS:
            raise LabError(f"there is no fault {name!r}", "begin a new matrix: fab matrix")
    return list(names)

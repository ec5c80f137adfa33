"""What a run plays: demos, or workloads under faults, as new or as an earlier run did.

A plan says for each pattern which schedule its workload is played under; None is the demo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from lab.catalogue import Pattern
from lab.errors import LabError
from lab.evidence.runs import SCHEDULE, workload
from lab.evidence.stored import StoredRun
from lab.faults import nemesis
from lab.faults.aims import Aims, aims_of
from lab.faults.planned import Schedule
from lab.faults.schedule import read
from lab.hosts.inventory import Inventory

Plan: TypeAlias = Callable[[Pattern], Schedule | None]


def demos(pattern: Pattern) -> None:
    """Plan no schedule: the pattern's own scenario is played."""


def from_file(path: Path, inventory: Inventory, seconds: float | None = None) -> Plan:
    """Plan each workload under the schedule of a file, for so many seconds if given."""

    def plan(pattern: Pattern) -> Schedule:
        schedule = read(path, inventory, aims(pattern, inventory))
        last = max((plan.end for plan in schedule.planned), default=0.0)
        if seconds is not None and seconds < last:
            raise LabError(
                f"{path}: its faults go on for {last:g} s, longer than {seconds:g} s",
                "give the workload more time: --seconds",
            )
        return replace(schedule, seconds=seconds or schedule.seconds)

    return plan


def from_nemesis(seed: int, names: Sequence[str], inventory: Inventory, seconds: float) -> Plan:
    """Plan each workload under a schedule that is drawn for it."""
    return lambda pattern: nemesis.draw(seed, aims(pattern, inventory), names, seconds)


def from_run(run: StoredRun, inventory: Inventory) -> Plan:
    """Plan what a stored run played, under the schedule that it kept."""

    def plan(pattern: Pattern) -> Schedule | None:
        path = run.path / pattern.name / SCHEDULE
        return read(path, inventory) if path.exists() else None

    return plan


def aims(pattern: Pattern, inventory: Inventory) -> Aims:
    """Give what faults of a pattern's workload can aim at; LabError if it has none."""
    return aims_of(pattern, workload(pattern), inventory)

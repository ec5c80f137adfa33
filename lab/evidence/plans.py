"""What a run plays: demos, or workloads under faults, as new or as an earlier run did.

A plan says for each pattern which schedule its workload is played under; None is the demo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from apps.kit.claims import History
from apps.kit.faults import BadFault, from_json
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
        last = max(plan.end for plan in schedule.planned)
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


def injected(history: History) -> list[str]:
    """Give the faults of a history as people say them, in the order of their begin."""
    return [_told(event) for event in history if event["event"] == "inject"]


def differences(before: StoredRun, now: StoredRun) -> list[str]:
    """Tell in what a run differs from the one that it repeats: in faults, and in verdicts."""
    told: list[str] = []
    for pattern in before.patterns:
        faults = [injected(run.history(pattern)[0]) for run in (before, now)]
        if faults[0] != faults[1]:
            told += [f"{pattern}: the faults were {', '.join(f) or 'none'}" for f in faults]
    claims = [{(v.pattern, v.claim): v.verdict for v in run.verdicts} for run in (before, now)]
    for pattern, claim in dict.fromkeys([*claims[0], *claims[1]]):
        words = [claimed.get((pattern, claim), "not stated") for claimed in claims]
        if words[0] != words[1]:
            told.append(f"{pattern}: {claim}: {words[0]} before, {words[1]} now")
    return told


def _told(event: object) -> str:
    fault = event.get("fault") if isinstance(event, dict) else None
    try:
        return str(from_json(fault)) if isinstance(fault, dict) else "not told"
    except BadFault:
        return f"not known: {fault}"

"""SIGKILL to a unit: `unit`. If it is on a disk that forgets, what it did not sync is lost."""

from __future__ import annotations

from typing import Any

from lab.faults.onhost import disk
from lab.faults.onhost.command import must
from lab.faults.onhost.records import Record, Trouble
from lab.faults.onhost.units import processes, settled, state
from lab.faults.onhost.waiting import becomes

_SECONDS = 5.0


def begin(record: Record) -> None:
    """Kill all of its processes at once."""
    unit = record.parameters["unit"]
    settled(unit)
    record.kept["processes"] = processes(unit)
    if not record.kept["processes"]:
        raise Trouble(f"{unit} does not run, so it cannot be killed: `fab status` tells why")
    record.kept["bytes_lost"] = disk.forget(unit)
    must("systemctl", "kill", "--kill-whom=all", "--signal=KILL", unit)


def check(record: Record) -> dict[str, Any]:
    """See that every one of them is gone."""
    killed = record.kept["processes"]
    if not becomes(lambda: all(state(process) in {"", "Z", "X"} for process in killed), _SECONDS):
        raise Trouble(f"processes of {record.parameters['unit']} survive SIGKILL: {killed}")
    lost = record.kept["bytes_lost"]
    return {"processes": len(killed), **({"bytes_lost": lost} if lost else {})}


def end(record: Record) -> None:
    """Nothing: systemd starts it again."""

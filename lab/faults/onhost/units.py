"""Units of this host, and their processes."""

from __future__ import annotations

from pathlib import Path

from lab.faults.onhost.command import must
from lab.faults.onhost.records import Trouble
from lab.faults.onhost.waiting import becomes

_SETTLES = 10.0
"""Seconds that a unit may take to start, or to be started again."""
_CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/systemd"))
"""Where systemd keeps its groups: in a pure v2 tree, and in a hybrid one."""


def show(unit: str, *names: str) -> dict[str, str]:
    """Give properties of a unit; Trouble if there is no such unit."""
    said = must("systemctl", "show", unit, f"--property=LoadState,{','.join(names)}")
    properties = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    if properties.pop("LoadState") != "loaded":
        raise Trouble(f"there is no unit {unit} here: deploy its pattern, or aim elsewhere")
    return properties


def settled(unit: str) -> str:
    """Give what systemd calls the unit's state, once it neither starts nor stops."""
    moving = {"activating", "deactivating", "reloading"}
    becomes(lambda: show(unit, "ActiveState")["ActiveState"] not in moving, _SETTLES)
    return show(unit, "ActiveState")["ActiveState"]


def group(unit: str) -> Path:
    """Give the control group of a running unit; Trouble if it does not run."""
    name = show(unit, "ControlGroup")["ControlGroup"]
    for tree in _CGROUPS:
        path = tree / name.lstrip("/")
        if name and (path / "cgroup.procs").exists():
            return path
    raise Trouble(f"{unit} does not run")


def processes(unit: str) -> list[int]:
    """Give the processes of a unit, of its sub-groups too; none if it does not run."""
    try:
        top = group(unit)
    except Trouble:
        return []
    files = top.rglob("cgroup.procs")
    return sorted(int(pid) for file in files for pid in file.read_text().split())


def state(process: int) -> str:
    """Give the letter of a process' state (proc(5)); nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""

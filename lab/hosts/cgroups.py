"""Each machine's processes, held together by a control group of their own.

A machine outlives the command that booted it, its supervisor can be killed and leave its payload
behind, and no pid file survives `kill -9` of everybody. The kernel's own bookkeeping does: all
processes of host n1 of lab local are in a control group called `distlab:local:n1.service`.

Where PID 1 is systemd it owns the tree, and a transient service of that name is asked of it, with
the properties of systemd's own systemd-nspawn@.service. Where it is not (containers, sandboxes, WSL
without systemd) the group is made by hand, in the hierarchies that systemd-nspawn looks at: the v2
tree and, on a hybrid machine, `name=systemd`.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.errors import LabError

_IN_GROUP = re.compile(r"/distlab:([a-z0-9-]+):([a-z0-9-]+)\.[a-z]+(?=/|$)", re.MULTILINE)


def _group_name(lab: str, host: str) -> str:
    return f"distlab:{lab}:{host}.service"


def systemd_is_init() -> bool:
    """Whether this machine's PID 1 is systemd: the test of sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def start(
    lab: str, host: str, command: Sequence[str], *, cables: Path, console: Path, lock: int
) -> bool:
    """Start a machine's supervisor in the machine's group; whether that went well.

    It is in the group when this returns, in a session of its own and nobody's child. Until then
    the child that starts it holds the lab's `lock` too: should this process be killed, whoever gets
    the lock next finds the machine or finds none. If the machine inside reboots, `command` is run
    again. Before each time, `cables` is done, lines for `ip -force -batch`: old cables go, new ones
    come.
    """
    launcher = _ask_systemd if systemd_is_init() else _by_hand
    with console.open("wb") as output:
        return (
            subprocess.run(
                [*launcher(lab, host, cables, console), *command],
                stdin=lock,
                stdout=output,
                stderr=output,
                env={**os.environ, **_ENVIRONMENT},
                check=False,
            ).returncode
            == 0
        )


# The machine gets a pure v2 tree of control groups, whatever this machine has.
_ENVIRONMENT = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}


def _ask_systemd(lab: str, host: str, cables: Path, console: Path) -> list[str]:
    properties = {
        "Delegate": "yes",
        "KillMode": "mixed",
        "TasksMax": "16384",
        "RestartForceExitStatus": "133",  # nspawn's, when the machine inside reboots
        "SuccessExitStatus": "133",
        "ExecStartPre": f"-ip -force -batch {cables}",
        "StandardOutput": f"append:{console}",
        "StandardError": f"append:{console}",
    }
    return [
        *("systemd-run", "--quiet", "--collect", "--slice=machine.slice"),
        f"--unit={_group_name(lab, host)}",
        f"--description=Host {host} of lab {lab}",
        *(f"--setenv={name}={value}" for name, value in _ENVIRONMENT.items()),
        *(f"--property={name}={value}" for name, value in properties.items()),
        "--",
    ]


def _by_hand(lab: str, host: str, cables: Path, _console: Path) -> list[str]:
    groups = [hierarchy / _group_name(lab, host) for hierarchy in _hierarchies()]
    for group in groups:
        group.mkdir(exist_ok=True)
    launcher = Path(__file__).with_name("launch.sh")
    return [str(launcher), str(cables), *(str(group / "cgroup.procs") for group in groups), "--"]


def members(lab: str) -> dict[str, list[int]]:
    """The running processes of each machine of the lab, by host name."""
    found: dict[str, list[int]] = defaultdict(list)
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            match = _IN_GROUP.search((process / "cgroup").read_text())
        except OSError:  # it ended meanwhile
            continue
        if match and match[1] == lab and _alive(process):
            found[match[2]].append(int(process.name))
    return dict(found)


def _alive(process: Path) -> bool:
    """Not a zombie: those have no mappings, no files and no effect."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def remove(lab: str, host: str | None = None) -> None:
    """Remove the empty groups of one machine, or of all the lab's. systemd collects its own."""
    pattern = f"distlab:{lab}:{host or '*'}.*"
    for hierarchy in _hierarchies():
        for group in hierarchy.glob(pattern):
            for directory in [*_below(group), group]:
                directory.rmdir()


def _below(directory: Path) -> Iterator[Path]:
    """All groups under a group, the deepest first."""
    for child in directory.iterdir():
        if child.is_dir():
            yield from _below(child)
            yield child


def _hierarchies() -> list[Path]:
    """Where the trees that nspawn uses are mounted; none where systemd keeps them itself."""
    if systemd_is_init():
        return []
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mountpoint, kind, options = line.split()[:4]
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(mountpoint))
    if not found:
        raise LabError(
            "no control group hierarchy that systemd could use is mounted on this machine",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )
    return found

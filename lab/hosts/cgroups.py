"""Each machine's processes, held together by a control group of their own.

A machine outlives the command that booted it, its supervisor can be killed and leave its payload
behind, and no pid file survives `kill -9` of everybody. The kernel's own bookkeeping does: all
processes of host n1 of lab local are in a control group called `distlab:local:n1.scope`.

Where PID 1 is systemd it owns the tree, and a transient scope unit of that name is asked of it.
Where it is not (containers, sandboxes, WSL without systemd) the group is made by hand, in the
hierarchies that systemd-nspawn looks at: the v2 tree and, on a hybrid machine, `name=systemd`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from lab.errors import LabError

_IN_SCOPE = re.compile(r"/distlab:([a-z0-9-]+):([a-z0-9-]+)\.scope(?=/|$)", re.MULTILINE)


def scope_name(lab: str, host: str) -> str:
    """The name of the control group of one machine."""
    return f"distlab:{lab}:{host}.scope"


def systemd_is_init() -> bool:
    """Whether this machine's PID 1 is systemd: the test of sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def launcher(lab: str, host: str) -> list[str]:
    """A command that runs the command appended to it in the machine's control group."""
    scope = scope_name(lab, host)
    if systemd_is_init():
        return [
            *("systemd-run", "--quiet", "--scope", "--collect", f"--unit={scope}"),
            *("--property=Delegate=yes", f"--description=Host {host} of lab {lab}", "--"),
        ]
    joins = []
    for hierarchy in _hierarchies():
        (hierarchy / scope).mkdir(exist_ok=True)
        joins.append(str(hierarchy / scope / "cgroup.procs"))
    script = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'
    return ["sh", "-euc", script, "sh", *joins, "--"]


def members(lab: str) -> dict[str, list[int]]:
    """The running processes of each machine of the lab, by host name."""
    found: dict[str, list[int]] = defaultdict(list)
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            match = _IN_SCOPE.search((process / "cgroup").read_text())
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
    pattern = scope_name(lab, host) if host else f"distlab:{lab}:*.scope"
    for hierarchy in _hierarchies():
        for scope in hierarchy.glob(pattern):
            for directory in [*_below(scope), scope]:
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

"""The lab's units on a host: what was written of each, and which revision of it runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

UNITS = Path("/etc/systemd/system")
RECORDS = Path("/etc/distlab/units")
"""Of each unit a record: its revision, and the digests of the files that it consists of."""
REVISION = "DISTLAB_REVISION"

Run: TypeAlias = Callable[[list[str]], tuple[int, str, str]]


def record_path(name: str) -> Path:
    """Give the path of a unit's record."""
    return RECORDS / f"{name}.json"


def record_text(revision: str, files: Mapping[Path, tuple[str, int]]) -> str:
    """Give the record of a unit with these files, which are texts with modes."""
    digests = {
        str(path): [mode, hashlib.sha256(text.encode()).hexdigest()]
        for path, (text, mode) in files.items()
    }
    return json.dumps({"revision": revision, "files": digests}) + "\n"


def written(name: str) -> str:
    """Give the revision that a unit's files are, or nothing where one is not as it was written."""
    try:
        record = json.loads(record_path(name).read_text())
        for path, (mode, digest) in record["files"].items():
            file = Path(path)
            if (file.stat().st_mode & 0o777) != mode:
                return ""
            if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                return ""
    except (OSError, ValueError, KeyError):  # not there, or cut off while it was written
        return ""
    return str(record["revision"])


def running(name: str, main_pid: int) -> str:
    """Ask what runs for its revision: the main process, or the stamp of a unit that has none."""
    try:
        if not main_pid:
            return Path(f"/run/{name}.revision").read_text().strip()
        environment = Path(f"/proc/{main_pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
    pairs = (entry.partition("=") for entry in environment.split("\0"))
    return next((value for key, _, value in pairs if key == REVISION), "")


def shown(names: Iterable[str], run: Run) -> list[dict[str, str]]:
    """Give what systemd knows of each unit, in their order."""
    properties = "ActiveState,UnitFileState,MainPID,NeedDaemonReload"
    services = [f"{name}.service" for name in names]
    _, out, _ = run(["systemctl", "show", *services, "-p", properties])
    return [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in out.strip().split("\n\n")
    ]


def standing(run: Run) -> dict[str, str]:
    """Give every unit of the lab on this host, with the revision that it is, from file to process.

    It is none where its files, its enabling and what runs do not agree.
    """
    found = (
        path.stem for prefix in ("lab", "distlab") for path in UNITS.glob(f"{prefix}-*.service")
    )
    names = sorted(found)
    units = dict.fromkeys(names, "")
    for name, state in zip(names, shown(names, run) if names else [], strict=True):
        revision = written(name)
        runs = running(name, int(state.get("MainPID") or 0))
        enabled = state.get("UnitFileState") == "enabled"
        if state.get("ActiveState") == "active" and enabled and runs == revision:
            units[name] = revision
    return units

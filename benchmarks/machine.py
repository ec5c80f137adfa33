"""The machine that is measured, in words."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from lab.catalogue import ROOT


def circumstances() -> dict[str, str]:
    """Give what a reader must know to compare: machine, system, load before, date, version."""
    memory = int(_in("/proc/meminfo", r"MemTotal:\s+(\d+)") or 0) / (1 << 20)
    cpu = _in("/proc/cpuinfo", r"model name\s*: (.*)") or platform.machine()
    system = _in("/etc/os-release", r'PRETTY_NAME="?([^"\n]*)') or platform.system()
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{len(os.sched_getaffinity(0))} cores of {cpu}, {memory:.0f} GiB",
        "system": f"{system}, Linux {platform.release()}, Python {platform.python_version()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "version": _version(),
    }


def _in(path: str, pattern: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return None
    return found[1].strip() if found else None


def _version() -> str:
    git = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not a git checkout"

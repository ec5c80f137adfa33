"""Files that hosts need for a fault: other people's work, sent when it is first needed.

Hosts have no network, and what only a fault needs is not deployed. The name of a file there tells
its content, so it is sent once and never changes.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.errors import LabError

HOME = "/run/distlab"


@dataclass(frozen=True)
class Sent:
    """A file as the hosts have it."""

    name: str
    content: bytes

    @property
    def path(self) -> str:
        """Where it is on a host."""
        return f"{HOME}/{self.name}"


def named(stem: str, suffix: str, content: bytes) -> Sent:
    """Give the file whose name tells what is in it."""
    return Sent(f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}{suffix}", content)


@cache
def clock_library() -> Sent:
    """Give libfaketime's shared library, built for this machine; LabError if it is not there."""
    path = _package("libfaketime").parent / "vendor/libfaketime/src/libfaketime.so.1"
    if not path.exists():
        raise LabError(
            f"there is no {path}: libfaketime was not built for Linux",
            "inject clock faults from a Linux machine",
        )
    return named("libfaketime", ".so.1", path.read_bytes())


@cache
def file_system_binding() -> Sent:
    """Give mfusepy, one module of plain Python; LabError if it is not there."""
    return named("mfusepy", ".py", _package("mfusepy").read_bytes())


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)  # found, not imported: it may need what is not here
    if found is None or found.origin is None:
        raise LabError(f"this environment has no {name}", "make it anew: make clean check")
    return Path(found.origin)

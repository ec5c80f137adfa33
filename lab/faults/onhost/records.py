"""The faults of this host, as files: written before anything is done, removed when it is undone.

They lie below /run, so a reboot, which undoes every fault, forgets them too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HOME = Path("/run/distlab/faults")


class Trouble(Exception):
    """A fault cannot be injected or healed; the text says why, and what to do."""


@dataclass
class Record:
    """One fault on this host."""

    id: str
    kind: str
    """What is done here: `kill`, `pause`, `block`, `link`, `reset`, `clock`, `disk`."""
    parameters: dict[str, Any]
    """What the kind needs to know: units, addresses, figures."""
    fault: dict[str, Any]
    """The whole fault as people know it (`apps.kit.faults`); it may act on other hosts too."""
    seconds: float
    """How long it lasts, unless it is healed before."""
    since: float = field(default_factory=time.time)
    """When it was written down: seconds since 1970, by this host's clock."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What healing has to know of how it was before."""
    ending: bool = False
    """Whether it is being healed: the host is made as if it were not on record."""

    def save(self) -> None:
        """Write it down; a reader finds it whole or not at all."""
        temporary = HOME / f".{self.id}"
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(HOME / f"{self.id}.json")

    def forget(self) -> None:
        """Remove it."""
        (HOME / f"{self.id}.json").unlink(missing_ok=True)


def load() -> list[Record]:
    """Give the records that are in force, oldest first: what this host shall be like."""
    return [record for record in known() if not record.ending]


def known() -> list[Record]:
    """Give those too whose healing has begun and perhaps was killed half way, oldest first."""
    found = [Record(**json.loads(path.read_text())) for path in sorted(HOME.glob("*.json"))]
    return sorted(found, key=lambda record: record.since)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Be the only one who changes faults on this host; the kernel ends a dead holder's turn."""
    HOME.mkdir(parents=True, exist_ok=True)
    lock = os.open(HOME / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)

"""What the log's cores need besides `apps.kit.effects`: a disk that takes its time, and says when.

`Persist` is done before the next effect is. A log cannot wait so: while one write is synced, the
next one gathers. So a core asks for a `Write`, one at a time and last of all, and is told what
became of it: by `written`, or by `refused` if the disk had no room, and then nothing was changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from apps.kit.effects import Effect as KitEffect
from apps.replicated_log.entries import Entry


@dataclass(frozen=True, slots=True)
class Write:
    """Append these entries to the disk and sync them; `log` is the identity of a log's first."""

    log: str
    entries: tuple[Entry, ...]


Effect: TypeAlias = KitEffect | Write


class Log(Protocol):
    """What is on the disk, to a core: it reads there, and writes by effects alone.

    Source: etcd-io/raft's Storage, which its state machine reads in the same way.
    """

    @property
    def identity(self) -> str:
        """Which log it is; "" if it is none yet."""

    @property
    def length(self) -> int:
        """How many entries are on the disk."""

    def read(self, first: int, most: int, size: int = ...) -> list[Entry]:
        """Give the entries from an offset on: so many at most, and about so many bytes of them."""

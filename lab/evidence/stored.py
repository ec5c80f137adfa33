"""A stored run, as far as it can be read.

A run may be of an earlier layout, half-written, damaged by a full disk or by hand. What cannot be
read is said (`StoredRun.damage`) and never stops who reads the rest. Nothing in a run is trusted:
names that it gives are never followed out of its directory.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from apps.kit.claims import Event
from lab.errors import LabError
from lab.evidence.verdict import WORDS, Verdict, is_event
from lab.topology.model import QUALITIES, Quality

STATES = ("running", "finished", "interrupted", "died", "damaged")
"""A run that `died` was killed: it says that it runs, and no process holds it."""
MATRIX = "matrix.json"
_STAMP = "%Y%m%dT%H%M%SZ"
_PATTERN = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Stored:
    """A directory of the store."""

    path: Path

    @property
    def name(self) -> str:
        """The directory's name, `<time>-<what>`."""
        return self.path.name

    @property
    def reference(self) -> str:
        """What names it to the verbs; a cell of a matrix is named with its matrix."""
        home = self.path.parent
        return f"{home.name}/{self.name}" if (home / MATRIX).is_file() else self.name

    @property
    def began(self) -> datetime | None:
        """When it began, by its name; None if that does not say."""
        try:
            return datetime.strptime(self.name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
        except ValueError:
            return None

    @property
    def live(self) -> bool:
        """Whether the process that writes it still runs; see `hold`."""
        try:
            directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            fcntl.flock(directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(directory)
        return False

    def files(self) -> list[Path]:
        """Give its files, sorted; no links, for they lead elsewhere."""
        return sorted(f for f in self.path.rglob("*") if f.is_file() and not f.is_symlink())

    def remove(self) -> None:
        """Remove the directory with all that is in it; LabError if it cannot be."""
        try:
            shutil.rmtree(self.path)
        except OSError as error:
            raise LabError(f"{self.path} cannot be removed: {error}", "see whose it is") from error


@dataclass(frozen=True)
class StoredRun(Stored):
    """A run, as far as it can be read."""

    manifest: Mapping[str, Any]
    verdicts: tuple[Verdict, ...]
    damage: tuple[str, ...] = ()
    """What could not be read, and why."""

    @cached_property
    def state(self) -> str:
        """One of STATES."""
        said = self.manifest.get("state")
        if said == "running" or not self.manifest:
            # Its manifest comes an instant after its directory.
            return "running" if self.live else "died" if self.manifest else "damaged"
        return said if said in STATES and not self.damage else "damaged"

    @property
    def what(self) -> str:
        """What was played, in a word."""
        return self._text("what") or self.name.partition("-")[2]

    @property
    def command(self) -> str:
        """The command that plays it again."""
        return self._text("command")

    @property
    def seed(self) -> int | None:
        """The seed of all that was random."""
        seed = self.manifest.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs, and if it died."""
        seconds = self.manifest.get("seconds")
        over = self.state not in {"running", "died"}
        return float(seconds) if over and isinstance(seconds, int | float) else None

    @property
    def trouble(self) -> tuple[str, ...]:
        """What went wrong beside the claims, such as a journal that could not be fetched."""
        trouble = self.manifest.get("trouble")
        return tuple(map(str, trouble)) if isinstance(trouble, list) else ()

    @property
    def versions(self) -> Mapping[str, str]:
        """What ran, and of which version."""
        versions = self.manifest.get("versions")
        return {k: str(v) for k, v in versions.items()} if isinstance(versions, dict) else {}

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """The links of its lab's topology, and what befell packets there; none if it had none."""
        topology = self.manifest.get("topology")
        listed = topology.get("links") if isinstance(topology, dict) else None
        return tuple(filter(None, map(_link, listed))) if isinstance(listed, list) else ()

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        """The patterns played, in order; those that left evidence, if the manifest is gone."""
        listed = self.manifest.get("patterns")
        if not isinstance(listed, list):
            listed = sorted(path.parent.name for path in self.path.glob("*/journals"))
        return tuple(n for n in listed if isinstance(n, str) and _PATTERN.fullmatch(n))

    @property
    def counts(self) -> Mapping[str, int]:
        """How many verdicts of each word, the word that matters most first."""
        counted = Counter(verdict.verdict for verdict in self.verdicts)
        return {word: counted[word] for word in WORDS if counted[word]}

    def history(self, pattern: str) -> tuple[list[Event], int]:
        """Give a pattern's events, and how many lines of its history could not be read."""
        if pattern not in self.patterns:
            return [], 0
        lines = [_event(line) for line in _lines(self.path / pattern / "history.jsonl")]
        events = [event for event in lines if event is not None]
        return events, len(lines) - len(events)

    def schedule(self, pattern: str) -> str | None:
        """Give the schedule that a pattern's workload was played under; None if there was none."""
        path = self.path / pattern / "schedule.yml"
        if pattern not in self.patterns or path.is_symlink() or not path.is_file():
            return None
        return path.read_text(errors="replace")

    def figures(self, pattern: str) -> dict[str, float]:
        """Give the numbers that a pattern's demo kept."""
        figures = self.manifest.get("figures")
        kept = figures.get(pattern) if isinstance(figures, dict) else None
        known = kept.items() if isinstance(kept, dict) else ()
        return {name: number for name, number in known if isinstance(number, int | float)}

    def as_json(self) -> dict[str, Any]:
        """Give what a list of runs tells, for programs."""
        return {
            "name": self.name,
            "path": str(self.path),
            "began": self.began.isoformat() if self.began else None,
            "what": self.what,
            "patterns": list(self.patterns),
            "seed": self.seed,
            "state": self.state,
            "seconds": self.seconds,
            "verdicts": dict(self.counts),
            "trouble": list(self.trouble),
            "damage": list(self.damage),
        }

    def _text(self, key: str) -> str:
        value = self.manifest.get(key)
        return value if isinstance(value, str) else ""


def read(path: Path) -> StoredRun:
    """Read the run in a directory, as far as it can be read."""
    damage: list[str] = []
    manifest = load(path / "manifest.json", dict, damage)
    if manifest and manifest.get("state") not in STATES:
        damage.append("manifest.json tells no state")
    # A run writes its verdicts with its first claim; before, there are none to be missed.
    missed = damage if (path / "verdicts.json").exists() or manifest.get("verdicts") else []
    verdicts = []
    for number, record in enumerate(load(path / "verdicts.json", list, missed), 1):
        try:
            verdicts.append(Verdict.from_json(record))
        except ValueError as error:
            damage.append(f"verdicts.json: verdict {number}: {error}")
    return StoredRun(path, manifest, tuple(verdicts), tuple(damage))


def hold(directory: Path) -> None:
    """Hold a run's directory until this process ends, so that others see that it lives.

    The kernel lets go when the process ends, however it ends.
    """
    fcntl.flock(os.open(directory, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)


def load(path: Path, kind: type, damage: list[str]) -> Any:
    """Give what a JSON file holds; if it is none of this kind, say so, and give an empty one."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        damage.append(f"there is no {path.name}")
    except (OSError, ValueError, RecursionError) as error:
        damage.append(f"{path.name} cannot be read: {error}")
    else:
        if isinstance(value, kind):
            return value
        damage.append(f"{path.name} holds no {kind.__name__}")
    return kind()


def _link(entry: Any) -> tuple[str, str] | None:
    try:
        a, b = entry["between"]
        told = Quality(**{name: float(entry[name]) for name in QUALITIES})
    except (KeyError, TypeError, ValueError):
        return None
    return f"{a} to {b}", str(told)


def _lines(path: Path) -> Iterator[bytes]:
    if path.is_symlink() or not path.is_file():
        return
    with path.open("rb") as file:
        yield from file


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if is_event(event) else None

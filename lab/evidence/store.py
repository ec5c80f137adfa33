"""The store of runs: what lies in runs/, listed, filtered, found by name, and removed.

Another directory may be named by the environment, as DISTLAB_RUNS.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lab.catalogue import ROOT
from lab.errors import LabError
from lab.evidence.stored import MATRIX, Stored, StoredRun, load, read

RUNS = Path(os.environ.get("DISTLAB_RUNS", ROOT / "runs")).absolute()
LATEST = "latest"
S = TypeVar("S", bound=Stored)
_STAMPED = re.compile(r"\d{8}T\d{6}Z-")


@dataclass(frozen=True)
class StoredMatrix(Stored):
    """A matrix of patterns under faults."""

    content: Mapping[str, Any]

    @property
    def state(self) -> str:
        """Whether it is being made, was finished, or was left off."""
        finished = self.content.get("state") == "finished"
        return "running" if self.live else "finished" if finished else "interrupted"

    @property
    def counts(self) -> Mapping[str, int]:
        """How many cells of each word."""
        cells = self.content.get("cells")
        known = cells if isinstance(cells, list) else []
        words = (cell.get("word") for cell in known if isinstance(cell, dict))
        return Counter(word for word in words if isinstance(word, str))

    @property
    def page(self) -> Path | None:
        """Its page, if it was written."""
        path = self.path / "matrix.html"
        return path if path.is_file() else None

    def as_json(self) -> dict[str, Any]:
        """Give for programs what a list of them tells; its file has all else."""
        told = {name: self.content.get(name) for name in ("seconds", "seed", "patterns")}
        return {"matrix": self.name, "state": self.state, **told, "cells": dict(self.counts)}


@dataclass(frozen=True)
class Wanted:
    """Which runs: of any of these patterns, with this verdict, in this state, with this text."""

    patterns: Sequence[str] = ()
    verdict: str = ""
    state: str = ""
    text: str = ""

    def has(self, run: StoredRun) -> bool:
        """Tell whether the run is one of them."""
        return (
            (not self.patterns or bool(set(self.patterns) & set(run.patterns)))
            and (not self.verdict or self.verdict in run.counts)
            and (not self.state or self.state == run.state)
            and (not self.text or self.text.lower() in self._said(run))
        )

    def _said(self, run: StoredRun) -> str:
        claims = (f"{verdict.claim}\n{verdict.detail}" for verdict in run.verdicts)
        return "\n".join([run.name, run.command, *run.trouble, *claims]).lower()


def runs(root: Path = RUNS, wanted: Callable[[StoredRun], bool] | None = None) -> list[StoredRun]:
    """Give the stored runs, newest first."""
    found = map(read, _directories(root, lambda path: not _is_matrix(path)))
    return [run for run in found if wanted is None or wanted(run)]


def matrices(root: Path = RUNS) -> list[StoredMatrix]:
    """Give the stored matrices, newest first."""
    return [
        StoredMatrix(path, load(path / MATRIX, dict, [])) for path in _directories(root, _is_matrix)
    ]


def find(name: str, root: Path = RUNS) -> StoredRun:
    """Give the run of this name, of a beginning that only one has, `latest`, or of a path.

    A path is taken from here, or from the store: `20261121T063342Z-matrix/tcp_echo-kill`.

    LabError if there is none, or more than one.
    """
    if name == LATEST:
        return _latest(root)
    if "/" in name or name in {".", ".."}:
        return _at(Path(name), root / name)
    names = [path.name for path in _directories(root, lambda path: not _is_matrix(path))]
    near = [name] if name in names else [n for n in names if name and n.startswith(name)]
    match near:
        case [one]:
            return read(root / one)
        case []:
            raise LabError(f"there is no run {name!r} in {root}", "see which there are: fab runs")
        case _:
            some = ", ".join(near[:5]) + (", …" if len(near) > 5 else "")
            raise LabError(f"{len(near)} runs begin with {name!r}", f"choose one: {some}")


def superfluous(stored: Iterable[S], keep: int) -> list[S]:
    """Give all but the first `keep`; one that is being written is never superfluous."""
    return [one for one in list(stored)[keep:] if not one.live]


def _latest(root: Path) -> StoredRun:
    for path in _directories(root, lambda path: not _is_matrix(path)):
        run = read(path)
        if run.state != "damaged":
            return run
    raise LabError(f"there is no run in {root}", "play one: fab run-demo")


def _at(*paths: Path) -> StoredRun:
    for path in paths:
        if (path / "manifest.json").exists() or (path / "verdicts.json").exists():
            return read(path.resolve())
    raise LabError(
        f"{paths[0]} is no run: it has no manifest.json", "see which there are: fab runs"
    )


def _directories(root: Path, chosen: Callable[[Path], bool]) -> list[Path]:
    if not root.is_dir():
        return []
    found = (path for path in root.iterdir() if path.is_dir() and not path.is_symlink())
    kept = (path for path in found if _is_stored(path) and chosen(path))
    return sorted(kept, key=lambda path: path.name, reverse=True)


def _is_stored(path: Path) -> bool:
    return bool(_STAMPED.match(path.name)) or (path / "manifest.json").is_file()


def _is_matrix(path: Path) -> bool:
    return path.name.endswith("-matrix") or (path / MATRIX).is_file()

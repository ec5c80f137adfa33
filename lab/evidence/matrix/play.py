"""The matrix, played cell by cell; each cell is on disk as soon as it is known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.catalogue import ROOT, Pattern, patterns
from lab.errors import LabError
from lab.evidence import plans
from lab.evidence.matrix import faults, page
from lab.evidence.matrix.cell import Cell, judged
from lab.evidence.runs import Run, fresh_directory
from lab.evidence.stored import MATRIX, hold, read
from lab.hosts.remote import Remote
from lab.hosts.state import write_atomically

PAGE = "matrix.html"


@dataclass
class Matrix:
    """Patterns under faults, and what came of it so far."""

    path: Path
    seed: int
    lasts: float
    """Seconds that each fault lasts."""
    inventory: str
    patterns: list[str]
    faults: list[str]
    state: str = "running"
    """`running`, `finished` or `interrupted`."""
    seconds: float = 0.0
    """How long it was played, all in all."""
    cells: list[Cell] = field(default_factory=list)

    def cell(self, pattern: str, fault: str) -> Cell:
        """Give a cell; a missing one if it was not played."""
        found = [c for c in self.cells if (c.pattern, c.fault) == (pattern, fault)]
        return found[-1] if found else Cell(pattern, fault)

    @property
    def words(self) -> list[str]:
        """The words of all cells."""
        return [
            self.cell(pattern, fault).word for pattern in self.patterns for fault in self.faults
        ]

    @property
    def command(self) -> str:
        """What plays it again."""
        path = Path(self.inventory)
        named = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        words = [
            "fab matrix",
            f"--inventory {named} --seed {self.seed} --seconds {self.lasts:g}",
        ]
        if set(self.patterns) < {pattern.name for pattern in patterns()}:
            words.append(f"--only {','.join(self.patterns)}")
        if self.faults != faults.named(""):
            words.append(f"--faults {','.join(self.faults)}")
        return " ".join(words)

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return {
            "state": self.state,
            "began": self.path.name.partition("-")[0],
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "lasts": self.lasts,
            "inventory": self.inventory,
            "command": self.command,
            "patterns": self.patterns,
            "faults": {name: faults.about(name) for name in self.faults},
            "cells": [
                self.cell(pattern, fault).as_json()
                for pattern in self.patterns
                for fault in self.faults
            ],
        }

    def write(self) -> None:
        """Write its JSON and its page."""
        write_atomically(self.path / MATRIX, json.dumps(self.as_json(), indent=2) + "\n")
        write_atomically(self.path / PAGE, page.render(self))


def begin(
    inventory: Path, chosen: Sequence[Pattern], names: Sequence[str], seed: int, lasts: float
) -> Matrix:
    """Make a matrix of nothing but missing cells, and its directory."""
    path = fresh_directory(f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-matrix")
    return Matrix(path, seed, lasts, str(inventory), [p.name for p in chosen], list(names))


def stored(path: Path) -> Matrix:
    """Read a matrix back; LabError if that cannot be."""
    try:
        content = json.loads((path / MATRIX).read_text())
        return Matrix(
            path,
            content["seed"],
            content["lasts"],
            content["inventory"],
            content["patterns"],
            faults.known(list(content["faults"])),
            content["state"],
            content["seconds"],
            [Cell.from_json(cell) for cell in content["cells"]],
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise LabError(
            f"{path} holds no matrix that can be read: {error!r}", "begin a new one: fab matrix"
        ) from error


def play(
    matrix: Matrix, chosen: Sequence[Pattern], remote: Remote, tell: Callable[[str], None]
) -> None:
    """Play the cells that are missing; a Ctrl-C keeps those that are known, and goes on up."""
    hold(matrix.path)
    rows = [
        [pattern for pattern in chosen if not matrix.cell(pattern.name, fault).played]
        for fault in matrix.faults
    ]
    todo = sum(map(len, rows))
    began, before = time.monotonic(), matrix.seconds
    matrix.state = "interrupted"  # until it is not; a killed one is just that
    matrix.write()
    try:
        done = 0
        for fault, row in zip(matrix.faults, rows, strict=True):
            for cell in _row(matrix, row, fault, remote):
                done += 1
                matrix.cells.append(cell)
                elapsed = time.monotonic() - began
                matrix.seconds = before + elapsed
                matrix.write()
                left = _time(elapsed / done * (todo - done))
                told = ", ".join([cell.word, *cell.figures])
                tell(f"[{done}/{todo}] {cell.pattern} under {fault}: {told} ({left} left)")
        matrix.state = "finished"
    finally:
        matrix.write()


def _row(matrix: Matrix, row: Sequence[Pattern], fault: str, remote: Remote) -> Iterator[Cell]:
    """Play patterns under a fault, side by side where they do not disturb each other."""
    count = faults.at_once(fault)
    if count == 1:  # here, so that a Ctrl-C ends it at once
        yield from (_cell(matrix, pattern, fault, remote) for pattern in row)
        return
    with ThreadPoolExecutor(count) as pool:
        playing = [pool.submit(_cell, matrix, pattern, fault, remote) for pattern in row]
        try:
            for cell in as_completed(playing):
                yield cell.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _cell(matrix: Matrix, pattern: Pattern, fault: str, remote: Remote) -> Cell:
    aims = plans.aims(pattern, remote.inventory)
    reason = faults.why_not(fault, aims)
    if reason:
        return Cell(pattern.name, fault, "senseless", reason)
    schedule = faults.schedule(fault, aims, matrix.seed, matrix.lasts)
    what = f"{pattern.name}-{fault}"
    path = fresh_directory(what, matrix.path)
    command = f"fab run-demo --replay {matrix.path.name}/{path.name}"
    run = Run(remote, matrix.seed, command, what, path)
    state = "interrupted"
    try:
        run.play(pattern, lambda _: None, schedule)
        state = "finished"
    finally:
        run.finish(state)
    history, _ = read(path).history(pattern.name)
    figures = run.manifest["figures"].get(pattern.name, {})
    cell = Cell(pattern.name, fault, run=path.name)
    asked_for = schedule.seconds - faults.WARM
    return judged(cell, run.verdicts, history, figures, asked_for)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"

"""The fault matrix: each pattern's workload under each fault, one table."""

from __future__ import annotations

import random
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.exceptions import Exit

from fabfile.verb import LOCAL, choose, load, tell, verb

if TYPE_CHECKING:
    from lab.evidence.matrix.play import Matrix


@verb(
    "only",
    "json",
    inventory="Which hosts: a directory of inventory/; those of the matrix that is resumed.",
    faults="Which faults, comma-separated: kill,link; all if not given.",
    seconds="How long each fault lasts.",
    seed="Of all that is random in the cells; drawn and told if not given.",
    resume="A matrix that was interrupted: its missing cells are played.",
)
def matrix(
    c: Context,
    inventory: str = "",
    only: str = "",
    faults: str = "",
    seconds: str = "2s",
    seed: int = -1,
    resume: str = "",
    json: bool = False,
) -> None:
    """Play each pattern's workload under each fault, and say what survives what.

    Exit status: 0 no promised claim was violated, 1 one was, 2 a cell is unknown or missing.
    """
    from lab import screen
    from lab.evidence.matrix import faults as columns
    from lab.evidence.matrix import play as matrices
    from lab.evidence.runs import playable, with_workload
    from lab.evidence.store import RUNS
    from lab.faults.quantities import seconds as quantity
    from lab.hosts.remote import Remote

    if resume:
        played = matrices.stored(Path(resume) if "/" in resume else RUNS / resume)
        loaded = load(inventory or played.inventory)
        chosen = playable(loaded, choose(",".join(played.patterns), loaded))
    else:
        loaded = load(inventory or LOCAL)
        chosen = playable(loaded, choose(only, loaded))
        chosen = chosen if only else with_workload(chosen)
        seed = seed if seed >= 0 else random.randrange(2**31)
        names = columns.named(faults)
        played = matrices.begin(loaded.path, chosen, names, seed, quantity(seconds))
    tell(f"seed {played.seed}, evidence in {relpath(played.path)}")
    try:
        with Remote(loaded) as remote:
            matrices.play(played, chosen, remote, tell)
    finally:
        if json:
            screen.as_json(played.as_json())
        else:
            _show(played)
        tell(f"{played.state}: {relpath(played.path / matrices.PAGE)}")
    words = set(played.words)
    unclear = bool(words & {"unknown", "missing"})
    raise Exit(code=1 if "violated" in words else 2 if unclear else 0)


def _show(played: Matrix) -> None:
    """Print it with a fault to a line, for patterns will be many and a terminal is narrow."""
    from lab import screen

    rows = []
    for fault in played.faults:
        cells = [played.cell(pattern, fault) for pattern in played.patterns]
        told = ["-" if c.word == "senseless" else "\n".join([c.word, *c.figures]) for c in cells]
        rows.append([fault, *told])
    screen.table(["fault", *played.patterns], rows)

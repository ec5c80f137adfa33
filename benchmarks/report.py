"""The table: on the screen, as JSON, and in README.md between its markers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figures import COLUMNS, Figure
from benchmarks.kept import Measured
from lab import screen
from lab.errors import LabError
from lab.hosts.state import write_atomically

README = Path(__file__).with_name("README.md")
_BEGIN, _END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"


def show(circumstances: Mapping[str, str], figures: Sequence[Figure]) -> None:
    """Print the table, what it was measured on, and the notes."""
    screen.table(COLUMNS, [figure.cells() for figure in figures])
    for line in [f"{name}: {value}" for name, value in circumstances.items()] + notes(figures):
        screen.progress.print(line, markup=False, soft_wrap=True)


def notes(figures: Sequence[Figure]) -> list[str]:
    """Give what is to be known about some figures."""
    return [f"{figure.what}: {figure.note}" for figure in figures if figure.note]


def write(
    circumstances: Mapping[str, str], figures: Sequence[Figure], readme: Path = README
) -> None:
    """Put one table between the markers of a README; LabError if it has none."""
    told = "\n".join(f"- {name}: {value}" for name, value in circumstances.items())
    _put(f"{told}\n\n{_table(figures)}", readme)


def write_all(parts: Mapping[str, Measured], readme: Path = README) -> None:
    """Put a table for each part between the markers of a README; LabError if it has none."""
    sections = [
        f"### {part}\n\nOn {'; '.join(f'{name} {value}' for name, value in on.items())}.\n\n"
        + _table(figures)
        for part, (on, figures) in parts.items()
    ]
    _put("\n\n".join(sections), readme)


def _table(figures: Sequence[Figure]) -> str:
    """Give the table of some figures, and below it their notes."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(figure.cells() for figure in figures)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    said = "\n".join(f"- {note}" for note in notes(figures))
    return f"{table}\n\n{said}".rstrip()


def _put(text: str, readme: Path) -> None:
    block = f"{_BEGIN}\n\n{text}\n\n{_END}"
    between = re.compile(re.escape(_BEGIN) + ".*?" + re.escape(_END), re.DOTALL)
    text, found = between.subn(lambda _: block, readme.read_text())
    if not found:
        raise LabError(f"{readme} lacks the table's markers", f"put back: {_BEGIN} … {_END}")
    write_atomically(readme, text)

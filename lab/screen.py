"""What a person sees: tables and progress. Programs get JSON on standard output instead."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

progress = Console(stderr=True, highlight=False)
"""Progress goes to standard error, so that standard output is the result alone."""

_STYLES = {
    "active": "green",
    "holds": "green",
    "shown": "cyan",
    "activating": "yellow",
    "degraded": "yellow",
    "unknown": "yellow",
    "violated": "bold red",
    "failed": "bold red",
    "missing": "red",
    "unreachable": "red",
    "inactive": "red",
}


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under columns; a word that says how things stand has its colour."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(text, style=_style(text)) for text in map(str, row)))
    console.print(grid)


def _style(text: str) -> str:
    """Give the colour of a cell whose first line is such a word."""
    return _STYLES.get(text.partition("\n")[0], "")


def as_json(value: object) -> None:
    """Print a value for programs."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")

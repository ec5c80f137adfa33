"""The report of a run: one page in which a person looks instead of reading.

    report.build(run_directory)    writes run_directory/report.html

The page is made of what the run has stored, so it can be made again at any time. It is one file
that loads nothing: Python writes what is text (`page`), and packs each pattern's history
(`timeline`, `columns`), which the scripts of static/ unpack and draw.
"""

from __future__ import annotations

from pathlib import Path

from lab.evidence import stored
from lab.evidence.report.page import render
from lab.hosts.state import write_atomically

PAGE = "report.html"


def build(run_directory: Path) -> Path:
    """Write a run's page from what it has stored, as far as that can be read; give its path."""
    path = run_directory / PAGE
    page = render(stored.read(run_directory.resolve()))
    write_atomically(path, page.encode(errors="replace").decode())  # half a surrogate pair is `?`
    return path

"""A run's report as the site gives it: built on demand, and anew when it is out of date.

It is built by a process of its own: the code may have changed since the server began, and a
history that is too much for the memory costs one page.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from lab.catalogue import ROOT
from lab.errors import LabError
from lab.evidence.report import PAGE, build
from lab.evidence.stored import StoredRun

PATIENCE = 300
"""Seconds that a page may take."""
_CODE = ROOT / "lab" / "evidence"
_one_at_a_time = threading.Lock()


def report(run: StoredRun) -> Path:
    """Give a run's page, as new as the run and as the code of the page; LabError if it fails."""
    with _one_at_a_time:
        page = run.path / PAGE
        if _outdated(run, page):
            _build(run)
        return page


def _outdated(run: StoredRun, page: Path) -> bool:
    if run.state in {"running", "died"} or not page.is_file():
        return True  # what becomes of a run that died is in no file
    made = page.stat().st_mtime_ns
    return _newest(file for file in run.files() if file != page) > made or _newest(_code()) > made


def _code() -> Iterable[Path]:
    yield from _CODE.glob("*.py")
    for path in (_CODE / "report").rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            yield path


def _newest(files: Iterable[Path]) -> int:
    return max((file.stat().st_mtime_ns for file in files), default=0)


def _build(run: StoredRun) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(run.path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(
            f"the report of {run.name} was not built in {PATIENCE} s", "see its files"
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word why"])[-1]
        raise LabError(
            f"the report of {run.name} cannot be built: {last}",
            f"see more: fab report --run {run.name}",
        )


if __name__ == "__main__":
    build(Path(sys.argv[1]))

"""Run and time other programs; a benchmark that is interrupted takes them along."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

_GRACE = 20.0
"""Seconds that a program has to tidy up after an interruption."""


@dataclass(frozen=True)
class Done:
    """How long a command took, in seconds, and what it printed."""

    seconds: float
    output: str


def timed(argv: Sequence[str | Path], cwd: Path, until: str | None = None) -> Done:
    """Run a command to its end; LabError with the end of what it said if it failed.

    With `until`, the seconds are those to the first line that begins with it.
    """
    began = time.perf_counter()
    with subprocess.Popen(
        argv,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None  # noqa: S101  (it was asked for)
        try:
            lines, seconds = [], None
            for line in process.stdout:
                if until and seconds is None and line.startswith(until):
                    seconds = time.perf_counter() - began
                lines.append(line)
        except BaseException:
            end(process)
            raise
    if process.returncode or (until and seconds is None):
        raise LabError(
            f"`{' '.join(map(str, argv))}` ended with {process.returncode}:\n{''.join(lines[-25:])}"
        )
    return Done(seconds or time.perf_counter() - began, "".join(lines))


def end(process: subprocess.Popen[str]) -> None:
    """Interrupt it as Ctrl-C would, and wait; kill it if it does not follow."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def as_root(*argv: object) -> list[str]:
    """Give the command, through sudo if we are not root."""
    sudo = ["sudo", "--preserve-env=http_proxy,https_proxy,no_proxy", "--"]
    return [*([] if os.geteuid() == 0 else sudo), *map(str, argv)]

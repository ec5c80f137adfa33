"""Programs of the host."""

from __future__ import annotations

import subprocess

from lab.faults.onhost.records import Trouble


def run(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program; give how it ended and what it printed."""
    try:
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Trouble(f"this host has no program {command[0]}: install its package") from error


def start(*command: str) -> subprocess.Popen[bytes]:
    """Start a program whose end alone counts."""
    quiet = subprocess.DEVNULL
    try:
        return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    except FileNotFoundError as error:
        raise Trouble(f"this host has no program {command[0]}: install its package") from error


def must(*command: str, stdin: str = "") -> str:
    """Run a program that has to succeed; give what it printed."""
    done = run(*command, stdin=stdin)
    if done.returncode:
        raise Trouble(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout

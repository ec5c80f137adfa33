"""Run a tool of the machine; when it fails, say what it said."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from lab.errors import LabError


def run(argv: Sequence[str], *, stdin: str | None = None, fix: str = "") -> str:
    """The tool's standard output; LabError with its complaint if it fails, `fix` as the advice."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise LabError(f"this machine has no `{argv[0]}`", fix or f"install {argv[0]}") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()
        raise LabError(
            f"`{' '.join(argv)}` failed with status {error.returncode}: {said}", fix
        ) from error
    return done.stdout

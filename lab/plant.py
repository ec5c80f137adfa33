"""Bugs planted on purpose, to see that the claims catch them on hosts.

    DISTLAB_PLANT=tests/hosts/planted/rest_api.patch fab deploy --only rest_api

deploys the code with that patch applied to a copy of it; several are separated as in PATH. The code
itself knows nothing of it, and the next deploy without the variable brings the true code back:
another digest, so the units that run it restart both times.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError

VARIABLE = "DISTLAB_PLANT"


@contextmanager
def planted(source: Path) -> Iterator[Path]:
    """Give the tree whose apps/ is built: `source`, or a copy with what is to be planted.

    LabError if a patch cannot be read, or does not fit the code.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        yield source
        return
    patches = [str((source / patch).resolve()) for patch in wanted.split(os.pathsep)]
    with tempfile.TemporaryDirectory(prefix="distlab-planted-") as place:
        top = Path(place)
        shutil.copytree(source / "apps", top / "apps", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(source / "pyproject.toml", top)
        done = subprocess.run(
            ["git", "apply", *patches],
            cwd=top,
            env=os.environ | {"GIT_CEILING_DIRECTORIES": str(top.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LabError(
                f"{VARIABLE}={wanted} cannot be applied to apps/: {done.stderr.strip()}",
                "mend the patch, or unset the variable to deploy the code as it is",
            )
        yield top

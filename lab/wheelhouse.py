"""What is installed on the hosts, built here: the wheelhouse, the code's wheel, the fingerprints.

    python -m lab.wheelhouse --python 3.11.2 --machine x86_64

builds what is missing under .lab/build and prints one JSON object. Everything is named by the
digest of what it is made from, so an unchanged tree builds nothing.

- The wheelhouse: the wheels that requirements-hosts.lock names, for the hosts' Python and machine,
  checked against the lock's hashes; and uv, which installs them there without a network.
- The code: a wheel of apps/ alone, whose version carries the digest of its files. Tests may have a
  bug planted in it (`lab.plant`).
- Fingerprints: for each pattern, the digest of all code that its units run (its own, the kit's,
  that of patterns it is composed of, and the locked libraries): what decides about a restart.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lab.errors import LabError
from lab.plant import planted

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".lab" / "build"
LOCK = ROOT / "requirements-hosts.lock"
OLDEST_GLIBC, NEWEST_GLIBC = 17, 36
"""Minor versions of glibc 2: what manylinux begins with, and what Debian 12 has."""


def digest(parts: Iterable[bytes]) -> str:
    """Give a short digest of all parts and their boundaries."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:16]


def code_files(top: Path) -> list[Path]:
    """Give the files below `top` that run or are read on a host."""
    return sorted(
        path
        for path in top.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"
    )


def digest_of_files(top: Path, files: Iterable[Path], *more: bytes) -> str:
    """Give the digest of the files' contents, and of their names below `top`."""
    named = ((str(path.relative_to(top)), path) for path in files)
    parts = (part for name, path in named for part in (name.encode(), path.read_bytes()))
    return digest((*parts, *more))


def used_patterns(pattern: Path) -> set[str]:
    """Give the packages of apps/ that a package imports, the kit among them."""
    used: set[str] = set()
    for path in pattern.glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
            names = (
                [node.module]
                if isinstance(node, ast.ImportFrom) and node.module
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            used |= {name.split(".")[1] for name in names if name.startswith("apps.")}
    return used


def fingerprints(top: Path = ROOT) -> dict[str, str]:
    """Give the fingerprint of each pattern in a tree's apps/.

    A demo is no part of it, for units do not run it.
    """
    packages = {path.parent.name: path.parent for path in sorted(top.glob("apps/*/__init__.py"))}
    uses = {name: used_patterns(path) & packages.keys() for name, path in packages.items()}
    lock = LOCK.read_bytes()

    def reached(name: str) -> set[str]:
        found, ahead = {name}, [name]
        while ahead:
            ahead = [used for used in uses[ahead.pop()] if used not in found]
            found |= set(ahead)
        return found

    return {
        name: digest_of_files(
            top,
            (
                path
                for package in sorted(reached(name))
                for path in code_files(packages[package])
                if path.name != "demo.py"
            ),
            lock,
        )
        for name in packages
        if name != "kit"
    }


def build_code(top: Path = ROOT) -> tuple[Path, str, bool]:
    """Build the wheel of a tree's apps/; give it, its version, and whether it had to be built."""
    made_from = [*code_files(top / "apps"), top / "pyproject.toml"]
    identity = digest_of_files(top, made_from, LOCK.read_bytes())
    home = BUILD / f"code-{identity}"
    built = not home.exists()
    if built:
        with tempfile.TemporaryDirectory(dir=BUILD, prefix="partial-") as partial:
            run(
                [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", partial],
                top,
                DISTLAB_CODE_DIGEST=identity,
            )
            settle(Path(partial), home)
    (wheel,) = home.glob("*.whl")
    return wheel, wheel.name.split("-")[1], built


def build_wheelhouse(python: str, machine: str) -> tuple[Path, str, bool]:
    """Gather the locked wheels into a tar; give it, its digest, and whether it had to be built."""
    identity = digest((LOCK.read_bytes(), python.encode(), machine.encode()))
    home = BUILD / f"wheelhouse-{identity}"
    built = not home.exists()
    if built:
        with tempfile.TemporaryDirectory(dir=BUILD, prefix="partial-") as partial:
            wheels = Path(partial) / "wheels"
            platforms = [
                f"--platform=manylinux_2_{minor}_{machine}"
                for minor in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)
            ]
            run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
                + ["--require-hashes", "--only-binary=:all:", "-r", str(LOCK), "-d", str(wheels)]
                + [f"--python-version={python}", *platforms, "--platform=manylinux2014_" + machine]
            )
            with tarfile.open(Path(partial) / "wheelhouse.tar", "w") as tar:
                for path in (*sorted(wheels.iterdir()), LOCK):
                    tar.add(path, path.name)
            for path in wheels.iterdir():
                path.unlink()
            wheels.rmdir()
            settle(Path(partial), home)
    return home / "wheelhouse.tar", identity, built


def settle(partial: Path, home: Path) -> None:
    """Give a finished directory its name; who comes second keeps what is there."""
    finished = partial.with_name(partial.name + ".whole")
    partial.rename(finished)
    partial.mkdir()
    try:
        finished.rename(home)
    except OSError:
        for path in finished.iterdir():
            path.unlink()
        finished.rmdir()


def run(command: list[str], directory: Path = ROOT, **environment: str) -> None:
    """Run a build step; LabError holds what it said if it fails."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(
            f"{' '.join(command[1:4])} failed:\n{(done.stdout + done.stderr).strip()}",
            "mend what it says; to download, pip needs its index or a folder of wheels"
            " (`pip config list` shows which it uses)",
        )


def main() -> None:
    """Build what is missing and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="the hosts' Python, such as 3.11.2")
    parser.add_argument("--machine", required=True, help="the hosts' machine, such as x86_64")
    wanted = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        with planted(ROOT) as top:
            wheel, version, built_code = build_code(top)
            restart_by = fingerprints(top)
        python = ".".join(wanted.python.split(".")[:2])
        wheelhouse, identity, built_wheelhouse = build_wheelhouse(python, wanted.machine)
    except LabError as error:
        sys.exit(str(error))
    print(
        json.dumps(
            {
                "changed": built_code or built_wheelhouse,
                "code": {
                    "name": wheel.name,
                    "version": version,
                    "content": base64.b64encode(wheel.read_bytes()).decode(),
                },
                "wheelhouse": {"path": str(wheelhouse), "digest": identity},
                "fingerprints": restart_by,
            }
        )
    )


if __name__ == "__main__":
    main()

"""What is installed on the hosts, built here: the wheelhouse, the code's wheel, the fingerprints.

    python -m lab.wheelhouse --python 3.11.2 --machine x86_64

builds what is missing under .lab/build and prints one JSON object. Everything is named by the
digest of what it is made from, so an unchanged tree builds nothing.

- The wheelhouse: the wheels that requirements-hosts.lock names, for the hosts' Python and machine,
  checked against the lock's hashes; and uv, which installs them there without a network. What its
  makers publish as source alone (`tool.distlab.built-here` in pyproject.toml) is built here first.
- The code: a wheel of apps/ alone, whose version carries the digest of its files. What interface
  definitions become is made here and counts by its source (`lab.interfaces`). Tests may have a bug
  planted in it (`lab.plant`).
- Fingerprints, which decide about restarts (`lab.fingerprints`).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from lab import interfaces
from lab.errors import LabError
from lab.fingerprints import Imports, code_files, digest, digest_of_files, fingerprints
from lab.plant import planted

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".lab" / "build"
LOCK = ROOT / "requirements-hosts.lock"
OLDEST_GLIBC, NEWEST_GLIBC = 17, 36
"""Minor versions of glibc 2: what manylinux begins with, and what Debian 12 has."""


def build_code(top: Path = ROOT) -> tuple[Path, str, bool]:
    """Build the wheel of a tree's apps/; give it, its version, and whether it had to be built."""
    made_from = [*code_files(top / "apps"), top / "pyproject.toml"]
    identity = digest_of_files(top, made_from, LOCK.read_bytes())
    home = BUILD / f"code-{identity}"
    built = not home.exists()
    if built:
        interfaces.generate(top)
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
    sources = built_here()
    identity = digest(
        (LOCK.read_bytes(), " ".join(sources).encode(), python.encode(), machine.encode())
    )
    home = BUILD / f"wheelhouse-{identity}"
    built = not home.exists()
    if built:
        with tempfile.TemporaryDirectory(dir=BUILD, prefix="partial-") as partial:
            work = Path(partial) / "work"
            wheels = work / "wheels"
            wheels.mkdir(parents=True)
            published, unbuilt = split_lock(LOCK.read_text(), sources)
            download(published, work, wheels, python, machine)
            made = build_sources(unbuilt, work, wheels) if unbuilt else ""
            lock = work / LOCK.name
            lock.write_text(published + made)
            with tarfile.open(Path(partial) / "wheelhouse.tar", "w") as tar:
                for path in (*sorted(wheels.iterdir()), lock):
                    tar.add(path, path.name)
            shutil.rmtree(work)
            settle(Path(partial), home)
    return home / "wheelhouse.tar", identity, built


def built_here() -> list[str]:
    """Give the names of the libraries that are published as source alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names: list[str] = project["tool"]["distlab"]["built-here"]
    return sorted(names)


def split_lock(lock: str, names: Iterable[str]) -> tuple[str, str]:
    """Part a lock's text: without the requirements of these names, and they alone."""
    left: list[str] = []
    taken: list[str] = []
    for block in re.split(r"(?m)^(?=\S)", lock):
        name = re.match(r"([\w.-]+)==", block)
        (taken if name and name[1] in names else left).append(block)
    return "".join(left), "".join(taken)


def download(lock: str, work: Path, wheels: Path, python: str, machine: str) -> None:
    """Fetch the wheels that a lock names, for the hosts' Python and machine."""
    (work / "published.lock").write_text(lock)
    platforms = [
        f"--platform=manylinux_2_{minor}_{machine}"
        for minor in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)
    ]
    run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        + ["--only-binary=:all:", "-r", str(work / "published.lock"), "-d", str(wheels)]
        + [f"--python-version={python}", *platforms, "--platform=manylinux2014_" + machine]
    )


def build_sources(lock: str, work: Path, wheels: Path) -> str:
    """Build the wheels of sources that a lock names and hashes; give a lock of the wheels."""
    (work / "sources.lock").write_text(lock)
    made = work / "made"
    run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--require-hashes"]
        + ["-r", str(work / "sources.lock"), "-w", str(made)]
    )
    lines = []
    for path in sorted(made.iterdir()):
        name, version, *_, abi, platform = path.stem.split("-")
        if (abi, platform) != ("none", "any"):
            raise LabError(
                f"{name} {version} was built for this machine alone ({path.name})",
                "only pure Python can be built here for the hosts: take its Debian package there",
            )
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{sha256}\n")
        path.rename(wheels / path.name)
    return "".join(lines)


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
    imports = Imports(BUILD / "imports.json")
    try:
        with planted(ROOT) as top:
            wheel, version, built_code = build_code(top)
            restart_by = fingerprints(top, LOCK.read_bytes(), imports)
        python = ".".join(wanted.python.split(".")[:2])
        wheelhouse, identity, built_wheelhouse = build_wheelhouse(python, wanted.machine)
        imports.keep()
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

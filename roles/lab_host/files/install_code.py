"""Runs on a host, as root: installs the code and its locked libraries, without a network.

The virtual environment is brought to hold exactly what the lock and the code's wheel say; the
lock's hashes are checked here again. A marker is written last, so an interrupted installation is
taken up again by the next deploy.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path


def uv_of(wheelhouse: Path) -> Path:
    """Give the uv program that lies in the wheelhouse, unpacked."""
    program = wheelhouse / "uv"
    if not program.exists():
        (wheel,) = wheelhouse.glob("uv-*.whl")
        unpacked = program.with_suffix(".new")
        with zipfile.ZipFile(wheel) as whole:
            (name,) = (n for n in whole.namelist() if n.endswith(".data/scripts/uv"))
            unpacked.write_bytes(whole.read(name))
        unpacked.chmod(0o755)
        unpacked.replace(program)
    return program


def install(prefix: Path, wheelhouse: Path, code: Path) -> None:
    """Bring the virtual environment to hold the lock's libraries and this code."""
    if not (prefix / "bin" / "python").exists():
        venv.create(prefix, with_pip=False, symlinks=True)
    wanted = wheelhouse / "wanted.txt"
    code_hash = hashlib.sha256(code.read_bytes()).hexdigest()
    lock = (wheelhouse / "requirements-hosts.lock").read_text()
    wanted.write_text(f"{lock}\ndistlab @ {code.as_uri()} --hash=sha256:{code_hash}\n")
    subprocess.run(
        [str(uv_of(wheelhouse)), "pip", "sync", "--quiet", "--offline", "--no-index", "--no-cache"]
        + ["--python", str(prefix / "bin" / "python"), "--find-links", str(wheelhouse)]
        + ["--require-hashes", "--compile-bytecode", "--link-mode=copy", str(wanted)],
        check=True,
    )


def main() -> None:
    """Install, mark it as done, and drop what an earlier deploy left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", type=Path, required=True)
    parser.add_argument("--wheelhouse", type=Path, required=True)
    parser.add_argument("--code", required=True, help="the code's wheel, in the wheelhouse")
    given = parser.parse_args()
    for marker in given.prefix.glob("*.installed"):
        marker.unlink()
    try:
        install(given.prefix, given.wheelhouse, given.wheelhouse / given.code)
    except subprocess.CalledProcessError as error:
        sys.exit(f"uv could not install the code: exit status {error.returncode}; see above")
    for path in given.wheelhouse.glob("distlab-*.whl"):
        if path.name != given.code:
            path.unlink()
    for path in given.wheelhouse.parent.iterdir():
        if path != given.wheelhouse:
            shutil.rmtree(path)
    (given.prefix / f"{given.code}.installed").touch()


if __name__ == "__main__":
    main()

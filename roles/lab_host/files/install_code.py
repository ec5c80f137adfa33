"""Runs on a host, as root: installs the code and its locked libraries, without a network.

The virtual environment is brought to hold exactly what the lock and the code's wheel say; the
lock's hashes are checked here again. Ansible's local fact that says so is written last, so an
interrupted installation is taken up again by the next deploy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path


def uv_of(prefix: Path, wheelhouse: Path, spare: Path) -> Path:
    """Give the uv program: the environment's own, or at first the wheelhouse's, unpacked."""
    own = prefix / "bin" / "uv"
    if own.exists():
        return own
    (wheel,) = wheelhouse.glob("uv-*.whl")
    program = spare / "uv"
    with zipfile.ZipFile(wheel) as whole:
        (name,) = (n for n in whole.namelist() if n.endswith(".data/scripts/uv"))
        program.write_bytes(whole.read(name))
    program.chmod(0o755)
    return program


def install(prefix: Path, wheelhouse: Path, code: Path) -> None:
    """Bring the virtual environment to hold the lock's libraries and this code."""
    if not (prefix / "bin" / "python").exists():
        venv.create(prefix, with_pip=False, symlinks=True)
    wanted = wheelhouse / "wanted.txt"
    code_hash = hashlib.sha256(code.read_bytes()).hexdigest()
    lock = (wheelhouse / "requirements-hosts.lock").read_text()
    wanted.write_text(f"{lock}\ndistlab @ {code.as_uri()} --hash=sha256:{code_hash}\n")
    with tempfile.TemporaryDirectory(dir=prefix) as spare:
        uv = uv_of(prefix, wheelhouse, Path(spare))
        subprocess.run(
            [str(uv), "pip", "sync", "--quiet", "--offline", "--no-index", "--no-cache"]
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
    parser.add_argument("--fact", type=Path, required=True, help="where to say what is installed")
    given = parser.parse_args()
    given.fact.unlink(missing_ok=True)
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
    given.fact.parent.mkdir(parents=True, exist_ok=True)
    given.fact.write_text(json.dumps({"code": given.code}))


if __name__ == "__main__":
    main()

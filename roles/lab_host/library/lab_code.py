#!/usr/bin/python
"""The code and its locked libraries on a host, installed without a network."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    AnsibleModule = Any
else:
    from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: lab_code
short_description: A virtual environment holds exactly the locked libraries and this code
description:
  - Installs with the uv of the wheelhouse; the lock's hashes are checked here again.
  - The code's wheel comes as an argument, so that a new one takes one round trip.
  - The file that tells what is installed is written last, so an interrupted installation is
    taken up again by the next deploy.
options:
  prefix:
    description: Where the virtual environment is.
    type: path
    required: true
  wheelhouse:
    description: The digest of the wheelhouse, which holds the locked wheels and their lock.
    type: str
    required: true
  archive:
    description: A tar of the wheelhouse; it is unpacked if need be, and removed.
    type: path
    required: true
  wheel:
    description: The file name of the code's wheel.
    type: str
    required: true
  content:
    description: The code's wheel, in base64.
    type: str
    required: true
  told:
    description: The file that is to tell what is installed.
    type: path
    required: true
author: distlab
"""

RETURN = r"""
code:
  description: The file name of the wheel that is installed.
  type: str
  returned: always
"""


class Code:
    """What is to be installed, and where."""

    def __init__(self, module: AnsibleModule) -> None:
        """Take the module's arguments."""
        given = module.params
        self.module = module
        self.prefix = Path(given["prefix"])
        self.wheelhouse = self.prefix / "wheelhouse" / given["wheelhouse"]
        self.archive = Path(given["archive"])
        self.wheel = self.wheelhouse / given["wheel"]
        self.content = base64.b64decode(given["content"])
        self.told = Path(given["told"])

    def install(self) -> None:
        """Bring the virtual environment to hold the lock's libraries and this code."""
        self.told.unlink(missing_ok=True)
        self.unpack()
        if not (self.prefix / "bin" / "python").exists():
            venv.create(self.prefix, with_pip=False, symlinks=True)
        self.wheel.write_bytes(self.content)
        wanted = self.wheelhouse / "wanted.txt"
        lock = (self.wheelhouse / "requirements-hosts.lock").read_text()
        code_hash = hashlib.sha256(self.content).hexdigest()
        wanted.write_text(f"{lock}\ndistlab @ {self.wheel.as_uri()} --hash=sha256:{code_hash}\n")
        with tempfile.TemporaryDirectory(dir=self.prefix) as spare:
            self.sync(self.uv(Path(spare)), wanted)
        self.forget_earlier()
        self.told.parent.mkdir(parents=True, exist_ok=True)
        told = {"code": self.wheel.name, "wheelhouse": self.wheelhouse.name}
        self.told.write_text(json.dumps(told))

    def unpack(self) -> None:
        """Bring it about that the wheelhouse is there, whole."""
        if not self.wheelhouse.exists():
            partial = self.wheelhouse.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with tarfile.open(self.archive) as tar:
                # Debian 12's Python has no filters yet, and would warn of nothing.
                if hasattr(tarfile, "data_filter"):
                    tar.extraction_filter = tarfile.data_filter
                tar.extractall(partial)  # noqa: S202  our own tar, from the controller
            partial.rename(self.wheelhouse)
        self.archive.unlink(missing_ok=True)

    def uv(self, spare: Path) -> Path:
        """Give the uv program: the environment's own, or at first the wheelhouse's, unpacked."""
        own = self.prefix / "bin" / "uv"
        if own.exists():
            return own
        (wheel,) = self.wheelhouse.glob("uv-*.whl")
        program = spare / "uv"
        with zipfile.ZipFile(wheel) as whole:
            (name,) = (n for n in whole.namelist() if n.endswith(".data/scripts/uv"))
            program.write_bytes(whole.read(name))
        program.chmod(0o755)
        return program

    def sync(self, uv: Path, wanted: Path) -> None:
        """Have uv bring the environment to what is wanted; fail with what it says."""
        python = self.prefix / "bin" / "python"
        status, out, err = self.module.run_command(
            [str(uv), "pip", "sync", "--quiet", "--offline", "--no-index", "--no-cache"]
            + ["--python", str(python), "--find-links", str(self.wheelhouse)]
            + ["--require-hashes", "--compile-bytecode", "--link-mode=copy", str(wanted)]
        )
        if status:
            self.module.fail_json(msg=f"uv could not install {wanted}: {(out + err).strip()}")

    def forget_earlier(self) -> None:
        """Remove what earlier deploys brought and nothing needs any more."""
        for path in self.wheelhouse.glob("distlab-*.whl"):
            if path != self.wheel:
                path.unlink()
        for path in self.wheelhouse.parent.iterdir():
            if path != self.wheelhouse:
                shutil.rmtree(path)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "wheelhouse": {"type": "str", "required": True},
            "archive": {"type": "path", "required": True},
            "wheel": {"type": "str", "required": True},
            "content": {"type": "str", "required": True, "no_log": False},
            "told": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    code = Code(module)
    if not module.check_mode:
        code.install()
    module.exit_json(changed=True, code=code.wheel.name)


if __name__ == "__main__":
    main()

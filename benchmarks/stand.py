"""Where it is measured: a copy of the checkout, with labs of its own.

The copy lies in .lab/benchmarks and keeps its own keys, builds and lab directories, so editing an
app there edits nothing here. Whatever a benchmark that was killed has left is removed by the next.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from benchmarks.commands import Done, timed
from benchmarks.figures import Tell
from lab.catalogue import ROOT
from lab.errors import LabError
from lab.hosts.inventory import Inventory, load

HOME = ROOT / ".lab" / "benchmarks"
_LABS = {"local": ("bench", "198.18.200."), "fifty": ("bench-fifty", "198.18.201.")}
"""Inventory to the name and the subnet that its lab has here."""
_LEFT_OUT = (".git", ".venv", ".lab", ".vagrant", "runs", "dist", "__pycache__", ".*_cache")


class Stand:
    """The copy; a context manager that leaves nothing behind."""

    def __enter__(self) -> Self:
        """Make the copy, and have no host of its labs; LabError if another benchmark is at it."""
        HOME.parent.mkdir(exist_ok=True)
        with ExitStack() as stack:
            lock = os.open(HOME.parent, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError("a benchmark of this checkout is under way", "let it end") from None
            stack.callback(self._clear)
            self._clear()
            self._copy()
            self._wipe()
            self._close = stack.pop_all().close
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the hosts, their disks and the copy."""
        self._close()

    @property
    def tree(self) -> Path:
        """The copy of the checkout."""
        return HOME / "checkout"

    def inventory(self, name: str) -> Inventory:
        """Give an inventory of the copy."""
        return load(self.tree / "inventory" / name)

    def fab(self, verb: str, inventory: str, *options: str, **environment: str) -> Done:
        """Run a verb in the copy, as a person would; LabError if it fails."""
        return self._fab(self.tree, verb, inventory, *options, **environment)

    def up(self, inventory: str) -> float:
        """Boot an inventory and log in to each host over SSH; the seconds that took."""
        hosts = self.inventory(inventory)
        began = time.perf_counter()
        self.fab("up", inventory)
        asyncio.run(_log_in_to_all(hosts))
        return time.perf_counter() - began

    def deployed(self, tell: Tell) -> None:
        """Have the six hosts up and all patterns deployed."""
        tell("six hosts, with all patterns deployed")
        self.fab("up", "local")
        self.fab("deploy", "local")

    def _copy(self) -> None:
        partial = HOME / "partial"
        shutil.copytree(ROOT, partial, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        for inventory, (lab, prefix) in _LABS.items():
            hosts = partial / "inventory" / inventory / "hosts.yml"
            was = yaml.safe_load(hosts.read_text())["lab"]["vars"]
            text = hosts.read_text().replace(f"lab_name: {was['lab_name']}", f"lab_name: {lab}")
            hosts.write_text(text.replace(was["lab_subnet"].rpartition(".")[0] + ".", prefix))
        partial.rename(self.tree)

    def _clear(self) -> None:
        if self.tree.exists():
            self._wipe()
        shutil.rmtree(HOME, ignore_errors=True)

    def _wipe(self) -> None:
        for inventory in _LABS:  # by our own code: that of an old copy may be broken
            self._fab(ROOT, "down", inventory, "--wipe")

    def _fab(
        self, checkout: Path, verb: str, inventory: str, *options: str, **environment: str
    ) -> Done:
        program = Path(sys.executable).with_name("fab")
        path = self.tree / "inventory" / inventory
        settings = [f"{name}={value}" for name, value in environment.items()]
        return timed(["env", *settings, program, verb, "--inventory", path, *options], checkout)


async def _log_in_to_all(inventory: Inventory) -> None:
    async def log_in(host: str) -> tuple[str, int | None]:
        ssh = ["ssh", "-F", str(inventory.ssh_config), host, "true"]
        process = await asyncio.create_subprocess_exec(*ssh, stdin=asyncio.subprocess.DEVNULL)
        return host, await process.wait()

    for host, status in await asyncio.gather(*map(log_in, inventory.hosts)):
        if status:
            raise LabError(f"cannot log in to {host}: ssh ended with status {status}")

"""Labs that tests may break, and a search for what is left of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from lab import hosts
from lab.catalogue import Pattern
from lab.hosts import cgroups, state
from lab.hosts.inventory import Inventory

ROOT = Path(__file__).parents[1]
SECONDS = 60.0


class Lab:
    """A throw-away lab of three hosts, t1 to t3; or one like another, with some of its patterns."""

    def __init__(
        self,
        directory: Path,
        name: str,
        subnet: str,
        *,
        like: Inventory | None = None,
        placing: Iterable[Pattern] | None = None,
    ) -> None:
        self.name = name
        self.subnet = f"{subnet}.0/24"
        self.path = directory / "inventory" / name
        self.path.mkdir(parents=True)
        if like is None:
            self._write_three(subnet)
        else:
            self._write_like(like, subnet)
            if placing is not None:
                self._place_only({pattern.name for pattern in placing})
        self.inventory = hosts.load(self.path)
        self.reports: list[str] = []

    def _write_like(self, other: Inventory, subnet: str) -> None:
        own = {f"lab_name: {other.lab}": f"lab_name: {self.name}"}
        own[str(other.subnet.network_address).removesuffix("0")] = f"{subnet}."
        for file in other.path.glob("*.yml"):
            text = file.read_text()
            for theirs, mine in own.items():
                text = text.replace(theirs, mine)
            (self.path / file.name).write_text(text)

    def _place_only(self, patterns: set[str]) -> None:
        placement = self.path / "placement.yml"
        placed = yaml.safe_load(placement.read_text())
        placement.write_text(yaml.safe_dump({name: placed[name] for name in patterns}))

    def _write_three(self, subnet: str) -> None:
        (self.path / "nspawn.yml").symlink_to(ROOT / "inventory" / "nspawn.yml")
        variables = {
            "lab_name": self.name,
            "lab_subnet": self.subnet,
            "lab_address": f"{subnet}.{{{{ 10 + (inventory_hostname[1:] | int) }}}}",
        }
        inventory = {"lab": {"hosts": {"t[1:3]": None}, "vars": variables}}
        (self.path / "hosts.yml").write_text(json.dumps(inventory))

    def reclaim(self) -> None:
        """Remove what a test that was killed left under this name; its directory was pytest's."""
        left = state.record(self.name)
        if left is not None:
            shutil.rmtree(left.directory, ignore_errors=True)
            self.down(wipe=True)

    def up(self) -> None:
        hosts.up(self.inventory, self.reports.append)

    def down(self, *, wipe: bool = False) -> None:
        hosts.down(self.inventory, self.reports.append, wipe=wipe)

    def start_up(self) -> subprocess.Popen[bytes]:
        """`up` in a process of its own, to be killed."""
        code = (
            "from pathlib import Path; from lab import hosts\n"
            f"hosts.up(hosts.load(Path({str(self.path)!r})), print)"
        )
        return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)

    def ssh(self, host: str, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on a host as a person would, without a shared connection."""
        config = str(self.inventory.ssh_config)
        return subprocess.run(
            ["ssh", "-F", config, "-o", "BatchMode=yes", host, command],
            capture_output=True,
            text=True,
            check=False,
        )

    def said(self, host: str, command: str) -> str:
        """What a command that succeeds prints."""
        done = self.ssh(host, command)
        assert done.returncode == 0, f"{host}: {command}: {done.stderr}"
        return done.stdout.strip()

    def answers(self) -> None:
        """Every host runs, and a real login to it works."""
        for name in self.inventory.hosts:
            assert self.said(name, "hostname; sudo id -u") == f"{name}\n0"

    def leftovers(self) -> list[str]:
        """Whatever of this lab a machine should not hold after `down`."""
        mine = re.compile(rf"/labs/{self.name}/|dl-{self.name}\b|vb-{self.name}\.|:{self.name}:")
        links = told("ip", "-brief", "link").splitlines()
        routes = told("ip", "route", "show", "table", "all").splitlines()
        prefix = self.subnet.removesuffix("0/24")
        found = [
            *(f"link {line}" for line in links if mine.search(line)),
            *(f"route {line}" for line in routes if prefix in line and "unreachable" not in line),
            *(f"mount {line}" for line in mounts() if mine.search(line)),
            *(f"process {line}" for line in processes() if mine.search(line)),
            *(
                f"nft {line}"
                for line in told("nft", "list", "ruleset").splitlines()
                if prefix in line
            ),
            *(f"cgroup {path}" for path in Path("/sys/fs/cgroup").rglob(f"distlab:{self.name}:*")),
            *(str(path) for path in Path("/run/systemd/nspawn").rglob(f"{self.name}.*")),
        ]
        return [*found, *(f"machine {name}" for name in cgroups.members(self.name))]


def told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def mounts() -> list[str]:
    return Path("/proc/mounts").read_text().splitlines()


def processes() -> list[str]:
    """The command lines of all processes; those of kernel threads and zombies are empty."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has just ended
            continue
    return found


def wait_until(what: str, holds: Callable[[], object]) -> None:
    """Wait for a condition that another process brings about."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.005)

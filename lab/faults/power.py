"""Hosts without power. No timer of theirs can run, so one on this machine gives it back.

    python -m lab.faults.power INVENTORY HOST ID SECONDS

is that timer: a process of its own, which outlives whoever cut the power. What is off on purpose
is written down in `.lab/<lab>/power/`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.kit.faults import PowerOff
from lab.errors import LabError
from lab.hosts import boot, power_off
from lab.hosts.inventory import Inventory, load
from lab.hosts.state import write_atomically

_ROOT = Path(__file__).resolve().parents[2]


class Power:
    """The power switches of an inventory's hosts."""

    def __init__(self, inventory: Inventory, tell: Callable[[str], None]) -> None:
        """`tell` shows progress."""
        self._inventory = inventory
        self._home = inventory.directory / "power"
        self._tell = tell

    def off(self, id_: str, fault: PowerOff, seconds: float) -> None:
        """Cut a host's power, for at most so many seconds."""
        if fault.host not in self._inventory.hosts:
            raise LabError(
                f"there is no host {fault.host!r} in {self._inventory.path}",
                f"choose from: {', '.join(self._inventory.hosts)}",
            )
        record = {
            "id": id_,
            "fault": fault.as_json(),
            "since": time.time(),
            "seconds": seconds,
        }
        self._home.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file(fault.host), json.dumps(record))
        # Nobody's child, in a session of its own: it outlives this process.
        timer = ["setsid", "--fork", sys.executable, "-m", "lab.faults.power"]
        subprocess.run(
            [*timer, str(self._inventory.path), fault.host, id_, str(seconds)],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        try:
            power_off(self._inventory, fault.host, self._tell)
        except BaseException:
            self._file(fault.host).unlink(missing_ok=True)
            raise

    def on(self, host: str) -> None:
        """Give a host its power back, and wait until it answers; nothing if it has it."""
        if self._file(host).exists():
            boot(self._inventory, host, self._tell)
            self._file(host).unlink(missing_ok=True)

    def all_on(self) -> None:
        """Give all hosts their power back."""
        for host in self.without():
            self.on(host)

    def without(self) -> dict[str, dict[str, Any]]:
        """Give the hosts that are off on purpose, and their records."""
        files = sorted(self._home.glob("*.json")) if self._home.exists() else []
        found = {}
        for path in files:
            with contextlib.suppress(FileNotFoundError):  # another process has just given it back
                found[path.stem] = json.loads(path.read_text())
        return found

    def _file(self, host: str) -> Path:
        return self._home / f"{host}.json"


def main() -> None:
    """Wait, and give the power back if it is still this fault that keeps it off."""
    inventory, host, id_, seconds = sys.argv[1:]
    time.sleep(float(seconds))
    power = Power(load(Path(inventory)), lambda _: None)
    if power.without().get(host, {}).get("id") == id_:
        power.on(host)


if __name__ == "__main__":
    main()

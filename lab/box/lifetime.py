"""The virtual machines for as long as a command runs: `make test-vms`.

    python -m lab.box.lifetime COMMAND…

boots the machines of inventory/vagrant and deploys to them, runs the command, and destroys them.
Its exit status is the command's.

Where no systemd runs, as in many containers, nobody starts libvirt's daemons. Then they are started
here, and ended with the networks that they brought up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from lab.catalogue import ROOT
from lab.errors import LabError
from lab.hosts.command import run
from lab.screen import progress

DAEMONS = ("virtlogd", "libvirtd")
PATIENCE = 60.0
"""Seconds until a daemon that does not answer, or does not end, is given up."""
_SYSTEMD = Path("/run/systemd/system")
_VIRSH = ("virsh", "--quiet", "--connect", "qemu:///system")
_INTERFACES = Path("/sys/class/net")

Tell = Callable[[str], None]


def main() -> None:
    """Run the command among running machines; what is wrong is told in two lines."""
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, _end)
    begun = time.monotonic()
    try:
        with libvirt(progress.print), machines(progress.print):
            status = subprocess.run(sys.argv[1:], check=False).returncode
    except LabError as error:
        sys.exit(f"error: {error}")
    progress.print(f"ended with status {status} after {_since(begun)}; no machine is left")
    sys.exit(status)


@contextmanager
def machines(tell: Tell) -> Iterator[None]:
    """Have Vagrant boot the machines and deploy to them; LabError if there are some already."""
    there = existing()
    if there:
        raise LabError(
            f"there are machines already: {', '.join(there)}; a test would change what they hold",
            "vagrant destroy --force, unless they are of use to you",
        )
    begun = time.monotonic()
    try:
        _vagrant("up", "--provider", "libvirt")
        tell(f"the machines are up, and deployed to, after {_since(begun)}")
        yield
    finally:
        _vagrant("destroy", "--force")


def existing() -> list[str]:
    """Give the machines that Vagrant has made of this Vagrantfile."""
    rows = [line.split(",") for line in run(["vagrant", "status", "--machine-readable"]).split()]
    return [row[1] for row in rows if row[2:3] == ["state"] and row[3] != "not_created"]


@contextmanager
def libvirt(tell: Tell) -> Iterator[None]:
    """Have libvirt answer; what had to be started for that ends with it."""
    if answers():
        yield
        return
    if _SYSTEMD.is_dir():
        raise LabError(
            "libvirt does not answer at qemu:///system",
            "sudo systemctl start libvirtd; and be in the group libvirt",
        )
    if os.geteuid() != 0:
        raise LabError(
            "no systemd runs here, and libvirt's daemons can only be started by root",
            "run it as root: sudo make test-vms",
        )
    tell(f"no systemd runs here: {' and '.join(DAEMONS)} are started for the time being")
    before = {path.name for path in _INTERFACES.iterdir()}
    with ExitStack() as ends:
        for daemon in DAEMONS:
            ends.callback(_stop, _start(daemon))
        _wait_for_answers()
        ends.callback(_end_networks, before)
        yield


def answers() -> bool:
    """Whether libvirt's daemon takes calls."""
    return subprocess.run([*_VIRSH, "version"], capture_output=True, check=False).returncode == 0


def _start(daemon: str) -> subprocess.Popen[bytes]:
    """Start a daemon that dies with this process, but not of a Ctrl-C that is meant for it."""
    path = os.environ["PATH"] + os.pathsep + "/usr/sbin"
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", daemon],
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    daemon.wait(PATIENCE)


def _end_networks(before: set[str]) -> None:
    """End the networks, each with its dnsmasq, whose bridges were not there before."""
    for network in run([*_VIRSH, "net-list", "--name"]).split():
        told = run([*_VIRSH, "net-info", network])
        bridge = told.partition("Bridge:")[2].strip()
        if bridge not in before:
            run([*_VIRSH, "net-destroy", network])


def _vagrant(*words: str) -> None:
    """Run Vagrant, whose output is the progress."""
    if subprocess.run(["vagrant", *words], check=False).returncode:
        raise LabError(f"`vagrant {' '.join(words)}` failed", "see above, and docs/vagrant.md")


def _wait_for_answers() -> None:
    deadline = time.monotonic() + PATIENCE
    while not answers():
        if time.monotonic() > deadline:
            raise LabError(
                f"{DAEMONS[-1]} was started, and did not answer within {PATIENCE:g} s",
                "start it by hand, as root: it says why",
            )
        time.sleep(0.2)


def _since(begun: float) -> str:
    minutes, seconds = divmod(round(time.monotonic() - begun), 60)
    return f"{minutes} min {seconds} s"


def _end(signal_number: int, _frame: FrameType | None) -> None:
    """Let SIGTERM unwind, as Ctrl-C does."""
    sys.exit(128 + signal_number)


if __name__ == "__main__":
    main()

"""The same where PID 1 is systemd, whatever it is on this machine: in a host, nested.

On a machine with systemd the lab's machines are transient services; without it they are started by
hand. Both ways must work everywhere, so this boots a machine that has nspawn itself, and runs the
privileged side in there, as sudo would.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import cgroups, image, machines, state
from lab.hosts.command import run
from lab.hosts.control import CHECKOUT
from lab.hosts.spec import ImageSpec, LabSpec
from tests.throwaway_lab import wait_until

pytestmark = pytest.mark.usefixtures("needs_root")

LAB = "test-nest"
IMAGE = ImageSpec("bookworm", ("openssh-client", "python3-yaml", "systemd-container"))
FUSE = Path("/dev/fuse")
SYSTEM_STATE = ("systemctl", "is-system-running")


class Outer:
    """A machine whose PID 1 is systemd, with a checkout, an image, and root's directory."""

    def __init__(self, directory: Path) -> None:
        self.shared = directory / "shared"
        (self.shared / "labs").mkdir(parents=True)
        (directory / "root/etc").mkdir(parents=True)
        (directory / "root/usr").mkdir()
        (directory / "root/etc/os-release").touch()
        units = directory / "upper/etc/systemd/system"
        units.mkdir(parents=True)
        (units / "ssh.service").symlink_to("/dev/null")  # nobody logs in, and it has no host key
        key = self.shared / "key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)])
        self.spec = LabSpec(
            lab="inner",
            directory="/shared/.lab/inner",
            subnet="198.19.203.0/24",
            controller="198.19.203.1",
            hosts={"b1": "198.19.203.11", "b2": "198.19.203.12"},
            login_key=key.with_name("key.pub").read_text().strip(),
            image=IMAGE,
        )
        self.init = self._boot(directory)

    def _boot(self, directory: Path) -> int:
        """Boot it; its PID 1 as this machine numbers it."""
        state.prepare()
        with state.locked("images", print) as lock:
            digest = image.ensure(IMAGE, lock, print)
            record = state.Record(str(directory / ".lab"), "198.19.204.0/24", digest)
            state.write_record(LAB, record)
        nspawn = [
            *("env", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1", "systemd-nspawn", "--quiet", "--boot"),
            *("--register=no", "--keep-unit", f"--machine={LAB}", "--private-network"),
            *("--capability=all", "--console=read-only", f"--directory={directory / 'root'}"),
            *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
            f"--overlay={image.path(digest)}:{directory / 'upper'}:/",
            f"--bind-ro={CHECKOUT}:/checkout",
            f"--bind={self.shared}:/shared",
            f"--bind={self.shared}:{state.ROOT}",
            f"--bind-ro={state.IMAGES}:{state.IMAGES}",
            *(["--bind=/dev/fuse"] if FUSE.exists() else []),
        ]
        log, cables = directory / "console.log", directory / "cables"
        cables.touch()
        with state.locked(LAB, print) as lock:
            assert cgroups.start(LAB, "outer", nspawn, cables=cables, console=log, lock=lock)
        wait_until("the outer machine has a PID 1", lambda: machines.running(LAB)["outer"].init)
        init = machines.running(LAB)["outer"].init
        assert init
        return init

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its root."""
        inside = ["nsenter", f"--target={self.init}", "--all", *command]
        return subprocess.run(inside, capture_output=True, text=True, check=False)

    def ask(self, verb: str, **options: object) -> Any:
        """Ask its privileged side; the result."""
        request = json.dumps({"verb": verb, "spec": self.spec.to_json(), "options": options})
        (self.shared / "request").write_text(request)
        done = self.run(
            "sh", "-c", "cd /checkout; python3 -B -m lab.hosts.privileged </shared/request"
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert answers, done.stderr
        assert "result" in answers[-1], answers
        return answers[-1]["result"]

    def ssh(self, host: str, command: str) -> str:
        """What a command on an inner host prints; nothing if it cannot be reached."""
        options = ("BatchMode=yes", "ConnectTimeout=1", "UserKnownHostsFile=/shared/known_hosts")
        chosen = [item for option in options for item in ("-o", option)]
        address = self.spec.hosts[host]
        return self.run("ssh", "-i/shared/key", *chosen, f"lab@{address}", command).stdout.strip()

    def up(self) -> None:
        """Bring the inner lab up, until a login to each of its hosts works."""
        keys = self.ask("up")
        known = (f"{self.spec.hosts[name]} {key}\n" for name, key in keys.items())
        (self.shared / "known_hosts").write_text("".join(known))
        names = list(self.spec.hosts)
        wait_until("all answer", lambda: [self.ssh(name, "hostname") for name in names] == names)

    def units(self) -> list[str]:
        """The names of the inner machines' units that are in any state at all."""
        told = self.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "distlab:*")
        return [line.split()[0] for line in told.stdout.splitlines()]


@pytest.fixture
def outer(tmp_path: Path) -> Iterator[Outer]:
    """The outer machine, with nothing in it yet; gone afterwards."""
    try:
        made = Outer(tmp_path)
        wait_until("systemd is up", lambda: made.run(*SYSTEM_STATE).stdout == "running\n")
        yield made
    finally:
        machines.cut(LAB)
        machines.tidy(LAB)
        shutil.rmtree(state.lab_path(LAB))


def test_a_kernel_that_cannot_stack_there(outer: Outer) -> None:
    """The outer machine's own disk is an overlay, which cannot carry another one."""
    code = (
        "import pathlib; from lab.hosts import preflight, state\n"
        "state.ROOT = pathlib.Path('/opt'); preflight.check_overlay()"
    )
    done = outer.run("sh", "-c", f'cd /checkout; python3 -B -c "{code}"')
    assert "LabError: this kernel cannot mount an overlay on /opt" in done.stderr


def test_a_lab_of_transient_services(outer: Outer) -> None:
    outer.up()
    assert outer.units() == ["distlab:inner:b1.service", "distlab:inner:b2.service"]

    if FUSE.exists():
        assert outer.ssh("b1", "sudo sh -c ': </dev/fuse' && echo opened") == "opened"

    boot_id = "cat /proc/sys/kernel/random/boot_id"
    first = outer.ssh("b1", boot_id)
    outer.ssh("b1", "sudo systemctl reboot")
    wait_until("b1 has rebooted", lambda: outer.ssh("b1", boot_id) not in {"", first})

    outer.ssh("b2", "sudo sh -c 'echo kept >/etc/kept'")
    assert outer.ask("power_off", host="b2") == ["b2"]
    assert outer.units() == ["distlab:inner:b1.service"]
    outer.ask("boot", host="b2")
    wait_until("b2 is back", lambda: outer.ssh("b2", "cat /etc/kept") == "kept")

    outer.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "distlab:inner:b1.service")
    wait_until("b1 is gone", lambda: outer.units() == ["distlab:inner:b2.service"])
    outer.up()

    assert outer.ask("down", wipe=True) == ["b1", "b2"]
    assert outer.units() == []
    assert "inner" not in outer.run("ip", "link").stdout
    assert outer.run("ip", "route").stdout == ""
    assert "inner" not in outer.run("sh", "-c", "find /sys/fs/cgroup; cat /proc/mounts").stdout
    assert list((outer.shared / "labs").iterdir()) == []

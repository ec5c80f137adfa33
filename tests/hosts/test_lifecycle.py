"""Labs of their own are booted, killed at bad moments, and taken down: nothing may be left.

The lab under test elsewhere is not touched; these have names and subnets of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import hosts
from lab.errors import LabError
from lab.hosts import cgroups, disks, image, machines, state
from lab.hosts.spec import ImageSpec

pytestmark = pytest.mark.usefixtures("needs_root")

ROOT = Path(__file__).parents[2]
SECONDS = 60.0


class Lab:
    """A throw-away lab of three hosts, t1 to t3."""

    def __init__(self, directory: Path, name: str, subnet: str) -> None:
        self.name = name
        self.subnet = f"{subnet}.0/24"
        self.path = directory / "inventory" / name
        self.path.mkdir(parents=True)
        (self.path / "nspawn.yml").symlink_to(ROOT / "inventory" / "nspawn.yml")
        variables = {
            "lab_name": name,
            "lab_subnet": self.subnet,
            "lab_address": f"{subnet}.{{{{ 10 + (inventory_hostname[1:] | int) }}}}",
        }
        inventory = {"lab": {"hosts": {"t[1:3]": None}, "vars": variables}}
        (self.path / "hosts.yml").write_text(json.dumps(inventory))
        self.inventory = hosts.load(self.path)
        self.reports: list[str] = []

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
        return subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ
        )

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


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    """Wait for a condition that another process brings about."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.005)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab that is gone afterwards, whatever the test did."""
    made = Lab(tmp_path, "test-one", "198.18.200")
    yield made
    made.down(wipe=True)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Lab]:
    """A second one beside it."""
    made = Lab(tmp_path, "test-two", "198.18.201")
    yield made
    made.down(wipe=True)


def test_up_and_down_twice_leave_nothing(lab: Lab) -> None:
    lab.up()
    lab.answers()
    before = machines.running(lab.name)
    lab.up()
    assert machines.running(lab.name).keys() == before.keys()
    assert [machine.init for machine in machines.running(lab.name).values()] == [
        machine.init for machine in before.values()
    ]
    lab.answers()
    for _ in range(2):
        lab.down()
        assert lab.leftovers() == []
        assert told("ip", "route", "show", lab.subnet).startswith("unreachable ")
    lab.down(wipe=True)
    assert not state.lab_path(lab.name).exists()
    assert told("ip", "route", "show", lab.subnet) == ""


MOMENTS: dict[str, Callable[[Lab], bool]] = {
    "bridge": lambda lab: Path("/sys/class/net", f"dl-{lab.name}").exists(),
    "disk begun": lambda lab: (disks.path(lab.name, "t1") / "upper").exists(),
    "disk done": lambda lab: disks.make_of(lab.name, "t1") is not None,
    "first process": lambda lab: bool(cgroups.members(lab.name)),
    "first machine": lambda lab: any(m.init for m in machines.running(lab.name).values()),
    "all machines": lambda lab: len(cgroups.members(lab.name)) == len(lab.inventory.hosts),
    "known hosts": lambda lab: lab.inventory.known_hosts.exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("then", ["up", "down"])
def test_killed_at_a_bad_moment(lab: Lab, moment: str, then: str) -> None:
    with lab.start_up() as started:
        wait_until(moment, lambda: MOMENTS[moment](lab))
        started.send_signal(signal.SIGKILL)
    # On a busy machine a late moment may pass unseen; then this is a plain second command.
    assert started.returncode in {-signal.SIGKILL, 0}
    if then == "up":
        lab.up()
        lab.answers()
    lab.down()
    assert lab.leftovers() == []


def test_killed_while_it_builds_the_image(lab: Lab) -> None:
    """The build dies with it, every process and mount, and no half image is ever used."""
    spec = {
        "lab": lab.name,
        "directory": str(lab.inventory.directory),
        "subnet": lab.subnet,
        "controller": str(lab.inventory.controller),
        "hosts": {},
        "login_key": "ssh-ed25519 AAAA",
        "image": {"suite": "bookworm", "packages": ["sl"]},
    }
    request = {"verb": "up", "spec": spec, "options": {}}
    command = [sys.executable, "-m", "lab.hosts.privileged"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as started:
        assert started.stdin
        started.stdin.write(json.dumps(request).encode())
        started.stdin.close()
        partial = state.IMAGES / f".{image.digest(ImageSpec('bookworm', ('sl',)))}.partial"
        wait_until("the build is at work", (partial / "var/lib/dpkg").exists)
        started.send_signal(signal.SIGKILL)
    wait_until("the build is gone", lambda: not [p for p in processes() if str(partial) in p])
    assert not [line for line in mounts() if str(partial) in line]
    assert not image.path(partial.name[1:-8]).exists()
    with state.locked("images", lab.reports.append):  # nobody holds it any more
        shutil.rmtree(partial)


def test_disks_outlive_down_and_power_cuts(lab: Lab) -> None:
    lab.up()
    lab.said("t1", "sudo sh -c 'echo kept >/etc/kept'")
    hosts.power_off(lab.inventory, "t1", lab.reports.append)
    assert {host.name: host.machine for host in hosts.states(lab.inventory)} == {
        "t1": "off",
        "t2": "running",
        "t3": "running",
    }
    hosts.boot(lab.inventory, "t1", lab.reports.append)
    assert lab.said("t1", "cat /etc/kept; sudo journalctl --list-boots -q | wc -l") == "kept\n2"
    lab.down()
    lab.up()
    assert lab.said("t1", "cat /etc/kept") == "kept"
    lab.down(wipe=True)
    lab.up()
    assert lab.ssh("t1", "cat /etc/kept").returncode == 1


def test_a_host_of_a_lab_that_is_down_is_not_booted(lab: Lab) -> None:
    with pytest.raises(LabError, match="lab test-one is not up"):
        hosts.boot(lab.inventory, "t1", lab.reports.append)
    with pytest.raises(LabError, match="has no host t9"):
        hosts.power_off(lab.inventory, "t9", lab.reports.append)


def test_a_host_can_reboot_itself(lab: Lab) -> None:
    lab.up()
    first = lab.said("t1", "cat /proc/sys/kernel/random/boot_id")
    lab.ssh("t1", "sudo systemctl reboot")
    wait_until(
        "t1 is back",
        lambda: (
            lab.ssh("t1", "cat /proc/sys/kernel/random/boot_id").stdout.strip() not in {"", first}
        ),
    )


def test_two_labs_side_by_side_never_touch(lab: Lab, other: Lab) -> None:
    lab.up()
    other.up()
    lab.answers()
    other.answers()
    assert lab.ssh("t1", "ping -c 1 -W 1 198.18.201.11").returncode != 0
    lab.down()
    assert lab.leftovers() == []
    other.answers()


def test_the_lab_is_air_gapped(lab: Lab) -> None:
    lab.up()
    assert (
        lab.said("t1", "ip route")
        == f"{lab.subnet} dev host0 proto kernel scope link src 198.18.200.11"
    )
    assert lab.said("t1", "ping -c 1 -W 1 198.18.200.12")
    assert Path(f"/proc/sys/net/ipv4/conf/dl-{lab.name}/forwarding").read_text() == "0\n"


def test_a_wrong_host_key_is_refused(lab: Lab) -> None:
    lab.up()
    lines = lab.inventory.known_hosts.read_text().splitlines()
    keys = [line.split(" ", 1)[1] for line in lines]
    assert len(set(keys)) == len(keys), "hosts share a host key"
    swapped = [
        f"{line.split(' ', 1)[0]} {key}" for line, key in zip(lines, reversed(keys), strict=True)
    ]
    lab.inventory.known_hosts.write_text("\n".join(swapped) + "\n")
    refused = lab.ssh("t1", "true")
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr
    lab.up()
    lab.answers()


def test_a_host_that_does_not_come_up_shows_its_console(lab: Lab) -> None:
    lab.up()
    lab.down()
    init = disks.path(lab.name, "t2") / "upper/usr/lib/systemd/systemd"
    init.parent.mkdir(parents=True)
    init.write_text("#!/bin/sh\necho broken on purpose\nexit 1\n")
    init.chmod(0o755)
    with pytest.raises(LabError, match=r"host t2 of lab test-one did not come up") as failed:
        lab.up()
    assert "broken on purpose" in failed.value.what
    lab.down(wipe=True)
    lab.up()
    lab.answers()


def test_what_the_inventory_changes_is_changed(lab: Lab) -> None:
    lab.up()
    text = (lab.path / "hosts.yml").read_text()
    (lab.path / "hosts.yml").write_text(text.replace("t[1:3]", "t[2:3]").replace("10 +", "20 +"))
    lab.inventory = hosts.load(lab.path)
    lab.up()
    assert sorted(cgroups.members(lab.name)) == ["t2", "t3"]
    lab.answers()
    assert lab.said("t2", "hostname -I").startswith("198.18.200.22")


def test_another_checkout_is_refused(lab: Lab, tmp_path: Path) -> None:
    lab.up()
    stranger = Lab(tmp_path / "elsewhere", lab.name, "198.18.202")
    for verb in (stranger.up, stranger.down):
        with pytest.raises(LabError, match="belongs to"):
            verb()
    lab.answers()


def test_a_taken_subnet_is_refused(lab: Lab, tmp_path: Path) -> None:
    lab.up()
    squatter = Lab(tmp_path, "test-three", "198.18.200")
    try:
        with pytest.raises(LabError, match=r"198\.18\.200\.1 of interface dl-test-one is in"):
            squatter.up()
    finally:
        squatter.down(wipe=True)
    assert "unreachable" in told("ip", "route", "show", lab.subnet), "the guard went with the other"
    lab.answers()


def test_a_taken_bridge_name_is_refused_and_left_alone(lab: Lab) -> None:
    told("ip", "tuntap", "add", f"dl-{lab.name}", "mode", "tap")
    try:
        with pytest.raises(LabError, match="no bridge of ours"):
            lab.up()
        lab.down()
        assert f"dl-{lab.name}" in told("ip", "-brief", "link")
    finally:
        told("ip", "link", "delete", f"dl-{lab.name}")

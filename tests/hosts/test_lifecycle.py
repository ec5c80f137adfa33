"""Labs of their own are booted, killed at bad moments, and taken down: nothing may be left.

The lab under test elsewhere is not touched; these have names and subnets of their own.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import hosts
from lab.errors import LabError
from lab.hosts import cgroups, disks, image, machines, state
from lab.hosts.spec import ImageSpec
from tests.throwaway_lab import ROOT, Lab, mounts, processes, told, wait_until

pytestmark = pytest.mark.usefixtures("needs_root")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab that is gone afterwards, whatever the test did."""
    made = Lab(tmp_path, "test-one", "198.19.200")
    made.reclaim()
    yield made
    made.down(wipe=True)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Lab]:
    """A second one beside it."""
    made = Lab(tmp_path, "test-two", "198.19.201")
    made.reclaim()
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
    assert lab.ssh("t1", "ping -c 1 -W 1 198.19.201.11").returncode != 0
    lab.down()
    assert lab.leftovers() == []
    other.answers()


def test_the_lab_is_air_gapped(lab: Lab) -> None:
    lab.up()
    assert (
        lab.said("t1", "ip route")
        == f"{lab.subnet} dev host0 proto kernel scope link src 198.19.200.11"
    )
    assert lab.said("t1", "ping -c 1 -W 1 198.19.200.12")
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
    assert lab.said("t2", "hostname -I").startswith("198.19.200.22")


def test_another_checkout_is_refused(lab: Lab, tmp_path: Path) -> None:
    lab.up()
    stranger = Lab(tmp_path / "elsewhere", lab.name, "198.19.202")
    for verb in (stranger.up, stranger.down):
        with pytest.raises(LabError, match="belongs to"):
            verb()
    lab.answers()


def test_a_taken_subnet_is_refused(lab: Lab, tmp_path: Path) -> None:
    lab.up()
    squatter = Lab(tmp_path, "test-three", "198.19.200")
    squatter.reclaim()
    try:
        with pytest.raises(LabError, match=r"198\.19\.200\.1 of interface dl-test-one is in"):
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

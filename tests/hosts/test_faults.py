"""Faults of processes and power, the verbs of all, and what becomes of faults whose author died."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from functools import partial

import pytest

from apps.kit.faults import Kill, Pause, PowerOff
from lab.catalogue import ROOT, patterns
from lab.faults.control import Faults
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from lab.status import placed as placement
from tests.conftest import eventually
from tests.hosts.conftest import ALIEN
from tests.hosts.fault_traces import answers, clean, left
from tests.hosts.test_verbs import FAB, fab

# Processes and power


@pytest.fixture
def unit(inventory: Inventory) -> tuple[str, str, str]:
    """Some component: its host, its name, its unit."""
    host, component = placement(inventory, patterns())[0]
    return host, component.group, component.unit


def shown(remote: Remote, host: str, unit: str, *names: str) -> list[str]:
    """Properties of a unit, in the order of their names."""
    told = remote.must(host, f"systemctl show {unit} -p {','.join(names)}")
    values = dict(line.split("=", 1) for line in told.splitlines())
    return [values[name] for name in names]


def test_a_killed_component_is_started_again(
    faults: Faults, remote: Remote, unit: tuple[str, str, str]
) -> None:
    host, group, name = unit
    (before,) = shown(remote, host, name, "MainPID")
    assert faults.inject(Kill(host, group), 60).measured[host]["processes"] >= 1
    eventually(
        lambda: shown(remote, host, name, "ActiveState", "SubState") == ["active", "running"],
        "started again",
    )
    assert shown(remote, host, name, "MainPID") != [before]


def test_a_pause_outlasts_the_watchdog_and_ends(
    faults: Faults, remote: Remote, unit: tuple[str, str, str]
) -> None:
    host, group, name = unit
    pid, period = shown(remote, host, name, "MainPID", "WatchdogUSec")
    assert period not in {"0", "infinity"}
    seconds = (
        float(remote.must(host, f"systemd-analyze timespan {period}").split("μs: ")[1].split()[0])
        / 1e6
    )
    with faults.inject(Pause(host, group), 60):
        ends = time.monotonic() + 1.5 * seconds
        while time.monotonic() < ends:
            assert remote.must(host, f"ps -o stat= -p {pid}").startswith("T")
            time.sleep(0.5)
    assert shown(remote, host, name, "MainPID", "ActiveState") == [pid, "active"]
    assert shown(remote, host, name, "WatchdogUSec") == [period]
    assert not remote.must(host, f"ps -o stat= -p {pid}").startswith("T")


def test_power_goes_and_comes_back(
    faults: Faults, inventory: Inventory, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    if inventory.machines != "nspawn":
        pytest.skip("only hosts that the lab makes itself can be switched off")
    one, other = hosts[-1], hosts[0]
    with faults.inject(PowerOff(one), 120), Remote(inventory) as remote:
        assert [active.host for active in faults.active()] == [one]
        assert answers(remote, other, to(one), 2) == []
    with Remote(inventory) as again:
        assert again.must(one, "hostname").strip() == one


# Who injects may die


def test_a_controller_killed_after_injecting_leaves_hosts_that_heal(
    faults: Faults, inventory: Inventory, remote: Remote, hosts: tuple[str, ...]
) -> None:
    done = fab(inventory, "fault.partition", "--shape", "halves", "--for", "3s")
    assert done.returncode == 0, done.stderr
    for host in hosts:
        eventually(partial(clean, remote, host), f"healed on {host}")
    assert faults.active() == []


def test_a_controller_killed_while_injecting_leaves_hosts_that_heal(
    faults: Faults, inventory: Inventory, remote: Remote, hosts: tuple[str, ...]
) -> None:
    command = [str(FAB), "fault.link", "--delay", "50ms", "--for", "4s"]
    with subprocess.Popen(
        [*command, "--inventory", str(inventory.path)], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as controller:
        eventually(
            lambda: "distlab-heal" in left(remote, hosts[0]) or controller.poll() is not None,
            "written down on a host",
        )
        controller.send_signal(signal.SIGKILL)
    for host in hosts:
        eventually(partial(clean, remote, host), f"healed on {host}")
    assert faults.active() == []


def test_heal_and_list_know_what_a_dead_controller_injected(
    faults: Faults, inventory: Inventory, hosts: tuple[str, ...], alien: str, remote: Remote
) -> None:
    assert faults.active() == []
    done = fab(inventory, "fault.partition", "--hosts", ",".join(hosts[1:3]), "--for", "10min")
    assert done.returncode == 0, done.stderr
    listed = json.loads(fab(inventory, "fault.list", "--json").stdout)
    assert {entry["host"] for entry in listed} == set(hosts[1:3])
    healed = fab(inventory, "heal")
    assert healed.returncode == 0
    assert "2 healed" in healed.stderr
    again = fab(inventory, "heal")
    assert (again.returncode, again.stdout) == (0, "")
    assert "there was no fault" in again.stderr
    assert remote.must(hosts[0], f"sudo -n nft list table netdev {ALIEN}") == alien


# The verbs


def test_a_link_by_its_verb_goes_both_ways_and_tells_programs(
    faults: Faults,
    inventory: Inventory,
    remote: Remote,
    hosts: tuple[str, ...],
    to: Callable[[str], str],
) -> None:
    one, other = hosts[:2]
    assert faults.active() == []
    done = fab(
        inventory,
        "fault.delay",
        *("20ms", "--on", one, "--to", other, "--both", "--for", "10min", "--json"),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [fault["fault"]["on"] for fault in told] == [[one], [other]]
    assert told[1]["measured"][other]["delay"] == pytest.approx(0.02, rel=0.2)
    assert statistics.median(answers(remote, one, to(other), 50)) == pytest.approx(40, rel=0.2)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["fault.link", "--on", "n77", "--delay", "50ms"], "there is no host 'n77'"),
        (["fault.link"], "a link's fault needs an effect"),
        (["fault.link", "--delay", "fast"], "'fast' is not a time"),
        (["fault.link", "--reorder", "25%"], "reorder takes a delay"),
        (["fault.loss", "120%"], "loss is a part of all packets"),
        (["fault.partition", "--shape", "thirds"], "no shape of a partition: 'thirds'"),
        (["fault.reset", "n77"], "there is no host 'n77'"),
        (["fault.shapes", "--hosts", "1"], "has no picture"),
    ],
)
def test_what_cannot_be_is_refused(
    inventory: Inventory, options: list[str], complaint: str
) -> None:
    verb, *rest = options
    command = [str(FAB), verb, *rest]
    if verb != "fault.shapes":
        command += ["--inventory", str(inventory.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr

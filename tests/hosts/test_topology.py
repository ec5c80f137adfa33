"""Topologies boot as labs of their own: what the file says is what the hosts measure.

One is two hosts, a switch and two routers, on a line; the other a tree that was drawn from a seed.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from apps.kit.faults import Link
from lab import hosts
from lab.errors import LabError
from lab.faults.control import Faults
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from lab.topology import files, inventory, mininet, validate
from lab.topology.addresses import Plan
from lab.topology.generate import Wanted, generate
from lab.topology.measure import bandwidth, round_trip
from lab.topology.model import Quality, Topology
from tests.conftest import eventually
from tests.hosts.fault_traces import clean
from tests.throwaway_lab import Lab, told

pytestmark = pytest.mark.usefixtures("needs_root")

TEXT = """\
name: test-tp
subnet: 198.19.210.0/24
hosts: [near, far]
switches: [s1]
routers: [r1, r2]
defaults: {delay: 10ms}
links:
  - {between: [near, s1], bandwidth: 10mbit}
  - {between: [s1, r1]}
  - {between: [r1, r2]}
  - {between: [r2, far]}
"""
WAY = 0.04
"""Seconds from one host to the other: four links of 10 ms."""
TREE = Wanted(
    lans=1,
    routers=0,
    depth=2,
    fanout=2,
    quality=Quality(delay=0.01, bandwidth=10e6),
    name="test-tr",
    subnet=IPv4Network("198.19.211.0/24"),
)


class Wired(Lab):
    """A lab that is wired as a topology has it."""

    def __init__(self, made: Inventory) -> None:
        self.name = made.lab
        self.subnet = str(made.subnet)
        self.path = made.path
        self.inventory = made
        self.reports: list[str] = []


@pytest.fixture(scope="module")
def topology() -> Topology:
    """The topology, found right."""
    found, source = files.parse(TEXT, "test")
    validate.check(found, source)
    return found


@contextmanager
def booted(topology: Topology, home: Path) -> Iterator[Wired]:
    """Have the lab of a topology; it leaves nothing behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inventory, "ROOT", home)
        made = Wired(hosts.load(inventory.write(topology, Path("test.yml"))))
    made.reclaim()
    try:
        made.up()
        yield made
    finally:
        made.down()
        left = made.leftovers()
        made.down(wipe=True)
    assert left == []


@pytest.fixture(scope="module")
def lab(topology: Topology, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    """The line, up; gone afterwards."""
    with booted(topology, tmp_path_factory.mktemp("checkout")) as made:
        yield made


@pytest.fixture
def remote(lab: Wired) -> Iterator[Remote]:
    """The hosts' command lines."""
    with Remote(lab.inventory) as connected:
        yield connected


def within_a_tenth(wanted: float, measure: Callable[[], float]) -> None:
    """A busy machine makes packets late; a link that is wrong is so each time."""
    found: list[float] = []
    while len(found) < 5:
        found.append(measure())
        if found[-1] == pytest.approx(wanted, rel=0.1):
            return
    pytest.fail(f"wanted {wanted:g}, measured {found}")


def test_a_packet_takes_as_long_as_its_links_together(remote: Remote) -> None:
    within_a_tenth(2 * WAY, lambda: round_trip(remote, "near", "far"))


def test_a_connection_is_as_fast_as_its_narrowest_link(remote: Remote) -> None:
    within_a_tenth(10e6, lambda: bandwidth(remote, "near", "far", 3.0))


def test_packets_go_by_the_routers(remote: Remote, lab: Wired) -> None:
    far = lab.inventory.hosts["far"].address
    # Each router that a packet passes takes one from its time to live: 64 at first.
    assert "ttl=62" in remote.must("near", f"ping -c 1 -W 5 {far}")


def test_every_machine_is_logged_in_to_past_the_links(lab: Wired) -> None:
    for name in lab.inventory.machines_by_name:
        assert lab.said(name, "hostname") == name


def test_a_service_is_reached_from_this_machine(lab: Wired) -> None:
    """Past the links, by the very address that it serves at."""
    for host in lab.inventory.hosts.values():
        assert f"via {host.login_host}" in told("ip", "route", "get", str(host.address))
        told("ping", "-c", "1", "-W", "5", str(host.address))


def test_healing_leaves_links_and_a_fault_comes_on_top(remote: Remote) -> None:
    faults = Faults(remote)
    with faults.inject(Link(("near",), ("far",), delay=0.05), 60) as injected:
        assert injected.measured["near"]["delay"] == pytest.approx(0.06, rel=0.25)
        within_a_tenth(2 * WAY + 0.05, lambda: round_trip(remote, "near", "far"))
        faults.heal()
    eventually(lambda: clean(remote, "near"), "nothing of the fault is left")
    assert faults.active() == []
    within_a_tenth(2 * WAY, lambda: round_trip(remote, "near", "far"))


def test_links_are_there_again_after_a_power_cut(lab: Wired, remote: Remote) -> None:
    for name in ("near", "r1"):
        hosts.power_off(lab.inventory, name, lab.reports.append)
        hosts.boot(lab.inventory, name, lab.reports.append)
    within_a_tenth(2 * WAY, lambda: round_trip(remote, "far", "near"))


def test_a_machine_that_is_none_is_refused(lab: Wired) -> None:
    with pytest.raises(LabError, match="no host r9"):
        hosts.power_off(lab.inventory, "r9", lab.reports.append)


def test_in_a_tree_that_was_drawn_all_is_as_the_file_says(tmp_path: Path) -> None:
    """Far leaves are four links apart, those of one switch two; each host reaches each other."""
    with booted(generate(TREE), tmp_path) as tree, Remote(tree.inventory) as remote:
        for a, b in itertools.permutations(tree.inventory.hosts, 2):
            remote.must(a, f"ping -c 1 -W 5 {tree.inventory.hosts[b].address}")
        within_a_tenth(2 * WAY, lambda: round_trip(remote, "h1", "h4"))
        within_a_tenth(WAY, lambda: round_trip(remote, "h1", "h2"))
        within_a_tenth(10e6, lambda: bandwidth(remote, "h1", "h4", 3.0))


@pytest.mark.parametrize("of", ["line", "tree"])
def test_mininet_runs_what_was_exported(of: str, topology: Topology, tmp_path: Path) -> None:
    debian = Path("/usr/bin/python3")
    assert Path("/usr/bin/mn").exists(), "no mininet: lab/bootstrap.sh test"
    script = tmp_path / "exported.py"
    script.write_text(mininet.script(Plan(topology if of == "line" else generate(TREE))))
    done = subprocess.run(
        [debian, str(script), "--test"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0.0% dropped" in done.stdout + done.stderr

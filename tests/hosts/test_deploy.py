"""Deploying to the lab: it settles, touches only what changed, and refuses nonsense."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import testinfra

from lab.catalogue import ROOT, patterns
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from lab.status import UnitState, status

RECAP = re.compile(
    r"^(?P<host>\S+) +: ok=\d+ +changed=(?P<changed>\d+) +unreachable=(?P<unreachable>\d+) "
    r"+failed=(?P<failed>\d+)",
    re.MULTILINE,
)


UNIT = "lab-tcp-echo-server"
STANDING = f"""
cat /etc/hosts /etc/systemd/system/{UNIT}.service
stat -c %a /etc/distlab/{UNIT}.env
systemctl is-active {UNIT}
systemctl is-enabled {UNIT}
nft list table inet distlab_host | sed 's/packets.*//'
"""
"""A shell script that prints what a deploy brings about on a host, as far as a test meddles."""


def play(checkout: Path, inventory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the deploying playbook of a checkout."""
    command = ["ansible-playbook", "-i", str(inventory), "playbooks/deploy.yml", *more]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def recap(done: subprocess.CompletedProcess[str], what: str) -> Mapping[str, int]:
    """Give a figure of the recap for each host."""
    counts = {match["host"]: int(match[what]) for match in RECAP.finditer(done.stdout)}
    assert counts, done.stdout + done.stderr
    return counts


def succeeded(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Check that a play succeeded, and give it."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def units(inventory: Inventory) -> list[UnitState]:
    """Ask for all units, which all have to be active."""
    with Remote(inventory) as remote:
        states = status(remote, patterns())
    assert {state.state for state in states} == {"active"}
    return states


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the project, to edit."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def settling(inventory: Inventory) -> Mapping[str, int]:
    """What a deploy changed on each host that was deployed to before.

    What tests had meddled with in the meantime is put right first.
    """
    path = inventory.path.absolute()
    changed = recap(succeeded(play(ROOT, path)), "changed")
    return recap(succeeded(play(ROOT, path)), "changed") if any(changed.values()) else changed


@pytest.fixture
def settled(inventory: Inventory, settling: Mapping[str, int]) -> Inventory:
    """The lab as a deploy leaves it, whatever it was before."""
    assert settling
    return inventory


def test_a_second_deploy_changes_nothing(inventory: Inventory, settling: Mapping[str, int]) -> None:
    assert settling == dict.fromkeys(inventory.hosts, 0)


def test_check_mode_works(settled: Inventory) -> None:
    done = succeeded(play(ROOT, settled.path.absolute(), "--check", "--diff"))
    assert recap(done, "failed") == dict.fromkeys(settled.hosts, 0)


def test_editing_one_pattern_restarts_its_units_alone(checkout: Path, settled: Inventory) -> None:
    before = units(settled)
    with (checkout / "apps" / "tcp_echo" / "server.py").open("a") as source:
        source.write("# edited by a test\n")
    try:
        succeeded(play(checkout, settled.path.absolute()))
        after = units(settled)
    finally:
        succeeded(play(ROOT, settled.path.absolute(), "--tags", "tcp_echo"))
    restarted = {a.unit for a, b in zip(after, before, strict=True) if a.since != b.since}
    assert restarted == {"lab-tcp-echo-server.service"}


@pytest.mark.parametrize(
    "meddling",
    [
        f"sed -i 's/^Restart=.*/Restart=no/' /etc/systemd/system/{UNIT}.service",
        f"chmod 644 /etc/distlab/{UNIT}.env; systemctl disable --now {UNIT}",
        "systemctl stop distlab-firewall; sed -i '/BEGIN distlab/,/END distlab/d' /etc/hosts",
    ],
    ids=["file", "life", "host"],
)
def test_what_somebody_changed_on_a_host_is_put_right(
    inventory: Inventory, request: pytest.FixtureRequest, meddling: str
) -> None:
    (name,) = inventory.groups["tcp_echo_server"]
    given = request.config.option.ansible_inventory
    host = testinfra.get_host(f"ansible://{name}", ansible_inventory=given)
    before = host.check_output(STANDING)
    host.run(meddling)
    assert host.run(STANDING).stdout != before
    path = inventory.path.absolute()
    succeeded(play(ROOT, path, "--tags", "tcp_echo", "--limit", name))
    assert host.check_output(STANDING) == before


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("tcp_echo_server_port=eighty", "tcp_echo_server_port"),
        ("rest_api_server_port=[]", "rest_api_server_port"),
        ("lab_machines=cloud", "lab_machines"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_touched(
    inventory: Inventory, given: str, complaint: str
) -> None:
    done = play(ROOT, inventory.path.absolute(), "--extra-vars", given)
    assert done.returncode != 0
    assert complaint in done.stdout + done.stderr
    assert "TASK [lab_host" not in done.stdout
    assert set(recap(done, "changed").values()) == {0}


def test_a_missing_group_is_refused_before_anything_is_touched(
    inventory: Inventory, tmp_path: Path
) -> None:
    copy = tmp_path / "inventory" / inventory.path.name
    shutil.copytree(inventory.path, copy)
    placement = copy / "placement.yml"
    text = placement.read_text()
    assert "tcp_echo_server:" in text
    placement.write_text(text.replace("tcp_echo_server:", "tcp_echo_sevrer:"))
    done = play(ROOT, copy)
    assert done.returncode != 0
    assert "tcp_echo_server is missing or empty" in done.stdout + done.stderr
    assert "TASK [lab_host" not in done.stdout

"""Deploying to the lab: it settles, touches only what changed, and refuses nonsense."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
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


LEFTOVERS = """
ls -d /opt/distlab /etc/distlab /var/lib/lab-* /var/lib/private/lab-* /var/tmp/distlab* \\
    /etc/systemd/system/lab-* /etc/systemd/system/*.wants/lab-* 2>/dev/null
systemctl list-units --all --plain --no-legend 'lab-*' distlab-firewall.service
nft list tables
grep distlab /etc/hosts
"""
"""A shell script that prints what is left of a deploy on a host."""


def play(checkout: Path, inventory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the deploying playbook of a checkout."""
    command = ["ansible-playbook", "-i", str(inventory), "playbooks/deploy.yml", *more]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def run_fab(verb: str, inventory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the project."""
    fab = Path(sys.executable).with_name("fab")
    command = [str(fab), verb, "--inventory", str(inventory), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


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


def test_a_second_deploy_changes_nothing(inventory: Inventory) -> None:
    succeeded(play(ROOT, inventory.path.absolute()))
    changed = recap(succeeded(play(ROOT, inventory.path.absolute())), "changed")
    assert changed == dict.fromkeys(inventory.hosts, 0)


def test_check_mode_works(inventory: Inventory) -> None:
    done = succeeded(play(ROOT, inventory.path.absolute(), "--check", "--diff"))
    assert recap(done, "failed") == dict.fromkeys(inventory.hosts, 0)


def test_editing_one_pattern_restarts_its_units_alone(checkout: Path, inventory: Inventory) -> None:
    before = units(inventory)
    with (checkout / "apps" / "tcp_echo" / "server.py").open("a") as source:
        source.write("# edited by a test\n")
    try:
        succeeded(play(checkout, inventory.path.absolute()))
        after = units(inventory)
    finally:
        succeeded(play(ROOT, inventory.path.absolute()))
    restarted = {a.unit for a, b in zip(after, before, strict=True) if a.since != b.since}
    assert restarted == {"lab-tcp-echo-server.service"}


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


def test_remove_leaves_nothing_and_a_pattern_alone_brings_it_back(
    inventory: Inventory, request: pytest.FixtureRequest
) -> None:
    """What `remove` took away, `deploy --only` brings back, as far as that pattern needs it."""
    path = inventory.path.absolute()
    try:
        succeeded(run_fab("remove", path))
        given = request.config.option.ansible_inventory
        for name in inventory.hosts:
            host = testinfra.get_host(f"ansible://{name}", ansible_inventory=given)
            assert host.run(LEFTOVERS).stdout == ""
        succeeded(run_fab("deploy", path, "--only", "tcp_echo"))
        client, server = (inventory.groups[f"tcp_echo_{part}"][0] for part in ("client", "server"))
        host = testinfra.get_host(f"ansible://{client}", ansible_inventory=given)
        asked = f"/opt/distlab/bin/python -m apps.tcp_echo client {server} hello"
        assert host.check_output(asked).startswith("hello")
        assert "table inet distlab_host" in host.check_output("nft list tables")
    finally:
        succeeded(play(ROOT, path))
    assert units(inventory)

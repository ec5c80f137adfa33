"""The Vagrantfile and Ansible read one inventory, and see the same machines in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.catalogue import ROOT
from lab.hosts.inventory import EMBEDDED_RANGE, Inventory, load

VAGRANTFILE = ROOT / "Vagrantfile"
HOSTS = ROOT / "inventory" / "vagrant" / "hosts.yml"
USED = sorted(set(re.findall(r'"((?:lab|ansible)_\w+)"', VAGRANTFILE.read_text())))
"""The variables that the Vagrantfile reads."""

Plain = dict[str, dict[str, Any]]

needs_vagrant = pytest.mark.skipif(
    shutil.which("vagrant") is None,
    reason="Vagrant is not installed; it is checked where it is (apt-get install vagrant)",
)


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return load(HOSTS.parent)


@pytest.fixture(scope="module")
def plain() -> Plain:
    """Host name to variables, by YAML alone."""
    group = yaml.safe_load(HOSTS.read_text())["lab"]
    return {name: group["vars"] | (own or {}) for name, own in group["hosts"].items()}


def test_the_hosts_are_ansibles(plain: Plain, inventory: Inventory) -> None:
    assert list(plain) == list(inventory.hosts)


@pytest.mark.parametrize("name", USED)
def test_what_it_reads_means_the_same_to_ansible(
    plain: Plain, inventory: Inventory, name: str
) -> None:
    ansible = {
        host.name: host.user if name == "ansible_user" else host.vars[name]
        for host in inventory.hosts.values()
    }
    assert {host: values[name] for host, values in plain.items()} == ansible


def test_it_writes_nothing_twice(inventory: Inventory) -> None:
    code = re.sub(r"(^| )# .*", "", VAGRANTFILE.read_text(), flags=re.MULTILINE)
    assert not re.findall(r"\b198\.\d+\.\d+\.\d+", code)
    assert not re.findall(rf"\b({'|'.join(inventory.hosts)})\b", code)


def test_host_keys_are_checked_against_what_it_records(plain: Plain, inventory: Inventory) -> None:
    lab_name = plain["hub"]["lab_name"]
    assert inventory.known_hosts == ROOT / ".lab" / lab_name / "known_hosts"
    for host in inventory.hosts.values():
        assert "StrictHostKeyChecking=yes" in host.ssh_args
        assert f"UserKnownHostsFile={inventory.known_hosts}" in host.ssh_args


@pytest.mark.parametrize(
    "other", sorted(path.parent for path in ROOT.glob("inventory/*/hosts.yml"))
)
def test_the_management_network_is_nobodys(plain: Plain, other: Path) -> None:
    management = IPv4Network(plain["hub"]["lab_management_subnet"])
    assert management.subnet_of(EMBEDDED_RANGE)
    assert not management.overlaps(load(other).subnet)


def vagrant(directory: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Vagrant on a Vagrantfile; what it keeps goes to `home`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
    own = {"VAGRANT_HOME": str(home), "VAGRANT_DOTFILE_PATH": str(home / "machines")}
    own |= {"LAB_LIBVIRT_DRIVER": "qemu"}  # or it would try KVM
    return subprocess.run(
        ["vagrant", *arguments],
        cwd=directory,
        env=inherited | own | {"VAGRANT_CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@needs_vagrant
def test_vagrant_validates_it(tmp_path: Path) -> None:
    done = vagrant(ROOT, tmp_path, "validate")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_vagrant
def test_vagrant_knows_the_machines(tmp_path: Path, inventory: Inventory) -> None:
    done = vagrant(ROOT, tmp_path, "status", "--machine-readable")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(",") for line in done.stdout.splitlines()]
    assert [row[1] for row in rows if row[2] == "state"] == list(inventory.hosts)


@needs_vagrant
@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("    n1:", "    n[1:2]:", "a range of hosts, n[1:2]"),
        ("lab_address: 198.18.1.11", 'lab_address: "{{ first }}"', "host n1 in "),
        ("lab_memory: 1024", "lab_memory: much", "is no whole number"),
        ("lab_box: distlab/bookworm", "lab_bax: none", "has no lab_box"),
        (
            "lab_management_subnet: 198.19.255.0/24",
            "lab_management_subnet: 198.18.0.0/16",
            "overlap",
        ),
    ],
)
def test_an_inventory_that_it_cannot_read_is_refused(
    tmp_path: Path, was: str, becomes: str, said: str
) -> None:
    text = HOSTS.read_text()
    assert was in text
    copy = tmp_path / "inventory" / "vagrant" / "hosts.yml"
    copy.parent.mkdir(parents=True)
    copy.write_text(text.replace(was, becomes, 1))
    shutil.copy(VAGRANTFILE, tmp_path)
    done = vagrant(tmp_path, tmp_path / "home", "validate")
    assert done.returncode == 1
    assert said in done.stderr
    assert "->" in done.stderr

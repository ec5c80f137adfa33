"""Inventories: what a lab may look like, and how a mistake is explained."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.hosts.control import states
from lab.hosts.inventory import load
from lab.hosts.remote import connect

ROOT = Path(__file__).parents[2]

HOSTS = """\
lab:
  hosts:
    hub:
      lab_address: {hub}
    n[1:3]:
  vars:
    lab_name: {name}
    lab_machines: {machines}
    lab_subnet: {subnet}
    lab_address: "{prefix}.{{{{ 10 + (inventory_hostname[1:] | int) }}}}"
    lab_directory: "{{{{ inventory_dir | dirname }}}}/.lab/{{{{ lab_name }}}}"
    ansible_host: "{{{{ lab_address }}}}"
    ansible_user: lab
"""
GOOD = {
    "hub": "198.18.9.10",
    "name": "mine",
    "machines": "nspawn",
    "subnet": "198.18.9.0/24",
    "prefix": "198.18.9",
}


Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Write an inventory with some values changed and more text below; its path."""

    def write(placement: str = "", more: str = "", **changed: str) -> Path:
        path = tmp_path / "inventory"
        path.mkdir()
        (path / "hosts.yml").write_text(HOSTS.format(**{**GOOD, **changed}) + more)
        if placement:
            (path / "placement.yml").write_text(placement)
        return path

    return write


def test_ranges_and_templates_mean_what_they_mean_to_ansible(
    written: Write, tmp_path: Path
) -> None:
    inventory = load(
        written("echo:\n  children:\n    echo_server:\n      hosts:\n        n[2:3]:\n")
    )
    assert list(inventory.hosts) == ["hub", "n1", "n2", "n3"]
    assert inventory.hosts["n3"].address == IPv4Address("198.18.9.13")
    assert inventory.hosts["n3"].login_host == "198.18.9.13"
    assert inventory.groups["echo"] == inventory.groups["echo_server"] == ("n2", "n3")
    assert inventory.directory == tmp_path / ".lab" / "mine"
    assert inventory.controller == IPv4Address("198.18.9.1")
    assert inventory.bridge == "dl-mine"


def test_login_details_come_from_ansible_variables(written: Write) -> None:
    more = (
        "    ansible_port: 2222\n"
        "    ansible_ssh_private_key_file: ~/key\n"
        "    ansible_ssh_common_args: -o 'ProxyCommand=ssh jump' -v\n"
        "    lab_memory: 512\n"
    )
    host = load(written(more=more)).hosts["n1"]
    assert (host.user, host.port, host.memory) == ("lab", 2222, 512)
    assert host.key == Path.home() / "key"
    assert host.ssh_args == ("-o", "ProxyCommand=ssh jump", "-v")


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"name": "longer-than-it-may"}, "lab_name"),
        ({"name": "Mine"}, "lab_name"),
        ({"name": "-mine"}, "lab_name"),
        ({"machines": "docker"}, "lab_machines"),
        ({"subnet": "198.18.9.0"}, "outside lab_subnet"),
        ({"subnet": "198.18.9.7/24"}, "lab_subnet"),
        ({"subnet": "10.1.2.0/24"}, "outside 198.18.0.0/15"),
        ({"hub": "198.18.8.10"}, "outside lab_subnet"),
        ({"hub": "198.18.9.12"}, "taken by host hub"),
        ({"hub": "198.18.9.1"}, "taken by the controller"),
        ({"hub": "198.18.9.255"}, "taken by broadcast"),
        ({"hub": "hub.example"}, "lab_address"),
    ],
)
def test_a_bad_value_is_named(written: Write, changed: dict[str, str], complaint: str) -> None:
    with pytest.raises(LabError, match=complaint) as refused:
        load(written(**changed))
    assert refused.value.fix


def test_real_machines_may_have_addresses_of_their_own(written: Write) -> None:
    own = {"hub": "10.1.2.10", "subnet": "10.1.2.0/24", "prefix": "10.1.2", "machines": "real"}
    assert load(written(**own)).hosts["n1"].address == IPv4Address("10.1.2.11")


def test_a_placement_on_a_host_that_nobody_describes(written: Write) -> None:
    with pytest.raises(LabError, match=r"group echo places something on host n9"):
        load(written("echo:\n  hosts:\n    n9:\n"))


def test_no_inventory(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="there is no inventory"):
        load(tmp_path / "nowhere")


def test_an_inventory_without_the_group_lab(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all:\n  hosts:\n    n1:\n")
    with pytest.raises(LabError, match="no host in group `lab`"):
        load(tmp_path)


def test_a_file_that_is_no_yaml_is_no_half_inventory(written: Write) -> None:
    with pytest.raises(LabError, match="cannot read the inventory"):
        load(written("echo: [\n"))


def test_hosts_must_agree_on_the_lab(written: Write) -> None:
    with pytest.raises(LabError, match="lab_name differs between hosts"):
        load(written("other:\n  hosts:\n    n2:\n      lab_name: yours\n"))


@pytest.mark.parametrize("name", ["local", "vagrant", "trixie", "real.example", "fifty"])
def test_every_inventory_of_the_project_loads(name: str) -> None:
    inventory = load(ROOT / "inventory" / name)
    assert {"hub", "n1", "n2"} <= set(inventory.hosts)
    assert inventory.groups["tcp_squares_server"] == ("hub",)


def test_the_crowd_is_placed_by_ranges() -> None:
    inventory = load(ROOT / "inventory" / "fifty")
    assert len(inventory.hosts) == 51
    assert len(inventory.groups["udp_heartbeat_sender"]) == 50


SOAP = """\
soap:
  children:
    soap_server:
      hosts: {n1: }
    soap_client:
      hosts: {n2: }
tcp_echo_server:
  hosts: {n1: }
"""


def test_what_the_hosts_cannot_run_is_placed_nowhere(written: Write) -> None:
    inventory = load(written(SOAP, "    lab_suite: trixie\n"))
    assert inventory.hosts["n1"].suite == "trixie"
    assert inventory.groups["soap_server"] == inventory.groups["soap_client"] == ()
    assert inventory.groups["tcp_echo_server"] == ("n1",)
    assert "n1 has Debian trixie: spyne" in inventory.left_out["soap"]


def test_clients_run_anywhere(written: Write) -> None:
    suite = "    lab_suite: \"{{ 'trixie' if inventory_hostname == 'n2' else 'bookworm' }}\"\n"
    inventory = load(written(SOAP, suite, machines="real"))
    assert inventory.hosts["n2"].suite == "trixie"
    assert inventory.left_out == {}


def test_local_hosts_share_one_image(written: Write) -> None:
    suite = "    lab_suite: \"{{ 'trixie' if inventory_hostname == 'n1' else 'bookworm' }}\"\n"
    with pytest.raises(LabError, match="lab_suite differs between hosts hub and n1"):
        load(written("", suite))


def test_a_suite_that_nobody_has_tested_is_refused(written: Write) -> None:
    with pytest.raises(LabError, match="one of bookworm, trixie"):
        load(written("", "    lab_suite: sid\n"))


@pytest.mark.parametrize(("machines", "down"), [("nspawn", True), ("real", False)])
def test_nothing_is_sent_to_hosts_that_are_not_there(
    written: Write, machines: str, *, down: bool
) -> None:
    inventory = load(written(machines=machines, name="nosuchlab"))
    assert inventory.is_down == down
    if down:
        assert not any(host.ssh for host in states(inventory))
        with pytest.raises(LabError, match="the lab is down"):
            connect(inventory.hosts["n1"], inventory)

"""The lab's SSH files, as OpenSSH itself reads them."""

from __future__ import annotations

import stat
import subprocess
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from lab.hosts import ssh
from lab.hosts.inventory import Host, Inventory


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """Two hosts, in a checkout whose path has a space."""
    hosts = {
        name: Host(name, IPv4Address(address), address, "lab", 22, None, (), None)
        for name, address in {"n1": "198.18.9.11", "n2": "198.18.9.12"}.items()
    }
    return Inventory(
        path=tmp_path / "inventory",
        lab="mine",
        machines="nspawn",
        subnet=IPv4Network("198.18.9.0/24"),
        controller=IPv4Address("198.18.9.1"),
        directory=tmp_path / "my checkout" / ".lab" / "mine",
        hosts=hosts,
        groups={"lab": tuple(hosts)},
    )


def understood(inventory: Inventory, host: str) -> dict[str, str]:
    """What ssh makes of the configuration for one host."""
    told = subprocess.run(
        ["ssh", "-G", "-F", inventory.ssh_config, host], check=True, capture_output=True, text=True
    ).stdout
    return dict(line.split(" ", 1) for line in told.splitlines())


@pytest.mark.parametrize("called", ["n2", "198.18.9.12"])
def test_name_and_address_lead_to_the_same_host(inventory: Inventory, called: str) -> None:
    ssh.login_key(inventory)
    ssh.write_files(inventory, {})
    config = understood(inventory, called)
    assert config["hostname"] == "198.18.9.12"
    assert config["hostkeyalias"] == "n2"
    assert config["user"] == "lab"
    assert config["stricthostkeychecking"] == "true"
    assert config["identityfile"] == str(inventory.directory / "id_ed25519")
    assert config["userknownhostsfile"] == str(inventory.known_hosts)


def test_host_keys_are_found_by_name_and_by_address(inventory: Inventory) -> None:
    key = ssh.login_key(inventory)
    ssh.write_files(inventory, {"n1": key})
    for called in ("n1", "198.18.9.11"):
        found = subprocess.run(
            ["ssh-keygen", "-F", called, "-f", inventory.known_hosts],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert key.split()[1] in found


def test_the_login_key_is_made_once_and_is_private(inventory: Inventory) -> None:
    first = ssh.login_key(inventory)
    assert first == ssh.login_key(inventory)
    private = inventory.directory / "id_ed25519"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_a_key_whose_making_was_interrupted_is_made_again(inventory: Inventory) -> None:
    inventory.directory.mkdir(parents=True)
    (inventory.directory / "id_ed25519").write_text("half a key")
    assert ssh.login_key(inventory).startswith("ssh-ed25519 ")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ((), None),
        (("-o", "ServerAliveInterval=5"), None),
        (("-J", "jump"), "ssh -o BatchMode=yes -W 192.0.2.1:2222 ssh://jump"),
        (
            ("-o", "ProxyJump=first,ops@last:2200"),
            "ssh -o BatchMode=yes -J first -W 192.0.2.1:2222 ssh://ops@last:2200",
        ),
        (("-o", "ProxyCommand=nc -X 5 %h %p"), "nc -X 5 192.0.2.1 2222"),
    ],
)
def test_a_host_behind_another_is_reached_through_it(
    arguments: tuple[str, ...], command: str | None
) -> None:
    host = Host("n1", IPv4Address("192.0.2.1"), "192.0.2.1", "ops", 2222, None, arguments, None)
    assert ssh.gateway(host) == command

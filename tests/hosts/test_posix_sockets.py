"""posix_sockets on the lab: nc over TCP, UDP and a path; garbage; a thousand connections."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import testinfra

from lab.hosts.inventory import Inventory
from tests.conftest import eventually

testinfra_hosts = ["ansible://posix_sockets_client"]
PORT = "4040"
PATH = "/var/lib/lab-posix-sockets-server/socket"
HELLO = r"printf '\0\0\0\1\0\0\0\5hello'"
CLIENT = "/opt/distlab/bin/python -m apps.posix_sockets"


@pytest.fixture
def server(inventory: Inventory) -> str:
    """The server's name, as its clients know it."""
    return inventory.groups["posix_sockets_server"][0]


@pytest.mark.parametrize("way", ["-N", "-u -w1"])
def test_nc_is_served(host: Any, server: str, way: str) -> None:
    assert host.check_output(f"{HELLO} | timeout 20 nc {way} %s {PORT} | tail -c 5", server) == (
        "hello"
    )


def test_nc_is_served_at_the_path(server: str, pytestconfig: pytest.Config) -> None:
    there = testinfra.get_host(
        f"ansible://{server}", ansible_inventory=pytestconfig.option.ansible_inventory
    )
    assert there.check_output(f"{HELLO} | timeout 20 nc -N -U {PATH} | tail -c 5") == "hello"


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        ("printf 'GET / HTTP/1.1\\r\\n\\r\\n'", "a text of 790644820 bytes; the longest is 65536"),
        (r"printf '\0\0\0\1\0\0\0\5hel'", "the stream ended 11 bytes into a message"),
        (r"printf '\0\0\0\0\0\0\0\1x'", "number 0 is the server's: count from 1"),
    ],
)
def test_bad_input_is_told_what_it_is(host: Any, server: str, sent: str, complaint: str) -> None:
    said = host.check_output(f"{sent} | timeout 20 nc -N %s {PORT} | tail -c +9", server)
    assert said == complaint


@pytest.mark.parametrize(
    "name", ["one-byte", "half-close", "reset", "garbage", "half-message", "slow-reader"]
)
def test_awkward_peers_are_borne(host: Any, server: str, name: str) -> None:
    assert host.check_output(f"{CLIENT} peer %s {name}", server).startswith(f"{name}: ")


def test_a_thousand_connections_at_once(host: Any, server: str) -> None:
    assert host.check_output(f"{CLIENT} many %s", server).startswith("1000 connections at once")


def test_the_client_works(host: Any, server: str) -> None:
    for udp in ("", "--udp"):
        said = host.check_output(f"printf 'one\\ntwo\\n' | {CLIENT} client %s {udp}", server)
        assert [line.split()[0] for line in said.splitlines()] == ["one", "two"]


def test_a_closed_port_is_refused(host: Any, server: str) -> None:
    def refused(*how: str) -> bool:
        done = host.run(f"{CLIENT} client %s:1 {' '.join(how)} hello", server)
        return bool(done.rc == 3 and done.stderr.startswith("refused: "))

    assert refused()
    # By a datagram of ICMP, of which a kernel sends few a second, whoever is the cause of them.
    eventually(partial(refused, "--udp"), "refused")


def test_bad_arguments_are_usage_errors(host: Any, server: str) -> None:
    done = host.run(f"{CLIENT} client %s:70000 hello", server)
    assert done.rc == 2
    assert "needs a port from 1 to 65535" in done.stderr

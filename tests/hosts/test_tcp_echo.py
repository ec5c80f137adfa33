"""tcp_echo on the lab: nc is served, garbage is told what it is, a full house says so."""

from __future__ import annotations

from typing import Any

import pytest

from lab.hosts.inventory import Inventory

testinfra_hosts = ["ansible://tcp_echo_client"]
PORT = "8080"


@pytest.fixture
def server(inventory: Inventory) -> str:
    """The server's name, as its clients know it."""
    return inventory.groups["tcp_echo_server"][0]


def nc(host: Any, server: str, sent: str) -> list[str]:
    """Send what a shell command prints, with nc; give the lines that come back."""
    said: str = host.check_output(f"{sent} | timeout 20 nc -N %s %s", server, PORT)
    return said.splitlines()


def test_nc_is_served(host: Any, server: str) -> None:
    replies = nc(host, server, "printf 'hello\\r\\nwörld\\n'")
    assert [reply.split(" ", 1)[1] for reply in replies] == ["hello", "wörld"]


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (
            "head -c 200000 /dev/zero | tr '\\0' a",
            "error: frame too long: the limit is 65536 bytes",
        ),
        ("printf '\\377\\n'", "error: not UTF-8 at byte 0 of the line"),
        ("printf half", "error: stream ended inside a frame, after 4 bytes of it"),
    ],
)
def test_bad_input_is_told_what_it_is(host: Any, server: str, sent: str, complaint: str) -> None:
    assert nc(host, server, sent) == [complaint]


def test_the_client_works(host: Any, server: str) -> None:
    client = "/opt/distlab/bin/python -m apps.tcp_echo client"
    assert host.check_output(f"{client} %s hello", server).startswith("hello   (server time 2")
    piped = host.check_output(f"printf 'one\\ntwo\\n' | {client} %s", server)
    assert [line.split()[0] for line in piped.splitlines()] == ["one", "two"]


def test_a_closed_port_is_refused(host: Any, server: str) -> None:
    done = host.run("/opt/distlab/bin/python -m apps.tcp_echo client %s:1 hello", server)
    assert done.rc == 3
    assert done.stderr.startswith("refused: ")


def test_bad_arguments_are_usage_errors(host: Any, server: str) -> None:
    done = host.run("/opt/distlab/bin/python -m apps.tcp_echo client %s:70000 hello", server)
    assert done.rc == 2
    assert "needs a port from 1 to 65535" in done.stderr

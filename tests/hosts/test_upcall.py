"""upcall on the lab: units are called, by hand too; bad input is told so; both ways, measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.hosts.inventory import Inventory
from tests.conftest import eventually

testinfra_hosts = ["ansible://upcall_client"]
PORT = "4050"
CLIENT = "/opt/distlab/bin/python -m apps.upcall"


@pytest.fixture
def server(inventory: Inventory) -> str:
    """The server's name, as its clients know it."""
    return inventory.groups["upcall_server"][0]


def registered(host: Any, server: str) -> set[str]:
    """Ask who is subscribed to the units' topic."""
    told = json.loads(host.check_output(f"{CLIENT} status %s --json", server).splitlines()[-1])
    return {
        one["subscription"].partition("/")[0]
        for one in told["subscriptions"]
        if one["topic"] == "news"
    }


def test_every_unit_is_told(host: Any, server: str, inventory: Inventory) -> None:
    names = set(inventory.groups["upcall_subscriber"])
    eventually(lambda: names <= registered(host, server), "every unit registered")
    said = host.check_output(f"{CLIENT} publish %s hello", server)
    assert names <= {word.partition("/")[0] for word in said.split()}


def test_nc_publishes(host: Any, server: str) -> None:
    event = json.dumps({"f": "publish", "id": "by-hand", "topic": "nobody", "value": "hello"})
    said = host.check_output(f"echo %s | timeout 20 nc -N %s {PORT}", event, server)
    assert json.loads(said)["result"]["told"] == []


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        ("garbage", "not understood: "),
        ("[1]", "not understood: it is no JSON object"),
        ('{"f":"fly"}', "f is publish or status, not 'fly'"),
        ('{"f":"publish","topic":"news","value":"x"}', "id is a text of 1 to 200 characters"),
        ('{"kind":"ack"}', "register first"),
    ],
)
def test_bad_input_is_told_what_it_is(host: Any, server: str, sent: str, complaint: str) -> None:
    said = host.check_output(f"echo %s | timeout 20 nc -N %s {PORT}", sent, server)
    assert json.loads(said)["error"].startswith(complaint)


def test_a_line_without_end_is_told_so(host: Any, server: str) -> None:
    sent = "head -c 200000 /dev/zero | tr '\\0' a"
    said = host.check_output(f"{sent} | timeout 20 nc -N %s {PORT}", server)
    assert json.loads(said)["error"] == "frame too long: the limit is 65536 bytes"


@pytest.mark.parametrize("dialled", [False, True])
def test_round_trips_go_both_ways(
    host: Any, server: str, inventory: Inventory, dialled: bool
) -> None:
    own = inventory.hosts[inventory.groups["upcall_client"][0]].address
    back = f"--back {own}" if dialled else ""
    said = host.check_output(f"{CLIENT} roundtrip %s {back} --count 50 --callers 2", server)
    assert said.startswith("50 answered, 0 failed")


def test_a_closed_port_is_refused(host: Any, server: str) -> None:
    done = host.run(f"{CLIENT} publish %s:1 hello", server)
    assert done.rc == 3
    assert done.stderr.startswith("refused: ")


def test_bad_arguments_are_usage_errors(host: Any, server: str) -> None:
    done = host.run(f"{CLIENT} listen %s:70000", server)
    assert done.rc == 2
    assert "needs a port from 1 to 65535" in done.stderr

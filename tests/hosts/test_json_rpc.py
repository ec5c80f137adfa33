"""json_rpc on the lab: curl sends the specification's examples, bad input hurts nobody."""

from __future__ import annotations

import http.client
import json
import uuid
from typing import Any

import pytest
import testinfra

from apps.json_rpc.examples import EXAMPLES, Example
from lab.hosts.inventory import Inventory

testinfra_hosts = ["ansible://json_rpc_client"]
PORT = 4000
UNIT = "lab-json-rpc-server.service"
PYTHON = "/opt/distlab/bin/python -m apps.json_rpc"
GET_DATA = '{"jsonrpc": "2.0", "method": "get_data", "id": 1}'


@pytest.fixture
def server(inventory: Inventory) -> str:
    """The server's name, as its clients know it."""
    return inventory.groups["json_rpc_server"][0]


@pytest.fixture
def server_host(server: str, request: pytest.FixtureRequest) -> Any:
    """The server's host, to testinfra."""
    inventory = request.config.option.ansible_inventory
    return testinfra.get_host(f"ansible://{server}", ansible_inventory=inventory)


def curl(host: Any, server: str, body: str, *words: str) -> tuple[int, str]:
    """Post with curl from a client host; give the status and the body."""
    quoted = " ".join(["%s"] * len(words))
    command = f"curl --silent --max-time 30 --write-out '\\n%%{{http_code}}' %s -d %s {quoted}"
    typed = () if "-H" in words else ("-H", "Content-Type: application/json")
    quoted_typed = " ".join(["%s"] * len(typed))
    said: str = host.check_output(
        f"{command} {quoted_typed}", f"http://{server}:{PORT}", body, *words, *typed
    )
    text, _, status = said.rpartition("\n")
    return int(status), text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_of_the_specification(host: Any, server: str, example: Example) -> None:
    status = 204 if example.answered is None else 200
    assert curl(host, server, example.sent) == (status, example.expected)


def test_a_repeated_key_transfers_once_over_a_kill(
    host: Any, server: str, server_host: Any
) -> None:
    params = {"key": str(uuid.uuid4()), "source": "alice", "target": "bob", "amount": 1}
    call = {"jsonrpc": "2.0", "method": "transfer", "params": params, "id": 1}
    first = curl(host, server, json.dumps(call))
    assert json.loads(first[1])["result"]["key"] == params["key"]
    server_host.check_output("systemctl kill --signal=KILL %s", UNIT)
    # Restarting waits until the unit is ready, whether systemd was quicker or not.
    server_host.check_output("systemctl restart %s", UNIT)
    assert curl(host, server, json.dumps(call)) == first


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("-H", "Content-Type: text/plain"), 415),
        (("-X", "PUT"), 405),
        (("-d", "x" * 70_000), 413),
    ],
    ids=["text", "PUT", "long"],
)
def test_what_is_no_message_is_told_so(
    host: Any, server: str, words: tuple[str, ...], status: int
) -> None:
    told, body = curl(host, server, GET_DATA, *words)
    assert (told, json.loads(body)["error"]["code"]) == (status, -32600)


def test_garbage_halves_and_silence_cost_nobody_else(host: Any, server: str) -> None:
    garbage = "head -c 20000 /dev/urandom | timeout 20 nc -N %s %s > /dev/null; true"
    half = "printf 'POST / HTTP/1.1\\r\\nContent-Length: 90\\r\\n' | timeout 20 nc %s %s"
    silent = "sleep 15 | timeout 20 nc %s %s"
    at = (server, str(PORT))
    flood = f"for n in $(seq 20); do {{ {half} & {silent} & }} > /dev/null 2>&1; done; {garbage}"
    host.check_output(flood, *(at * 3))
    status, body = curl(host, server, GET_DATA)
    assert (status, json.loads(body)["result"]) == (200, ["hello", 5])


def test_the_automatic_client_is_answered(
    inventory: Inventory, request: pytest.FixtureRequest
) -> None:
    (name, *_) = inventory.groups["json_rpc_auto"]
    calling = testinfra.get_host(
        f"ansible://{name}", ansible_inventory=request.config.option.ansible_inventory
    )
    said = "journalctl --unit lab-json-rpc-auto --output cat --since -60s"
    events = [
        json.loads(line) for line in calling.check_output(said).splitlines() if line[:1] == "{"
    ]
    assert [event for event in events if event["event"] == "ok"]


def test_the_client_works(host: Any, server: str) -> None:
    client = f"{PYTHON} client http://{server}:{PORT}"
    assert host.check_output(f"{client} subtract minuend=42 subtrahend=23") == "19"
    assert host.run(f"{client} nothing").rc == 4
    assert host.run(f"{client} sum 1e308 1e308").rc == 5
    assert host.run(f"{client} sum 1 a=2").rc == 2
    assert host.run(f"{PYTHON} client http://{server}:9 get_data --timeout 1").rc == 3
    assert "OTHERWISE" not in host.check_output(f"{PYTHON} examples http://{server}:{PORT}")
    summed = host.check_output(f"{client} --count 20 --callers 2 --json --brief")
    assert json.loads(summed)["answered"] == 20


def test_the_controller_reaches_it(inventory: Inventory, server: str) -> None:
    connection = http.client.HTTPConnection(str(inventory.hosts[server].address), PORT, timeout=30)
    connection.request("POST", "/", GET_DATA, {"Content-Type": "application/json"})
    assert json.load(connection.getresponse())["result"] == ["hello", 5]
    connection.close()

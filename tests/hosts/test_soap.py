"""soap on the lab: zeep reads the WSDL, curl sends envelopes by hand, bad input hurts nobody."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import testinfra

from apps.soap.envelope import content_of, fault_of, parsed, plain, written
from lab.hosts.inventory import Inventory
from tests.zeep_judge import judge

testinfra_hosts = ["ansible://soap_client"]
PORT = 8000
UNIT = "lab-soap-server.service"
CLIENT = "/opt/distlab/bin/python -m apps.soap client"
ENTITY = "<!DOCTYPE x [<!ENTITY a 'aaaa'>]>"
ADD = written("add", {"first": 2, "second": 3}).decode()


@pytest.fixture
def server(inventory: Inventory) -> str:
    """The server's name, as its clients know it."""
    return inventory.groups["soap_server"][0]


@pytest.fixture
def server_host(server: str, request: pytest.FixtureRequest) -> Any:
    """The server's host, to testinfra."""
    inventory = request.config.option.ansible_inventory
    return testinfra.get_host(f"ansible://{server}", ansible_inventory=inventory)


def curl(host: Any, server: str, body: str, kind: str = "text/xml") -> tuple[int, bytes]:
    """Post with curl from a client host; give the status and the body."""
    post = "printf %%s %s | curl --silent --max-time 30 --data-binary @- -w '\\n%%{http_code}'"
    said: str = host.check_output(
        f"{post} -H %s %s", body, f"Content-Type: {kind}", f"http://{server}:{PORT}"
    )
    text, _, status = said.rpartition("\n")
    return int(status), text.encode()


def test_zeep_calls_every_operation_from_the_controller(inventory: Inventory, server: str) -> None:
    judge(f"http://{inventory.hosts[server].address}:{PORT}")


def test_an_envelope_by_hand(host: Any, server: str) -> None:
    status, answer = curl(host, server, ADD)
    assert status == 200
    assert plain(content_of(parsed(answer))[0]) == {"addResult": "5"}


def test_a_repeated_key_orders_once_over_a_kill(host: Any, server: str, server_host: Any) -> None:
    lines = {"OrderLine": {"article": "bolt", "quantity": 1}}
    order = written(
        "order", {"key": str(uuid.uuid4()), "customer": "curl", "lines": lines}
    ).decode()
    first = curl(host, server, order)
    assert first[0] == 200
    server_host.check_output("systemctl kill --signal=KILL %s", UNIT)
    # Restarting waits until the unit is ready, whether systemd was quicker or not.
    server_host.check_output("systemctl restart %s", UNIT)
    assert curl(host, server, order) == first


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (ADD, "text/plain", 415),
        (" " * 70_000, "text/xml", 413),
        (ADD.replace(">2<", ">x<"), "text/xml", 500),
        (ADD.replace("?>", f"?>{ENTITY}").replace(">2<", ">&a;<"), "text/xml", 500),
        ("<!DOCTYPE x [<!ENTITY f SYSTEM 'file:///etc/passwd'>]><x>&f;</x>", "text/xml", 500),
        ("garbage", "text/xml", 500),
    ],
    ids=["text", "long", "type", "entity", "file", "garbage"],
)
def test_bad_input_is_the_clients_fault(
    host: Any, server: str, body: str, kind: str, status: int
) -> None:
    told, answer = curl(host, server, body, kind)
    assert told == status
    fault = fault_of(content_of(parsed(answer))[0])
    assert fault
    assert fault.code.startswith("Client")
    assert b"root:" not in answer


def test_garbage_halves_and_silence_cost_nobody_else(host: Any, server: str) -> None:
    garbage = "head -c 20000 /dev/urandom | timeout 20 nc -N %s %s > /dev/null; true"
    half = "printf 'POST / HTTP/1.1\\r\\nContent-Length: 90\\r\\n' | timeout 20 nc %s %s"
    silent = "sleep 15 | timeout 20 nc %s %s"
    flood = f"for n in $(seq 20); do {{ {half} & {silent} & }} > /dev/null 2>&1; done; {garbage}"
    host.check_output(flood, *((server, str(PORT)) * 3))
    assert curl(host, server, ADD)[0] == 200


def test_the_client_works(host: Any, server: str) -> None:
    client = f"{CLIENT} http://{server}:{PORT}"
    assert host.check_output(f"{client} add 2 3") == "5"
    assert host.check_output(f"{client} quote bolt=3 nut=2") == "0.40"
    assert host.run(f"{client} order al unicorn=1").rc == 4
    assert host.run(f"{client} fly").rc == 2
    assert host.run(f"{CLIENT} http://{server}:9 add 2 3 --timeout 1").rc == 3
    summed = host.check_output(f"{client} --count 20 --callers 2 --json --brief")
    assert json.loads(summed)["answered"] == 20

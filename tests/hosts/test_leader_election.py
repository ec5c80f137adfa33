"""leader_election on the lab: nc meets the fence, ZooKeeper's own client sees the candidates."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import testinfra

from apps.zookeeper.server import CLASSPATH
from lab.hosts.inventory import Inventory
from tests.conftest import eventually

testinfra_hosts = ["ansible://leader_election_client"]
PYTHON = "timeout 60 /opt/distlab/bin/python -m apps.leader_election"
PATH = "/distlab/leader_election"


@pytest.fixture
def resource(inventory: Inventory) -> str:
    """The resource, by the name that every host knows."""
    return inventory.groups["leader_election_resource"][0]


@pytest.fixture
def servers(inventory: Inventory) -> str:
    """The ensemble, as clients take it."""
    return ",".join(inventory.groups["zookeeper_server"])


def said_by(host: Any, resource: str, line: str) -> Any:
    return json.loads(
        host.check_output(f"printf '%s\\n' '{line}' | timeout 10 nc -N {resource} 7100")
    )


def state(host: Any, resource: str) -> dict[str, Any]:
    found: dict[str, Any] = said_by(host, resource, '{"f": "state"}')["result"]
    return found


def test_the_leader_writes(host: Any, resource: str, inventory: Inventory) -> None:
    first = state(host, resource)
    eventually(lambda: state(host, resource)["number"] > first["number"], "the leader writes")
    assert state(host, resource)["holder"] in inventory.groups["leader_election_node"]


def test_an_old_token_is_refused(host: Any, resource: str) -> None:
    write = '{"f": "write", "token": 1, "holder": "test", "value": "x", "op": "test-1"}'
    assert "token 1 is stale" in said_by(host, resource, write)["error"]
    refused = host.run(f"{PYTHON} client {resource} write 1 x")
    assert (refused.rc, "token 1 is stale" in refused.stderr) == (4, True)


@pytest.mark.parametrize("line", ["garbage", "{}", '{"f": "write", "token": -1}'])
def test_bad_input_is_told_so(host: Any, resource: str, line: str) -> None:
    assert said_by(host, resource, line)["error"]


def test_every_node_stands_and_the_first_leads(
    host: Any, resource: str, servers: str, inventory: Inventory
) -> None:
    def stand() -> list[str]:
        told = host.check_output(f"{PYTHON} who {servers}").splitlines()
        return [line.split()[0] for line in told]

    nodes = sorted(inventory.groups["leader_election_node"])
    eventually(lambda: sorted(stand()) == nodes, "every node stands once")
    eventually(lambda: state(host, resource)["holder"] == stand()[0], "the first one leads")


def test_zookeepers_own_client_sees_the_candidates(
    servers: str, request: pytest.FixtureRequest, inventory: Inventory
) -> None:
    server = servers.partition(",")[0]
    near = testinfra.get_host(
        f"ansible://{server}", ansible_inventory=request.config.option.ansible_inventory
    )
    cli = f"java -Xmx64m -cp {CLASSPATH}:/usr/share/java/commons-cli.jar"
    cli += f" org.apache.zookeeper.ZooKeeperMain -server {server}:2181 ls {PATH} 2>&1"
    found = re.findall(r"([\w.-]+)-[0-9a-f]{12}-\d{10}", near.check_output(f"timeout 60 {cli}"))
    assert set(found) <= set(inventory.groups["leader_election_node"])
    assert found


def test_a_conversation_goes_on_after_a_mistake(host: Any, resource: str) -> None:
    told = host.check_output(f"printf 'paint\\nwrite 1 x\\nstate\\n' | {PYTHON} client {resource}")
    lines = told.splitlines()
    assert lines[0].startswith("say one of")
    assert lines[1].startswith("rejected: token 1 is stale")
    assert json.loads(lines[2])["token"] > 1


def test_one_looks_on(host: Any, resource: str) -> None:
    told = host.check_output(f"{PYTHON} watch {resource} --for 0.5")
    assert re.match(r"\S+ leads, under token \d+", told)
    assert host.run(f"{PYTHON} client 127.0.0.1:2 state --timeout 1").rc == 3

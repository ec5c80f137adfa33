"""udp_heartbeat on the lab: heartbeats by hand, garbage, kill -9, and the whole subnet told."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import testinfra

from lab.hosts.inventory import Inventory
from tests.conftest import eventually

testinfra_hosts = ["ansible://udp_heartbeat_monitor"]
PORT = 12346
OTHER_PORT = 22346
PYTHON = "/opt/distlab/bin/python -m apps.udp_heartbeat"
ALIVE = ("alive", "alive")


@pytest.fixture
def monitor(inventory: Inventory) -> str:
    """The monitor's name, as its clients know it."""
    return inventory.groups["udp_heartbeat_monitor"][0]


@pytest.fixture
def sender(inventory: Inventory, request: pytest.FixtureRequest) -> Any:
    """A host that sends, to testinfra; its name is its node's."""
    name = inventory.groups["udp_heartbeat_sender"][0]
    given = request.config.option.ansible_inventory
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=given)


def rows(host: Any, monitor: str, port: int = PORT) -> dict[str, dict[str, Any]]:
    """Ask the monitor for its table with nc: the protocol is a JSON object a line."""
    told = host.check_output('echo \'{"f": "status"}\' | nc -N -w 20 %s %s', monitor, str(port))
    return {row["node"]: row for row in json.loads(told)["result"]["senders"]}


def states(row: dict[str, Any]) -> tuple[str, str]:
    return row["fixed"]["state"], row["phi"]["state"]


def test_every_sender_is_alive(host: Any, monitor: str, inventory: Inventory) -> None:
    def all_alive() -> bool:
        table = rows(host, monitor)
        names = inventory.groups["udp_heartbeat_sender"]
        return all(name in table and states(table[name]) == ALIVE for name in names)

    eventually(all_alive, "all alive")


def test_a_heartbeat_by_hand_is_life_once(host: Any, monitor: str) -> None:
    """What nc sends is a heartbeat like any other; sent again, it is stale, and keeps nobody."""
    name = f"by-hand-{uuid.uuid4()}"
    beat = {"kind": "heartbeat", "node": name, "incarnation": 1, "seq": 5}
    datagram = json.dumps({"id": "by-hand", "m": beat})

    def sent() -> dict[str, Any]:
        host.check_output("printf %%s %s | nc -u -w 1 -q 0 %s %s", datagram, monitor, str(PORT))
        return rows(host, monitor).get(name, {})

    eventually(lambda: bool(sent()), "heard")
    eventually(lambda: states(sent())[0] in {"suspected", "dead"}, "suspected")
    row = sent()
    assert row["heard"] == 1
    assert row["stale"] >= 1


def test_garbage_is_ignored_and_said(host: Any, monitor: str) -> None:
    unit = "lab-udp-heartbeat-monitor"
    before = host.check_output("systemctl show -p MainPID %s", unit)

    def said() -> bool:
        for garbage in ("head -c 60000 /dev/urandom", 'echo \'{"id": "x", "m": {}}\''):
            host.check_output(f"{garbage} | nc -u -q 0 %s %s", monitor, str(PORT))
        journal = host.check_output("journalctl --sync; journalctl --since=-1min -u %s", unit)
        return '"event":"malformed"' in journal and '"event":"ignored"' in journal

    eventually(said, "said that something was ignored")
    assert host.check_output("systemctl show -p MainPID %s", unit) == before


def test_a_killed_sender_returns_as_a_new_incarnation(
    host: Any, monitor: str, sender: Any, inventory: Inventory
) -> None:
    name = inventory.groups["udp_heartbeat_sender"][0]
    before = rows(host, monitor)[name]["incarnation"]
    sender.check_output("systemctl kill --signal=KILL lab-udp-heartbeat-sender")

    def returned() -> bool:
        row = rows(host, monitor)[name]
        return bool(row["incarnation"] > before and states(row) == ALIVE)

    eventually(returned, "back as a new incarnation")


def test_the_clients_work(host: Any, monitor: str, inventory: Inventory) -> None:
    shown = host.check_output(f"{PYTHON} status %s", monitor).splitlines()
    names = {line.split()[0] for line in shown[1:]}
    assert set(inventory.groups["udp_heartbeat_sender"]) <= names
    told = host.check_output(f"{PYTHON} status %s --json", monitor).splitlines()
    assert json.loads(told[-1])["event"] == "ok"
    refused = host.run(f"{PYTHON} status %s:1 --timeout 1", monitor)
    assert refused.rc == 3
    wrong = host.check_output('echo \'{"f": "fly"}\' | nc -N %s %s', monitor, str(PORT))
    assert "not understood" in json.loads(wrong)["error"]


@pytest.fixture
def broadcast(host: Any, sender: Any, inventory: Inventory, monitor: str) -> Iterator[str]:
    """A monitor and a sender of their own that know nothing of each other but the subnet."""
    heard_at = inventory.hosts[monitor].address
    sent_from = inventory.hosts[inventory.groups["udp_heartbeat_sender"][0]].address
    to_all = inventory.subnet.broadcast_address
    name = f"test-{uuid.uuid4()}"
    run = f"systemd-run --quiet --collect --unit={name} -p Type=notify -p RuntimeDirectory={name}"
    run = f"{run} --setenv=STATE_DIRECTORY=/run/{name} {PYTHON}"
    host.check_output(f"{run} monitor --listen {heard_at} --port {OTHER_PORT} --broadcast {to_all}")
    sender.check_output(
        f"{run} sender --listen {sent_from} --broadcast {to_all}:{OTHER_PORT} --node {name}"
    )
    yield name
    for machine in (sender, host):
        machine.check_output("systemctl stop %s", name)


def test_a_broadcast_reaches_the_monitor(host: Any, monitor: str, broadcast: str) -> None:
    eventually(lambda: broadcast in rows(host, monitor, OTHER_PORT), "heard by broadcast")
    assert states(rows(host, monitor, OTHER_PORT)[broadcast]) == ALIVE

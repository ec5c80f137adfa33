"""Fabric's verbs on the lab, as a person and as a program use them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra

from lab.catalogue import ROOT, patterns
from lab.hosts.inventory import Inventory
from lab.status import placed
from tests.conftest import eventually

FAB = Path(sys.executable).with_name("fab")
UNIT = "lab-tcp-echo-server.service"


def fab(inventory: Inventory, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a verb on the lab under test."""
    command = [str(FAB), verb, "--inventory", str(inventory.path), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def server(request: pytest.FixtureRequest, inventory: Inventory) -> Any:
    """The host that runs the echo server, to testinfra."""
    name = inventory.groups["tcp_echo_server"][0]
    given = request.config.option.ansible_inventory
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=given)


@pytest.fixture
def broken_server(server: Any) -> Iterator[Any]:
    """The same, with an option in its file that keeps the unit from starting."""
    options = f"/etc/distlab/{UNIT.removesuffix('.service')}.env"
    server.check_output("cp -p %s %s.kept", options, options)
    server.check_output("sed -i 's/_PORT=.*/_PORT=nonsense/' %s", options)
    server.run("systemctl restart %s", UNIT)
    yield server
    server.check_output("mv %s.kept %s", options, options)
    server.check_output("systemctl restart %s", UNIT)


def test_status_tells_programs_all_units(inventory: Inventory) -> None:
    done = fab(inventory, "status", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"host", "unit", "pattern", "component", "state", "port"} <= set(told[0])
    assert {(unit["host"], unit["unit"]) for unit in told} == {
        (host, component.unit) for host, component in placed(inventory, patterns())
    }
    assert {unit["state"] for unit in told} == {"active"}


def test_status_and_logs_tell_of_a_unit_that_failed(
    inventory: Inventory, broken_server: Any
) -> None:
    assert broken_server.check_output("hostname")
    done = fab(inventory, "status", "--only", "tcp_echo", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)[0]["state"] != "active"
    logs = fab(inventory, "logs", "--only", "tcp_echo", "--since", "-1min")
    assert logs.returncode == 0, logs.stderr
    assert "nonsense" in logs.stdout


def test_logs_are_merged_by_time_and_filtered(inventory: Inventory) -> None:
    done = fab(inventory, "logs", "--only", "lamport_clock", "--since", "-1h", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["unit"] for line in lines} == {"lab-lamport-clock-node.service"}
    assert {line["host"] for line in lines} == set(inventory.groups["lamport_clock_node"])
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    one = inventory.groups["lamport_clock_node"][0]
    done = fab(inventory, "logs", "--host", one, "--since", "-1min", "--json")
    assert {json.loads(line)["host"] for line in done.stdout.splitlines()} == {one}


def test_logs_follow(inventory: Inventory, server: Any) -> None:
    command = [str(FAB), "logs", "--inventory", str(inventory.path), "--follow"]
    seen: list[str] = []
    with subprocess.Popen(
        [*command, "--only", "tcp_echo", "--since", "now"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        reader = threading.Thread(target=seen.extend, args=(follower.stdout,))
        reader.start()

        def asked_and_told() -> bool:
            server.check_output("printf 'hello\\n' | nc -N $(hostname) 8080")
            return any("recv" in line for line in seen)

        try:
            eventually(asked_and_told, "shown what the server received")
        finally:
            follower.send_signal(2)
        assert follower.wait(20) == 130
        reader.join()


def test_what_cannot_be_is_refused_in_two_lines(inventory: Inventory) -> None:
    for options in (["--only", "tcp_ecco"], ["--host", "n77"]):
        done = fab(inventory, "logs", *options)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert "\n  -> " in done.stderr
        assert "Traceback" not in done.stderr

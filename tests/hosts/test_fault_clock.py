"""One component's clock is wrong: its own only, truly, and until it is healed."""

from __future__ import annotations

import json
import time
import urllib.request
from datetime import datetime
from typing import Any

import pytest
import testinfra

from apps.kit.faults import Clock
from lab.errors import LabError
from lab.evidence.recording import Recording
from lab.faults.control import Faults
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from tests.conftest import eventually

GROUP = "rest_api_server"
UNIT = "lab-rest-api-server.service"
HOUR = 3600.0
NEAR = 300.0
"""Seconds: clocks that are as near as that are not an hour apart, however slow a machine is."""


@pytest.fixture
def name(inventory: Inventory) -> str:
    return inventory.groups[GROUP][0]


@pytest.fixture
def server(name: str, request: pytest.FixtureRequest) -> Any:
    """The component's host, to testinfra."""
    inventory = request.config.option.ansible_inventory
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory)


@pytest.fixture
def url(inventory: Inventory, name: str) -> str:
    return f"http://{inventory.hosts[name].address}:5151"


def ahead(url: str) -> float:
    """How far the server's clock is ahead of this machine's, by an item that it dates."""
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    data = json.dumps({"name": "dated"}).encode()
    request = urllib.request.Request(f"{url}/items", data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        item = json.load(answer)
    path = f"{url}/items/{item['id']}"
    gone = urllib.request.Request(path, headers=headers, method="DELETE")
    urllib.request.urlopen(gone, timeout=30).close()
    return datetime.fromisoformat(item["created"]).timestamp() - time.time()


def is_right(url: str) -> bool:
    try:
        return abs(ahead(url)) < NEAR
    except OSError:  # it restarts
        return False


def watchdog(server: Any) -> int:
    """When the unit last showed its watchdog that it lives, by the monotonic clock."""
    shown = server.check_output("systemctl show --property=WatchdogTimestampMonotonic %s", UNIT)
    return int(shown.partition("=")[2])


def test_only_this_component_s_clock_is_wrong(
    faults: Faults, name: str, url: str, server: Any
) -> None:
    with faults.inject(Clock(name, GROUP, offset=HOUR), 300) as fault:
        assert abs(fault.measured[name]["offset"] - HOUR) < 1
        assert abs(ahead(url) - HOUR) < NEAR
        assert abs(float(server.check_output("date +%s")) - time.time()) < NEAR
        # Processes come and go meanwhile: grep's status is of no use.
        loaded = server.run("grep -ls libfaketime /proc/[0-9]*/maps").stdout.split()
        inside = server.check_output("systemctl show --property=ControlGroup --value %s", UNIT)
        own = server.check_output("cat /sys/fs/cgroup%s/cgroup.procs", inside).split()
        assert {path.split("/")[2] for path in loaded} == set(own)
    assert abs(ahead(url)) < NEAR


def test_clock_that_drifts_is_measured(faults: Faults, name: str) -> None:
    with faults.inject(Clock(name, GROUP, offset=-5.0, drift=0.1), 300) as fault:
        assert abs(fault.measured[name]["drift"] - 0.1) < 0.05


def test_watchdog_is_fed_by_a_true_clock(faults: Faults, name: str, server: Any) -> None:
    with faults.inject(Clock(name, GROUP, offset=-HOUR), 300):
        begun = watchdog(server)
        eventually(lambda: watchdog(server) > begun, "the watchdog fed")
        restarts = server.check_output("systemctl show --property=NRestarts --value %s", UNIT)
        assert restarts == "0"


def test_events_have_the_host_s_time_and_keep_what_was_said(
    faults: Faults, inventory: Inventory, name: str
) -> None:
    with Remote(inventory) as remote:
        recording = Recording(remote, {name: [UNIT]})
        with faults.inject(Clock(name, GROUP, offset=HOUR), 300):
            pass
        recording.read()
    wrong, right = [e for e in recording.events if e["event"] == "ready"]
    assert abs(wrong["t"] - time.time()) < NEAR
    assert abs(wrong["t_said"] - wrong["t"] - HOUR) < NEAR
    assert "t_said" not in right
    times = [event["t"] for event in recording.events]
    assert times == sorted(times)


def test_last_of_two_wrong_clocks_counts(faults: Faults, name: str, url: str) -> None:
    with faults.inject(Clock(name, GROUP, offset=HOUR), 300):
        with faults.inject(Clock(name, GROUP, offset=-HOUR), 300):
            assert abs(ahead(url) + HOUR) < NEAR
        assert abs(ahead(url) - HOUR) < NEAR


def test_heal_leaves_nothing_and_can_be_repeated(
    faults: Faults, name: str, server: Any, url: str
) -> None:
    fault = faults.inject(Clock(name, GROUP, offset=HOUR), 300)
    fault.heal()
    fault.heal()
    assert abs(ahead(url)) < NEAR
    assert not server.file(f"/run/systemd/system/{UNIT}.d").exists
    shown = server.check_output("systemctl show --property=NeedDaemonReload,Environment %s", UNIT)
    assert shown.split() == ["Environment=", "NeedDaemonReload=no"]


def test_it_heals_by_itself(faults: Faults, name: str, url: str) -> None:
    faults.inject(Clock(name, GROUP, offset=HOUR), 1)
    eventually(lambda: is_right(url), "healed by its timer")
    assert not faults.active()


def test_stopped_component_s_clock_is_refused(faults: Faults, name: str, server: Any) -> None:
    server.check_output("systemctl stop %s", UNIT)
    try:
        with pytest.raises(LabError, match="inactive"):
            faults.inject(Clock(name, GROUP, offset=HOUR), 300)
        assert not server.service(UNIT).is_running
    finally:
        server.check_output("systemctl start %s", UNIT)

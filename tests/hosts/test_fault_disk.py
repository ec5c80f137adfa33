"""One component on a bad disk: full, slow, forgetful; its data stay, and heal always works."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import testinfra

from apps.kit.faults import Disk, Kill, PowerOff
from lab.errors import LabError
from lab.faults.control import Faults
from lab.hosts.inventory import Inventory
from tests.conftest import eventually

GROUP = "rest_api_server"
UNIT = "lab-rest-api-server.service"
DIRECTORY = "/var/lib/private/lab-rest-api-server"
DISK = "distlab-disk-lab-rest-api-server.service"
ROOM = 64 * 2**10
ENOUGH = 1000
"""Items that fill a disk with that much room, and more than a log of SQLite's takes."""
FULL, SLOW, FORGETFUL = {"full": True, "free": ROOM}, {"delay": 0.002}, {"forgets": True}


@pytest.fixture
def name(inventory: Inventory) -> str:
    return inventory.groups[GROUP][0]


@pytest.fixture
def server(name: str, request: pytest.FixtureRequest) -> Any:
    """The component's host, to testinfra."""
    inventory = request.config.option.ansible_inventory
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory)


class Items:
    """The items of the server, as a client on this machine sees them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.acknowledged: list[int] = []

    def ask(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", "If-Match": "*"}
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def create(self) -> tuple[int, Any]:
        status, item = self.ask("POST", "/items", {"name": "nut"})
        if status == 201:
            self.acknowledged.append(item["id"])
        return status, item

    def lost(self) -> list[int]:
        """Those that were acknowledged and are not there."""
        return [i for i in self.acknowledged if self.ask("GET", f"/items/{i}")[0] != 200]

    def serves(self) -> bool:
        try:
            return self.ask("GET", "/health")[0] == 200
        except OSError:
            return False


@pytest.fixture
def items(inventory: Inventory, name: str, faults: Faults) -> Any:
    """The items; what a test creates goes again, when its faults are healed."""
    items = Items(f"http://{inventory.hosts[name].address}:5151")
    yield items
    faults.heal()
    eventually(items.serves, "served again")
    for item in items.acknowledged:
        items.ask("DELETE", f"/items/{item}")


def bad(name: str, **what: Any) -> Disk:
    return Disk(name, GROUP, **what)


def mounted(server: Any) -> bool:
    return "distlab-disk" in server.file("/proc/mounts").content_string


@pytest.mark.parametrize("what", [{"full": True, "free": 2**30}, SLOW, FORGETFUL], ids=str)
def test_it_is_a_file_system(faults: Faults, name: str, server: Any, what: dict[str, Any]) -> None:
    script = Path(__file__).with_name("on_a_disk.py").read_text()
    with faults.inject(bad(name, **what), 300):
        assert mounted(server)
        assert server.check_output("python3 -c %s %s", script, DIRECTORY) == "as expected"
    assert not mounted(server)


def test_full_disk_is_said_and_loses_nothing_acknowledged(
    faults: Faults, name: str, items: Items
) -> None:
    with faults.inject(bad(name, **FULL), 300) as fault:
        assert fault.measured[name]["ready"]
        # What the server removes when it starts gives room, too: how much it takes is its affair.
        answers = (items.create() for _ in range(ENOUGH))
        status, problem = next(answer for answer in answers if answer[0] != 201)
        assert (status, problem["detail"]) == (507, "the disk is full; nothing was changed")
        assert items.serves()
        assert not items.lost()
    assert not items.lost()
    assert items.create()[0] == 201


def test_component_that_cannot_start_on_a_full_disk_starts_when_it_is_healed(
    faults: Faults, inventory: Inventory, request: pytest.FixtureRequest
) -> None:
    """A node of Lamport's clock makes its incarnation durable before it is ready."""
    group, unit = "lamport_clock_node", "lab-lamport-clock-node.service"
    name = inventory.groups[group][0]
    lab = request.config.option.ansible_inventory
    host = testinfra.get_host(f"ansible://{name}", ansible_inventory=lab)
    with faults.inject(Disk(name, group, full=True, free=0), 300) as fault:
        assert not fault.measured[name]["ready"]
        assert not host.service(unit).is_running
    assert host.service(unit).is_running


def test_kill_loses_what_was_not_synced_and_nothing_acknowledged(
    faults: Faults, name: str, items: Items, server: Any
) -> None:
    with faults.inject(bad(name, **FORGETFUL), 300):
        assert [items.create()[0] for _ in range(20)] == [201] * 20
        server.check_output("echo synced > %s/a && sync %s/a", DIRECTORY, DIRECTORY)
        server.check_output("echo unsynced > %s/b", DIRECTORY)
        assert server.file(f"{DIRECTORY}/b").content_string == "unsynced\n"
        killed = faults.inject(Kill(name, GROUP), 60)
        assert killed.measured[name]["bytes_lost"] >= len("unsynced\n")
        assert server.file(f"{DIRECTORY}/b").size == 0
        assert server.file(f"{DIRECTORY}/a").content_string == "synced\n"
        server.check_output("rm %s/a %s/b", DIRECTORY, DIRECTORY)
        eventually(items.serves, "served again after the kill")
        assert not items.lost()


def test_what_was_not_synced_is_kept_when_it_is_healed(
    faults: Faults, name: str, server: Any
) -> None:
    with faults.inject(bad(name, **FORGETFUL), 300):
        server.check_output("echo unsynced > %s/b", DIRECTORY)
    assert server.file(f"{DIRECTORY}/b").content_string == "unsynced\n"
    server.check_output("rm %s/b", DIRECTORY)


def test_slow_disk_serves(faults: Faults, name: str, items: Items) -> None:
    with faults.inject(bad(name, delay=0.02), 300) as fault:
        assert fault.measured[name]["delay"] >= 0.02
        assert items.create()[0] == 201
    assert not items.lost()


def test_it_heals_by_itself(faults: Faults, name: str, items: Items, server: Any) -> None:
    faults.inject(bad(name, **FORGETFUL), 1)
    eventually(lambda: not mounted(server) and not faults.active(), "healed by its timer")
    eventually(items.serves, "served again")


def test_it_heals_when_its_process_died(
    faults: Faults, name: str, items: Items, server: Any
) -> None:
    items.create()
    fault = faults.inject(bad(name, **FORGETFUL), 300)
    server.check_output("systemctl kill --signal=KILL %s", DISK)
    fault.heal()
    fault.heal()
    assert not mounted(server)
    assert items.serves()
    assert not items.lost()


def test_stopped_component_stays_stopped(faults: Faults, name: str, server: Any) -> None:
    fault = faults.inject(bad(name, **SLOW), 300)
    server.check_output("systemctl stop %s", UNIT)
    try:
        fault.heal()
        assert not mounted(server)
        assert not server.service(UNIT).is_running
    finally:
        server.check_output("systemctl start %s", UNIT)


def test_second_bad_disk_is_refused(faults: Faults, name: str, server: Any) -> None:
    with faults.inject(bad(name, **SLOW), 300):
        with pytest.raises(LabError, match="already"):
            faults.inject(bad(name, **FULL), 300)
        assert mounted(server)


def test_cut_of_power_ends_the_fault_and_loses_nothing_acknowledged(
    faults: Faults, inventory: Inventory, name: str, items: Items, server: Any
) -> None:
    if inventory.machines != "nspawn":
        pytest.skip("power can be cut where `fab up` boots the hosts")
    faults.inject(bad(name, **FORGETFUL), 300)
    assert [items.create()[0] for _ in range(5)] == [201] * 5
    faults.inject(PowerOff(name), 300).heal()
    eventually(items.serves, "served again after the power came back")
    assert not items.lost()
    assert not faults.active()
    assert not mounted(server)

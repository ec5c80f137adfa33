"""Every unit of ours, on every host where the placement wants it: sandboxed, bounded, alive.

A host is asked once for all its units: a login for each of a hundred units took longer than what
they were asked for.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from functools import partial

from lab.catalogue import Pattern
from lab.hosts.inventory import Inventory
from lab.status import option
from tests.conftest import Placed, eventually

MULTICAST = {"zmq_multicast"}
"""Who receives a group's datagrams binds its port on every address: so does OpenPGM."""
TIGHT = 2.0
"""The exposure of a unit at most, of 10."""


def shown(placed: Placed, *names: str) -> dict[str, tuple[str, ...]]:
    """Give properties of each unit, in the order of their names."""
    asked = ("systemctl show --property=%s " + " ".join(placed.units), ",".join(["Id", *names]))
    told = placed.host.check_output(*asked).split("\n\n")
    units = [dict(line.split("=", 1) for line in unit.splitlines()) for unit in told]
    assert [unit["Id"] for unit in units] == placed.units
    return {unit["Id"]: tuple(unit[name] for name in names) for unit in units}


def families(placed: Placed) -> dict[str, set[str]]:
    """Give the processes of each unit: its main one, and the children of that."""
    children = defaultdict(set)
    for line in placed.host.check_output("ps -e -o pid=,ppid=").splitlines():
        pid, parent = line.split()
        children[parent].add(pid)
    return {unit: {pid, *children[pid]} for unit, (pid,) in shown(placed, "MainPID").items()}


def test_are_active_and_enabled(placed: Placed) -> None:
    found = shown(placed, "ActiveState", "UnitFileState")
    assert found == dict.fromkeys(placed.units, ("active", "enabled"))


def test_sandboxes_are_tight(placed: Placed) -> None:
    told = placed.host.check_output("systemd-analyze security --no-pager --json=short")
    exposures = {unit["unit"]: float(unit["exposure"]) for unit in json.loads(told)}
    wide = {unit: exposures[unit] for unit in placed.units if exposures[unit] > TIGHT}
    assert not wide


def test_listen_on_the_lab_address_alone(placed: Placed, inventory: Inventory) -> None:
    sockets = placed.host.check_output("ss -Hltunp").splitlines()
    of = families(placed)
    for component in placed.components:
        pattern = Pattern(component.pattern)
        port = option(inventory, placed.name, pattern, f"{component.group}_port")
        family = of[component.unit]
        ours = [line for line in sockets if family & set(re.findall(r"pid=(\d+)", line))]
        bound = {tuple(line.split()[4].rsplit(":", 1)) for line in ours}
        # What listens on loopback is reached by its own host alone: influxd's port for backups.
        bound = {(address, at) for address, at in bound if address != "127.0.0.1"}
        if component.pattern in MULTICAST:
            assert ("0.0.0.0", str(port)) in bound, (component.unit, ours)
            bound = bound - {("0.0.0.0", str(port))} | {(placed.address, str(port))}
        if port is not None:
            assert (placed.address, str(port)) in bound, (component.unit, port, ours)
        assert {address for address, _ in bound} <= {placed.address}, (component.unit, ours)


def test_run_as_users_of_their_own(placed: Placed) -> None:
    pids = {unit: pid for unit, (pid,) in shown(placed, "MainPID").items()}
    told = placed.host.check_output("ps -o user:64= " + " ".join(pids.values())).splitlines()
    assert len(told) == len(set(told)) == len(pids)
    assert not {"root", "lab", "nobody"}.intersection(told)


def test_options_are_roots_alone(placed: Placed) -> None:
    files = [f"/etc/distlab/{unit.removesuffix('.service')}.env" for unit in placed.units]
    told = placed.host.check_output("stat -c '%U %G %a' " + " ".join(files)).splitlines()
    assert told == ["root root 600"] * len(files)


def test_are_restarted_after_a_kill(placed: Placed) -> None:
    """All at once, as it is when a host runs out of memory."""
    before = shown(placed, "MainPID")
    placed.host.check_output("systemctl kill --signal=KILL " + " ".join(placed.units))

    def returned(unit: str) -> bool:
        pid, state = shown(placed, "MainPID", "ActiveState")[unit]
        return state == "active" and pid not in {*before[unit], "0"}

    for unit in placed.units:
        eventually(partial(returned, unit), f"{unit} restarted and ready")


def test_stop_cleanly(placed: Placed) -> None:
    """SIGTERM ends each well: systemd would say `timeout` after TimeoutStopSec, which is 5 s."""
    assert shown(placed, "TimeoutStopUSec") == dict.fromkeys(placed.units, ("5s",))
    units = " ".join(placed.units)
    placed.host.check_output(f"for unit in {units}; do systemctl stop $unit || exit; done")
    try:
        found = shown(placed, "ActiveState", "Result")
        assert found == dict.fromkeys(placed.units, ("inactive", "success"))
    finally:
        placed.host.check_output(f"systemctl start {units}")
    assert shown(placed, "ActiveState") == dict.fromkeys(placed.units, ("active",))

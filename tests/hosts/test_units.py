"""Every unit of ours, on every host where the placement wants it: sandboxed, bounded, alive."""

from __future__ import annotations

import re

from lab.catalogue import Pattern
from lab.hosts.inventory import Inventory
from lab.status import option
from tests.conftest import Placed, eventually

MULTICAST = {"zmq_multicast"}
"""Who receives a group's datagrams binds its port on every address: so does OpenPGM."""


def shown(placed: Placed, *names: str) -> list[str]:
    """Give properties of the unit, in the order of their names."""
    told = placed.host.check_output("systemctl show %s -p %s", placed.unit, ",".join(names))
    values = dict(line.split("=", 1) for line in told.splitlines())
    return [values[name] for name in names]


def test_is_active_and_enabled(placed: Placed) -> None:
    service = placed.host.service(placed.unit)
    assert service.is_running
    assert service.is_enabled


def test_sandbox_is_tight(placed: Placed) -> None:
    told = placed.host.check_output("systemd-analyze security --no-pager %s", placed.unit)
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert score, told
    assert float(score[1]) <= 2.0


def test_listens_on_the_lab_address_alone(placed: Placed, inventory: Inventory) -> None:
    port = option(
        inventory, placed.name, Pattern(placed.component.pattern), f"{placed.component.group}_port"
    )
    (pid,) = shown(placed, "MainPID")
    sockets = placed.host.check_output("ss -Hltunp").splitlines()
    children = placed.host.run("pgrep --parent %s", pid).stdout.split()
    family = {pid, *children}
    ours = [line for line in sockets if family & set(re.findall(r"pid=(\d+)", line))]
    bound = {tuple(line.split()[4].rsplit(":", 1)) for line in ours}
    # What listens on loopback is reached by its own host alone: influxd's port for backups.
    bound = {(address, at) for address, at in bound if address != "127.0.0.1"}
    if placed.component.pattern in MULTICAST:
        assert ("0.0.0.0", str(port)) in bound, ours
        bound = bound - {("0.0.0.0", str(port))} | {(placed.address, str(port))}
    if port is not None:
        assert (placed.address, str(port)) in bound, f"nothing of it listens on {port}: {ours}"
    assert {address for address, _ in bound} <= {placed.address}, ours


def test_runs_as_a_user_of_its_own(placed: Placed) -> None:
    (pid,) = shown(placed, "MainPID")
    owner = placed.host.check_output("stat -c %%U /proc/%s", pid)
    assert owner not in {"root", "lab", "nobody"}


def test_options_are_roots_alone(placed: Placed) -> None:
    file = placed.host.file(f"/etc/distlab/{placed.unit.removesuffix('.service')}.env")
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)


def test_is_restarted_after_a_kill(placed: Placed) -> None:
    before, *_ = shown(placed, "MainPID")
    placed.host.check_output("systemctl kill --signal=KILL %s", placed.unit)

    def returned() -> bool:
        pid, state = shown(placed, "MainPID", "ActiveState")
        return state == "active" and pid not in {before, "0"}

    eventually(returned, "restarted and ready")


def test_stops_cleanly(placed: Placed) -> None:
    """SIGTERM ends it well: systemd would say `timeout` after TimeoutStopSec, which is 5 s."""
    (allowed,) = shown(placed, "TimeoutStopUSec")
    assert allowed == "5s"
    placed.host.check_output("systemctl stop %s", placed.unit)
    try:
        assert shown(placed, "ActiveState", "Result") == ["inactive", "success"]
    finally:
        placed.host.check_output("systemctl start %s", placed.unit)
    assert shown(placed, "ActiveState") == ["active"]

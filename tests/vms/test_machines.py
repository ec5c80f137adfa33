"""The machines that Vagrant made of our box: each has a kernel of its own, and no way out."""

from __future__ import annotations

import json
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from lab.catalogue import patterns
from lab.hosts.inventory import EMBEDDED_RANGE, Inventory
from lab.status import placed

testinfra_hosts = ["ansible://lab"]
BOOT = "/proc/sys/kernel/random/boot_id"


def test_it_runs_a_kernel_of_its_own(host: Any) -> None:
    assert host.check_output("systemd-detect-virt --vm") in {"kvm", "qemu"}
    assert host.check_output(f"cat {BOOT}") != Path(BOOT).read_text().strip()


def test_nothing_leads_out(host: Any) -> None:
    routes = [route["dst"] for route in json.loads(host.check_output("ip -json route"))]
    assert [dst for dst in routes if dst == "default"] == []
    assert [dst for dst in routes if not IPv4Network(dst).subnet_of(EMBEDDED_RANGE)] == []


def test_its_clock_is_this_machines(host: Any) -> None:
    """Histories are put together by the hosts' clocks."""
    before = time.time()
    told = float(host.check_output("date +%s.%N"))
    assert before - 0.25 < told < time.time() + 0.25


def test_what_is_placed_there_serves_and_nothing_has_failed(
    host: Any, inventory: Inventory
) -> None:
    here = host.check_output("hostname")
    wanted = {component.unit for name, component in placed(inventory, patterns()) if name == here}
    told = host.check_output("systemctl list-units --plain --no-legend --all --type=service")
    units = {line.split()[0]: " ".join(line.split()[2:4]) for line in told.splitlines()}
    assert {unit for unit in units if unit.startswith("lab-")} == wanted
    assert {unit: units[unit] for unit in wanted} == dict.fromkeys(wanted, "active running")
    assert [unit for unit, state in units.items() if "failed" in state] == []

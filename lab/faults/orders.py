"""What a fault means for each host that it acts on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.kit.faults import Fault, Kill, Partition, Pause
from lab.catalogue import Component, components, patterns
from lab.errors import LabError
from lab.hosts.inventory import Host, Inventory

Order = Mapping[str, Any]
"""`kind` and `parameters` of a record on the host (`lab.faults.onhost.records`)."""


def orders(fault: Fault, inventory: Inventory) -> dict[str, Order]:
    """Give each host's order; LabError if the inventory has no such host or component."""
    match fault:
        case Kill(host, component):
            return {host: _order("kill", unit=_unit(inventory, host, component))}
        case Pause(host, component):
            return {host: _order("pause", unit=_unit(inventory, host, component))}
        case Partition():
            return {
                host: _order(
                    "block",
                    peers=[_address(inventory, a) for a, b in sorted(fault.cut()) if b == host],
                    ssh_port=_host(inventory, host).port,
                )
                for host in fault.where()
            }
    raise LabError(f"{fault.word} is nothing that a host can be ordered to do")


def component_of(group: str) -> Component:
    """Give the component of a group's name; LabError if there is none."""
    known = {component.group: component for component in components(patterns())}
    if group not in known:
        raise LabError(
            f"there is no component {group!r}", f"choose from: {', '.join(sorted(known))}"
        )
    return known[group]


def _unit(inventory: Inventory, host: str, group: str) -> str:
    component = component_of(group)
    _host(inventory, host)
    if host not in inventory.groups.get(group, ()):
        where = ", ".join(inventory.groups.get(group, ())) or "no host"
        raise LabError(f"{group} is not placed on {host}", f"it is on: {where}")
    return component.unit


def _host(inventory: Inventory, name: str) -> Host:
    if name not in inventory.hosts:
        raise LabError(
            f"there is no host {name!r} in {inventory.path}",
            f"choose from: {', '.join(inventory.hosts)}",
        )
    return inventory.hosts[name]


def _address(inventory: Inventory, name: str) -> str:
    return str(_host(inventory, name).address)


def _order(kind: str, **parameters: Any) -> Order:
    return {"kind": kind, "parameters": parameters}

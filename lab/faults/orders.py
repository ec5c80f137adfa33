"""What a fault means for each host that it acts on."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.kit.faults import EFFECTS, Clock, Disk, Fault, Kill, Link, Partition, Pause, Reset
from lab.catalogue import Component, Pattern, components, pattern_of, patterns
from lab.errors import LabError
from lab.faults.sent import Sent, clock_library, file_system_binding
from lab.hosts.inventory import Host, Inventory


@dataclass(frozen=True)
class Order:
    """What one host is to do."""

    kind: str
    """As in a record on the host (`lab.faults.onhost.records`), and so are the parameters."""
    parameters: Mapping[str, Any]
    files: Sequence[Sent] = ()
    """What the host needs for it."""


def orders(fault: Fault, inventory: Inventory) -> dict[str, Order]:
    """Give each host's order; LabError if the inventory has no such host or component."""
    match fault:
        case Kill(host, component):
            return {host: _order("kill", unit=_unit(inventory, host, component))}
        case Pause(host, component):
            return {host: _order("pause", unit=_unit(inventory, host, component))}
        case Partition(shape, hosts):
            if not fault.cut():
                raise LabError(
                    f"of {len(hosts)} hosts no {shape} can be made: it would cut nothing",
                    "name three or more",
                )
            return {
                host: _order(
                    "block",
                    peers=[_address(inventory, a) for a, b in sorted(fault.cut()) if b == host],
                    ssh_port=_host(inventory, host).port,
                )
                for host in fault.where()
            }
        case Link():
            return {
                host: _order(
                    "link",
                    to=_others(inventory, host, fault.to),
                    broadcast=not fault.to,
                    effects={name: getattr(fault, name) for name in EFFECTS},
                    ssh_port=_host(inventory, host).port,
                )
                for host in dict.fromkeys(fault.on)
            }
        case Reset(host, peers):
            return {
                host: _order(
                    "reset",
                    peers=_others(inventory, host, peers),
                    ssh_port=_host(inventory, host).port,
                )
            }
        case Clock(host, component, offset, drift):
            library = clock_library()
            return {
                host: _order(
                    "clock",
                    library,
                    unit=_unit(inventory, host, component),
                    offset=offset,
                    drift=drift,
                    library=library.path,
                    machine=platform.machine(),
                )
            }
        case Disk(host, component, full, free, delay, forgets):
            binding = file_system_binding()
            return {
                host: _order(
                    "disk",
                    binding,
                    unit=_unit(inventory, host, component),
                    full=full,
                    free=free,
                    delay=delay,
                    forgets=forgets,
                    binding=binding.path,
                )
            }
    raise LabError(f"{fault.word} is nothing that a host can be ordered to do")


def component_of(group: str) -> Component:
    """Give the component of a group's name; LabError if there is none."""
    # Only its own pattern is looked at: to import all takes a second, and faults have their times.
    name = pattern_of(group)
    for component in components([Pattern(name)] if name else []):
        if component.group == group:
            return component
    known = sorted(component.group for component in components(patterns()))
    raise LabError(f"there is no component {group!r}", f"choose from: {', '.join(known)}")


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


def _others(inventory: Inventory, host: str, named: Sequence[str]) -> list[str]:
    """Give the addresses of the named hosts but this one; of all if none is named."""
    _host(inventory, host)
    found = [_address(inventory, name) for name in named or inventory.hosts if name != host]
    if not found:
        raise LabError(f"{host} has no peer here but itself", "name others, or more of them")
    return list(dict.fromkeys(found))


def _address(inventory: Inventory, name: str) -> str:
    return str(_host(inventory, name).address)


def _order(kind: str, *files: Sent, **parameters: Any) -> Order:
    return Order(kind, parameters, files)

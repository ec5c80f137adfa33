"""What runs where: every unit that the placement wants, and what has become of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.catalogue import Component, Pattern, components
from lab.errors import LabError
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote

_PROPERTIES = "Id,LoadState,ActiveState,SubState,NRestarts,ActiveEnterTimestamp"


@dataclass(frozen=True)
class UnitState:
    """One unit on one host. `state` is systemd's, or `missing` or `unreachable`."""

    host: str
    unit: str
    pattern: str
    component: str
    state: str
    port: int | None
    since: str
    restarts: int
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return asdict(self)


def placed(inventory: Inventory, chosen: Sequence[Pattern]) -> list[tuple[str, Component]]:
    """Give what the placement wants: host and component, in the order of the hosts."""
    wanted = components(chosen)
    return [
        (host, component)
        for host in inventory.hosts
        for component in wanted
        if host in inventory.groups.get(component.group, ())
    ]


def option(inventory: Inventory, host: str, pattern: Pattern, name: str) -> Any:
    """Give a role's variable as it holds on a host: the inventory's, or the role's default."""
    variables = inventory.hosts[host].vars
    return variables[name] if name in variables else pattern.defaults.get(name)


def status(remote: Remote, chosen: Sequence[Pattern]) -> list[UnitState]:
    """Ask every host that the placement names for its units."""
    wanted = placed(remote.inventory, chosen)
    hosts = list(dict.fromkeys(host for host, _ in wanted))
    command = f"sudo -n systemctl show 'lab-*.service' --all --property={_PROPERTIES}"
    answers = remote.each(hosts, lambda host: _units(remote.must(host, command)))
    return [_state(remote.inventory, host, component, answers) for host, component in wanted]


def _units(shown: str) -> dict[str, dict[str, str]]:
    blocks = (
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in shown.split("\n\n")
    )
    return {block["Id"]: block for block in blocks if "Id" in block}


def _state(
    inventory: Inventory,
    host: str,
    component: Component,
    answers: Mapping[str, dict[str, dict[str, str]] | LabError],
) -> UnitState:
    answer = answers[host]
    shown = {} if isinstance(answer, LabError) else answer.get(component.unit, {})
    state = (
        "unreachable"
        if isinstance(answer, LabError)
        else shown["ActiveState"]
        if shown.get("LoadState") == "loaded"
        else "missing"
    )
    port = option(inventory, host, Pattern(component.pattern), f"{component.group}_port")
    return UnitState(
        host=host,
        unit=component.unit,
        pattern=component.pattern,
        component=component.name,
        state=state,
        port=None if port is None else int(port),
        since=shown.get("ActiveEnterTimestamp", ""),
        restarts=int(shown.get("NRestarts") or 0),
        detail=answer.what if isinstance(answer, LabError) else shown.get("SubState", ""),
    )

"""What the faults of a workload can aim at, by name, and why some make no sense for it.

`--faults`, schedules' `among`, and the matrix choose by these names. Some are one kind of
`apps.kit.faults` with one effect: `loss` is a `link`, `disk_full` a `disk`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from apps.kit.demo import Workload
from lab.catalogue import Pattern
from lab.errors import LabError
from lab.hosts.inventory import Inventory

NAMES: Mapping[str, str] = {
    "kill": "kill",
    "pause": "pause",
    "power_off": "power_off",
    "partition": "partition",
    "mute": "partition",
    "loss": "link",
    "delay": "link",
    "duplicate": "link",
    "reorder": "link",
    "corrupt": "link",
    "rate": "link",
    "clock": "clock",
    "disk_full": "disk",
    "disk_slow": "disk",
    "reset": "reset",
}
"""From what is asked for to the fault's word."""


@dataclass(frozen=True, slots=True)
class Aims:
    """What can be hit while a workload goes on."""

    components: Sequence[tuple[str, str]]
    """Hosts, and the components on them that faults aim at; the first matter most."""
    hosts: tuple[str, ...]
    """All hosts that take part: between them packets go."""
    clients: frozenset[str] = frozenset()
    """Hosts that clients run on: these keep their power."""
    immune: Mapping[str, str] = field(default_factory=dict)
    """Names or words of faults that cannot concern it, and why."""

    def powered(self) -> list[str]:
        """Give the hosts that may lose their power."""
        hosts = dict.fromkeys(host for host, _ in self.components)
        return [host for host in hosts if host not in self.clients]

    def why_not(self, name: str) -> str:
        """Tell why a fault of this name makes no sense here; nothing if it does."""
        word = NAMES[name]
        for known in (name, word):
            if known in self.immune:
                return self.immune[known]
        if word == "power_off" and not self.powered():
            return "clients run on every host that it aims at"
        if word == "partition" and len(self.hosts) < 2:
            return "it is on one host"
        return ""

    def sensible(self, names: Sequence[str]) -> list[str]:
        """Give those of the names that make sense here."""
        return [name for name in names if not self.why_not(name)]


def aims_of(pattern: Pattern, workload: Workload, inventory: Inventory) -> Aims:
    """Give what faults of a pattern's workload can aim at; LabError if it aims at nothing."""
    components = [
        (host, group) for group in workload.aims for host in inventory.groups.get(group, ())
    ]
    if not components:
        raise LabError(
            f"{pattern.name}: no host is in the groups that faults aim at: "
            f"{', '.join(workload.aims) or 'it names none'}",
            "place them in placement.yml, or name others in the WORKLOAD of its demo.py",
        )
    members = set(inventory.groups.get(pattern.name, ()))
    hosts = tuple(host for host in inventory.hosts if host in members)
    immune = dict(workload.immune)
    if inventory.machines != "nspawn":
        immune.setdefault("power_off", f"nobody here can switch off {inventory.machines} hosts")
    return Aims(components, hosts, _clients(pattern, workload, inventory), immune)


def chosen(text: str) -> tuple[str, ...]:
    """Give the names in a comma-separated list; a fault's word stands for all of its names.

    All if the text is empty. LabError if one is unknown.
    """
    names = [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]
    found: dict[str, None] = {}
    for name in names or NAMES:
        of_word = [known for known, word in NAMES.items() if word == name]
        if name not in NAMES and not of_word:
            near = difflib.get_close_matches(name, [*NAMES, *NAMES.values()], n=1)
            raise LabError(
                f"there is no fault {name!r}",
                f"did you mean {near[0]!r}?" if near else f"choose from: {', '.join(NAMES)}",
            )
        found |= dict.fromkeys([name] if name in NAMES else of_word)
    return tuple(found)


def _clients(pattern: Pattern, workload: Workload, inventory: Inventory) -> frozenset[str]:
    """Give the hosts of the groups that clients run in.

    If the workload does not name them: the pattern's groups that are no units; and if there is
    none, clients may run anywhere.
    """
    units = {component.group for component in pattern.components}
    placed = [group for group in inventory.groups if group.startswith(f"{pattern.name}_")]
    groups = workload.clients or [g for g in placed if g not in units] or [pattern.name]
    return frozenset(host for group in groups for host in inventory.groups.get(group, ()))

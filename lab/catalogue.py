"""The patterns: found by walking the tree, so that none can be forgotten."""

from __future__ import annotations

import ast
import difflib
import importlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab.errors import LabError

if TYPE_CHECKING:
    from apps.kit.cli import Pattern as Commands

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Component:
    """One process of a pattern, and the names that follow from it."""

    pattern: str
    name: str

    @property
    def group(self) -> str:
        """Its group in the inventory, and the prefix of its options: `tcp_echo_server`."""
        return f"{self.pattern}_{self.name.replace('-', '_')}"

    @property
    def unit(self) -> str:
        """Its systemd unit: `lab-tcp-echo-server.service`."""
        return f"lab-{self.group.replace('_', '-')}.service"


@dataclass(frozen=True)
class Pattern:
    """One pattern, as its directories have it."""

    name: str

    @property
    def app(self) -> Path:
        """What runs on the hosts."""
        return ROOT / "apps" / self.name

    @property
    def role(self) -> Path:
        """What deploys it."""
        return ROOT / "roles" / self.name

    @property
    def about(self) -> str:
        """One line that says what it is."""
        return (importlib.import_module(f"apps.{self.name}").__doc__ or "").strip()

    @property
    def commands(self) -> Commands:
        """Its command line."""
        commands: Commands = importlib.import_module(f"apps.{self.name}.__main__").cli
        return commands

    @property
    def components(self) -> list[Component]:
        """Its processes that run as units, in the order of its command line.

        They are read off its source: to import every pattern with its libraries takes seconds.
        """
        return [Component(self.name, name) for name in _registered(self.app / "__main__.py")]

    @property
    def defaults(self) -> dict[str, Any]:
        """Its role's variables where the inventory says nothing."""
        path = self.role / "defaults" / "main.yml"
        return yaml.safe_load(path.read_text()) or {} if path.exists() else {}

    @property
    def cannot_run_on(self) -> dict[str, str]:
        """The releases of Debian on which it cannot run, and why: what its role says of that."""
        why: dict[str, str] = self._said_by_its_role("cannot_run_on") or {}
        return why

    @property
    def relies_on(self) -> list[str]:
        """The names of the patterns that it is a client of: what its role says of that."""
        others: list[str] = self._said_by_its_role("relies_on") or []
        return others

    def _said_by_its_role(self, name: str) -> Any:
        path = self.role / "vars" / "main.yml"
        variables = yaml.safe_load(path.read_text()) or {} if path.exists() else {}
        return variables.get(f"__{self.name}_{name}")


@cache
def _registered(path: Path) -> list[str]:
    """Give the names of what a file registers by `@cli.component` (see `apps.kit.cli`)."""
    return [
        node.name.replace("_", "-")
        for node in ast.parse(path.read_bytes(), str(path)).body
        if isinstance(node, ast.FunctionDef)
        and "cli.component" in map(ast.unparse, node.decorator_list)
    ]


@cache
def patterns() -> tuple[Pattern, ...]:
    """Give all patterns: the packages of apps/ that have a command line."""
    found = sorted(path.parent.name for path in ROOT.glob("apps/*/__main__.py"))
    return tuple(map(Pattern, found))


def pattern_of(group: str) -> str:
    """Give the name of the pattern that a group of the placement belongs to; "" if to none."""
    names = (pattern.name for pattern in patterns())
    return max((name for name in names if f"{group}_".startswith(f"{name}_")), key=len, default="")


def select(only: str | None) -> tuple[Pattern, ...]:
    """Give the patterns named, comma-separated; all if none is named. LabError if unknown."""
    known = {pattern.name: pattern for pattern in patterns()}
    names = [name.strip().replace("-", "_") for name in (only or "").split(",") if name.strip()]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise LabError(
                f"there is no pattern {name!r}",
                f"did you mean {near[0]!r}?" if near else f"choose from: {', '.join(known)}",
            )
    return tuple(known[name] for name in dict.fromkeys(names)) if names else patterns()


def with_relied_on(chosen: Iterable[Pattern]) -> tuple[Pattern, ...]:
    """Give these patterns, each behind those that it relies on."""
    found: dict[Pattern, None] = {}
    for pattern in chosen:
        found |= dict.fromkeys(with_relied_on(map(Pattern, pattern.relies_on)))
        found[pattern] = None
    return tuple(found)


def components(chosen: Iterable[Pattern]) -> list[Component]:
    """Give the components of these patterns."""
    return [component for pattern in chosen for component in pattern.components]


def main() -> None:
    """Print, for the role lab_inventory, what each pattern needs of an inventory."""
    wanted = []
    for pattern in patterns():
        described = pattern.role / "meta" / "argument_specs.yml"
        if not described.exists():
            continue  # an app without a role is not deployed
        specs = yaml.safe_load(described.read_text())
        wanted.append(
            {
                "name": pattern.name,
                "groups": [component.group for component in pattern.components],
                "options": specs["argument_specs"]["pattern"].get("options", {}),
                "cannot_run_on": pattern.cannot_run_on,
            }
        )
    print(json.dumps(wanted))


if __name__ == "__main__":
    main()

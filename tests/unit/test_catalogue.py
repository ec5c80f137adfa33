"""The catalogue: every pattern has every part, and the parts agree. Found by walking the tree."""

from __future__ import annotations

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from apps.kit.cli import Pattern as Commands
from lab.catalogue import (
    ROOT,
    Component,
    Pattern,
    pattern_of,
    patterns,
    select,
    with_relied_on,
)
from lab.errors import LabError
from lab.hosts.inventory import SUITES, load
from lab.status import option, placed

GIVEN = {"listen", "node", "help", "json", "brief"}
"""Options that no role sets: the unit's own address and name, and what is for people."""
TYPES = {"int": "int", "integer": "int", "integer range": "int", "float": "float"}
TYPES |= {"float range": "float", "boolean": "bool", "text": "str", "choice": "str"}

every_pattern = pytest.mark.parametrize("pattern", patterns(), ids=lambda p: p.name)


def spec(pattern: Pattern) -> dict[str, Any]:
    """Give the role's options, as its argument spec has them."""
    text = (pattern.role / "meta" / "argument_specs.yml").read_text()
    options: dict[str, Any] = yaml.safe_load(text)["argument_specs"]["pattern"].get("options", {})
    return options


def component_options(commands: Commands, pattern: Pattern) -> dict[str, click.Option]:
    """Give the options of the components by the names that the role must give them."""
    return {
        f"{pattern.name}_{component.replace('-', '_')}_{parameter.name}": parameter
        for component, command in commands.components.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in GIVEN
    }


def imports(path: Path) -> Iterator[str]:
    """Give the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_there_are_patterns() -> None:
    assert len(patterns()) >= 6


def test_every_app_is_a_pattern() -> None:
    packages = {path.parent.name for path in ROOT.glob("apps/*/__init__.py")} - {"kit"}
    assert packages == {pattern.name for pattern in patterns()}


@every_pattern
def test_has_every_part(pattern: Pattern) -> None:
    parts = [
        *(pattern.app / name for name in ("README.md", "demo.py", "claims.py", "__main__.py")),
        pattern.role / "defaults" / "main.yml",
        pattern.role / "meta" / "argument_specs.yml",
        pattern.role / "meta" / "main.yml",
        pattern.role / "tasks" / "main.yml",
        ROOT / "tests" / "unit" / f"test_{pattern.name}.py",
        ROOT / "tests" / "hosts" / f"test_{pattern.name}.py",
    ]
    assert [str(part) for part in parts if not part.is_file()] == []
    assert pattern.about
    assert pattern.components


@every_pattern
def test_readme_has_every_section(pattern: Pattern) -> None:
    text = (pattern.app / "README.md").read_text()
    sections = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert sections == [
        "The idea",
        "Who talks to whom",
        "Run it",
        "Break it",
        "What holds, and what does not",
        "Read next",
    ]


@every_pattern
def test_is_in_the_projects_readme(pattern: Pattern) -> None:
    assert f"apps/{pattern.name}/README.md" in (ROOT / "README.md").read_text()


@every_pattern
def test_is_placed_and_deployed(pattern: Pattern) -> None:
    inventory = load(ROOT / "inventory" / "local")
    assert inventory.groups.get(pattern.name)
    for component in pattern.components:
        assert inventory.groups.get(component.group), component
    plays = yaml.safe_load((ROOT / "playbooks" / "patterns.yml").read_text())
    stanza = {"hosts": pattern.name, "tags": pattern.name, "roles": [pattern.name]}
    assert [play for play in plays if stanza.items() <= play.items()], stanza


@every_pattern
def test_relies_on_the_patterns_whose_hosts_its_role_names(pattern: Pattern) -> None:
    read = "".join(path.read_text() for path in pattern.role.rglob("*.yml"))
    named = {pattern_of(group) for group in re.findall(r"groups\['(\w+)'\]", read)}
    assert named - {pattern.name} == set(pattern.relies_on)


def test_whoever_is_deployed_comes_behind_those_it_relies_on() -> None:
    chosen = with_relied_on([Pattern("tcp_echo"), Pattern("leader_election"), Pattern("zookeeper")])
    assert [pattern.name for pattern in chosen] == ["tcp_echo", "zookeeper", "leader_election"]


@every_pattern
def test_its_components_are_those_of_its_command_line(pattern: Pattern) -> None:
    names = [component.name for component in pattern.components]
    assert names == list(pattern.commands.components)


@every_pattern
def test_role_and_components_have_the_same_options(pattern: Pattern) -> None:
    options = component_options(pattern.commands, pattern)
    described = spec(pattern)
    # A role may have further inputs, which its tasks turn into options: peers out of groups.
    derived = {name for name in options if name not in described}
    tasks = (pattern.role / "tasks" / "main.yml").read_text()
    for name in derived:
        short = name.removeprefix(f"{pattern.name}_")
        assert f" {short.split('_', 1)[1]}: " in tasks, f"{name} is neither described nor derived"
    assert set(described) == set(options) - derived
    for name, about in described.items():
        kind = options[name].type.name
        assert about["type"] == TYPES.get(kind, about["type"]), f"{name} is {kind}"
        assert about.get("description"), name


@every_pattern
def test_defaults_agree(pattern: Pattern) -> None:
    options = component_options(pattern.commands, pattern)
    described = spec(pattern)
    assert set(pattern.defaults) == {n for n, about in described.items() if "default" in about}
    for name, value in pattern.defaults.items():
        assert value == described[name]["default"], name
        assert value == options[name].default, name


@every_pattern
def test_says_where_it_runs(pattern: Pattern) -> None:
    """To Ansible's galaxy in the same words as to the lab."""
    about = yaml.safe_load((pattern.role / "meta" / "main.yml").read_text())["galaxy_info"]
    runs_on = [suite for suite in SUITES if suite not in pattern.cannot_run_on]
    assert about["platforms"] == [{"name": "Debian", "versions": runs_on}]


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("zookeeper", "zookeeper"),
        ("zookeeper_server", "zookeeper"),
        ("zookeeper_recipes_member", "zookeeper_recipes"),
        ("zoo", ""),
        ("lab", ""),
    ],
)
def test_a_group_belongs_to_one_pattern(group: str, name: str) -> None:
    assert pattern_of(group) == name


def test_no_port_is_taken_twice_on_a_host() -> None:
    for path in ("local", "fifty"):
        inventory = load(ROOT / "inventory" / path)
        taken: dict[tuple[str, int], Component] = {}
        for host, component in placed(inventory, patterns()):
            name = f"{component.group}_port"
            port = option(inventory, host, Pattern(component.pattern), name)
            if port is not None:
                assert taken.setdefault((host, port), component) == component


def test_every_extra_is_a_pattern() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) <= {pattern.name for pattern in patterns()}


def test_dependencies_point_one_way() -> None:
    for path in itertools.chain(ROOT.glob("apps/**/*.py"), ROOT.glob("roles/**/*.py")):
        assert not [name for name in imports(path) if name.split(".")[0] == "lab"], path
    for path in ROOT.glob("apps/kit/**/*.py"):
        assert not [
            name
            for name in imports(path)
            if name.startswith("apps.") and not name.startswith("apps.kit")
        ], path
    for path in ROOT.glob("lab/**/*.py"):
        assert not [name for name in imports(path) if name.split(".")[0] == "fabfile"], path


def test_cores_are_pure() -> None:
    """A core imports no socket, asyncio, time or global random."""
    impure = {"socket", "asyncio", "time", "threading", "subprocess", "os", "selectors"}
    for path in (*ROOT.glob("apps/*/core.py"), ROOT / "apps/kit/link.py"):
        assert not impure.intersection(name.split(".")[0] for name in imports(path)), path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used = (node.value.id, node.attr)
                assert used[0] != "random" or used[1] == "Random", f"{path}: {'.'.join(used)}"


def test_patterns_are_selected_by_name() -> None:
    assert [p.name for p in select("tcp_echo, lamport-clock")] == ["tcp_echo", "lamport_clock"]
    assert select(None) == patterns()


def test_an_unknown_pattern_is_told_what_was_meant() -> None:
    with pytest.raises(LabError, match="did you mean 'tcp_echo'"):
        select("tpc_echo")

"""What the patterns' roles give to lab_service is what it knows; drift on a host is seen."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from lab.catalogue import ROOT, patterns

SERVICE = ROOT / "roles" / "lab_service"
SPECS = yaml.safe_load((SERVICE / "meta" / "argument_specs.yml").read_text())["argument_specs"]
KNOWN: dict[str, dict[str, Any]] = SPECS["component"]["options"]
TEXT = "[Service]\nExecStart=/bin/true\n"
ACTIVE = "MainPID={pid}\nActiveState={state}\nUnitFileState={enabled}\nNeedDaemonReload=no\n"


def services() -> list[Any]:
    """Give what every pattern's role gives to lab_service, once per component."""
    found = []
    for pattern in patterns():
        for task in yaml.safe_load((pattern.role / "tasks" / "main.yml").read_text()):
            if task.get("ansible.builtin.import_role", {}).get("name") == "lab_service":
                given = task["vars"]
                name = f"{given.get('lab_service_pattern')}_{given.get('lab_service_component')}"
                found.append(pytest.param(pattern.name, given, id=name))
    return found


def is_written_out(value: object) -> bool:
    """Whether a value holds no expression, so that its type is known here."""
    return "{{" not in json.dumps(value)


@pytest.mark.parametrize(("pattern", "given"), services())
def test_lab_service_is_given_what_it_knows(pattern: str, given: dict[str, Any]) -> None:
    assert set(given) <= set(KNOWN)
    assert {name for name, about in KNOWN.items() if about.get("required")} <= set(given)
    assert given["lab_service_pattern"] == pattern
    literal = {name: value for name, value in given.items() if is_written_out(value)}
    told = ArgumentSpecValidator({name: KNOWN[name] for name in literal}).validate(literal)
    assert told.error_messages == []


def test_lab_service_describes_its_defaults() -> None:
    defaults = yaml.safe_load((SERVICE / "defaults" / "main.yml").read_text())
    described = {name: about["default"] for name, about in KNOWN.items() if "default" in about}
    assert described.items() <= defaults.items()
    assert set(defaults) <= set(KNOWN)


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the code that looks at units on a host, to look at a directory of ours."""
    path = SERVICE / "module_utils" / "lab_units.py"
    spec = importlib.util.spec_from_file_location("lab_units", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "UNITS", tmp_path / "units")
    monkeypatch.setattr(module, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(module, "running", lambda _name, pid: f"revision{pid}" if pid else "")
    for directory in (module.UNITS, module.RECORDS):
        directory.mkdir()
    return module


@pytest.fixture
def unit(units: ModuleType) -> Path:
    """A unit as it was written, of revision 1."""
    path: Path = units.UNITS / "lab-echo.service"
    path.write_text(TEXT)
    path.chmod(0o644)
    record = units.record_text("revision1", {path: (TEXT, 0o644)})
    units.record_path("lab-echo").write_text(record)
    return path


def standing(
    units: ModuleType, pid: int = 1, state: str = "active", enabled: str = "enabled"
) -> dict[str, str]:
    """Ask for the units of a host where systemd says this of each."""
    said = ACTIVE.format(pid=pid, state=state, enabled=enabled)
    found: dict[str, str] = units.standing(
        lambda command: (0, said, "") if command else (1, "", "")
    )
    return found


def test_a_host_without_units_has_none(units: ModuleType) -> None:
    assert standing(units) == {}


@pytest.mark.usefixtures("unit")
def test_a_unit_that_is_as_wanted_has_its_revision(units: ModuleType) -> None:
    assert standing(units) == {"lab-echo": "revision1"}


@pytest.mark.usefixtures("unit")
@pytest.mark.parametrize(
    "off",
    [{"pid": 2}, {"pid": 0}, {"state": "failed"}, {"state": "activating"}, {"enabled": "disabled"}],
    ids=str,
)
def test_a_unit_that_does_not_run_as_wanted_has_none(
    units: ModuleType, off: dict[str, Any]
) -> None:
    assert standing(units, **off) == {"lab-echo": ""}


@pytest.mark.parametrize("how", ["edited", "opened", "unrecorded", "torn"])
def test_a_unit_that_somebody_touched_has_none(units: ModuleType, unit: Path, how: str) -> None:
    record = units.record_path("lab-echo")
    match how:
        case "edited":
            unit.write_text(TEXT + "User=root\n")
        case "opened":
            unit.chmod(0o666)
        case "unrecorded":
            record.unlink()
        case "torn":
            record.write_text(record.read_text()[:40])
    assert standing(units) == {"lab-echo": ""}

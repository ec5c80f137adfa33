"""Workloads under faults on the lab under test: played, played again, interrupted, tabled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from lab.catalogue import ROOT
from lab.hosts.inventory import Inventory

FAB = Path(sys.executable).with_name("fab")
Fab: TypeAlias = Callable[..., subprocess.Popen[str]]
IN_VAIN = [
    {"at": "1s", "for": "4s", "fault": "power_off", "host": "tcp_echo_server"},
    {"at": "3s", "fault": "kill", "host": "tcp_echo_server", "component": "tcp_echo_server"},
]
"""A kill of what has no power: it cannot take."""
LONG = [{"at": "1s", "for": "60s", "fault": "partition", "shape": "isolate", "hosts": "tcp_echo"}]


@pytest.fixture
def fab(inventory: Inventory, tmp_path: Path) -> Fab:
    """Fab on the lab under test, with a store of runs of its own."""

    def start(verb: str, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(FAB), verb, "--inventory", str(inventory.path), *options],
            cwd=ROOT,
            env=os.environ | {"DISTLAB_RUNS": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def told(process: subprocess.Popen[str], status: int = 0) -> Any:
    """Wait for the end of a verb, which has to be so; give its JSON."""
    stdout, stderr = process.communicate()
    assert process.returncode == status, stderr
    return json.loads(stdout)


def scheduled(directory: Path, faults: list[dict[str, str]]) -> tuple[str, ...]:
    path = directory / "faults.yml"
    path.write_text(yaml.safe_dump({"faults": faults}))
    return "run-demo", "--only", "tcp_echo", "--schedule", str(path), "--seed", "1"


def test_a_nemesis_and_its_replay_are_alike(fab: Fab, tmp_path: Path) -> None:
    drawn = ("--faults", "kill,pause,partition", "--seed", "5", "--seconds", "10s")
    verdicts = told(fab("run-demo", "--only", "tcp_echo", "--nemesis", *drawn, "--json"))
    assert {v["verdict"] for v in verdicts if v["kind"] == "promised"} == {"holds"}
    (run,) = tmp_path.iterdir()
    schedule = yaml.safe_load((run / "tcp_echo" / "schedule.yml").read_text())
    assert schedule["seed"] == 5
    assert schedule["faults"]

    compared = told(fab("run-demo", "--replay", run.name, "--json"))
    assert compared["same"] == {"seed": True, "schedule": True, "verdicts": True}
    assert len(compared["faults"]) == len(schedule["faults"])


def test_a_fault_that_does_not_take_makes_the_run_unknown(fab: Fab, tmp_path: Path) -> None:
    verdicts = told(fab(*scheduled(tmp_path, IN_VAIN), "--json"), status=2)
    unknown = [verdict for verdict in verdicts if verdict["verdict"] == "unknown"]
    assert [verdict["claim"] for verdict in unknown] == ["the faults are those of the schedule"]
    assert "1 of 2 faults took" in unknown[0]["detail"]
    assert {v["verdict"] for v in verdicts if v not in unknown} == {"holds"}


def test_a_schedule_that_is_interrupted_is_healed(fab: Fab, tmp_path: Path) -> None:
    playing = fab(*scheduled(tmp_path, LONG))
    assert playing.stderr is not None
    for line in playing.stderr:
        if "fault: partition" in line:
            break
    playing.send_signal(signal.SIGINT)
    playing.communicate()
    assert playing.returncode == 130
    assert told(fab("fault.list", "--json")) == []
    (manifest,) = tmp_path.glob("*/manifest.json")
    assert json.loads(manifest.read_text())["state"] == "interrupted"


def test_a_matrix_has_a_run_for_every_cell(fab: Fab, tmp_path: Path) -> None:
    chosen = ("--only", "tcp_echo", "--faults", "kill,pause", "--seconds", "4s", "--seed", "1")
    matrix = told(fab("matrix", *chosen, "--json"))
    cells = {cell["fault"]: cell for cell in matrix["cells"]}
    assert list(cells) == ["none", "kill", "pause"]
    assert cells["none"]["word"] == "holds"
    assert {cells[fault]["word"] for fault in ("kill", "pause")} == {"degraded"}
    assert cells["pause"]["availability"]["unavailable"] > 0
    (home,) = tmp_path.iterdir()
    assert all((home / cell["run"] / "report.html").exists() for cell in matrix["cells"])
    assert (home / "matrix.html").exists()
    assert told(fab("matrix", "--resume", home.name, "--json"))["cells"] == matrix["cells"]

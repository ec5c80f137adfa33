"""Fabric's verbs on stored runs, as a person and as a program use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.catalogue import ROOT
from tests.stored_runs import EVENT, inject, stored_run, verdict

FAB = Path(sys.executable).with_name("fab")
OLD, NEW = "20261121T030414Z-tcp_echo", "20261121T035342Z-rest_api"
KILL = {"fault": "kill", "host": "n1", "component": "tcp_echo_server"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of two runs and the remains of one."""
    stored_run(tmp_path, OLD, history={"tcp_echo": [EVENT, inject(2.0, KILL)]})
    stored_run(tmp_path, NEW, patterns=["rest_api"], verdicts=[verdict("violated")])
    (tmp_path / "20261122T000000Z-demos").mkdir()
    return tmp_path


def fab(store: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb on a store."""
    environment = {**os.environ, "DISTLAB_RUNS": str(store), "BROWSER": "true"}
    return subprocess.run(
        [str(FAB), *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def named(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The runs that `fab runs --json` told of."""
    assert done.returncode == 0, done.stderr
    return [run["name"] for run in json.loads(done.stdout)]


def test_runs_are_listed_for_people(store: Path) -> None:
    done = fab(store, "runs")
    assert done.returncode == 0, done.stderr
    first, second, third = (line.split() for line in done.stdout.splitlines()[1:])
    assert (first[1], second[1], third[1]) == ("damaged", "finished", "finished")
    assert "there is no manifest.json" in " ".join(first)
    assert (second[0], second[-2:]) == (NEW, ["1", "violated"])


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--only", "tcp_echo"], [OLD]),
        (["--verdict", "violated"], [NEW]),
        (["--state", "finished"], [NEW, OLD]),
        (["--only", "tcp_echo", "--verdict", "violated"], []),
    ],
)
def test_runs_are_filtered_for_programs(store: Path, options: list[str], found: list[str]) -> None:
    assert named(fab(store, "runs", "--json", *options)) == found


def test_old_runs_are_removed_and_told(store: Path) -> None:
    done = fab(store, "runs", "--state", "finished", "--keep", "1", "--json")
    assert named(done) == [NEW]
    assert done.stderr == f"removed {OLD}\n"
    assert named(fab(store, "runs", "--json")) == ["20261122T000000Z-demos", NEW]


def test_a_report_is_built_of_the_latest_run_or_another(store: Path) -> None:
    done = fab(store, "report", "--open")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{store / NEW / 'report.html'}\n"
    assert "<!doctype html>" in (store / NEW / "report.html").read_text()
    done = fab(store, "report", "--run", "20261121T0304")
    assert done.stdout == f"{store / OLD / 'report.html'}\n"


def test_runs_are_compared(store: Path) -> None:
    again = [EVENT, inject(7.0, KILL)]
    stored_run(store, f"{OLD}-1", history={"tcp_echo": again}, seed=8)
    done = fab(store, "compare", OLD, f"{OLD}-1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "another seed, the same schedule, the same verdicts",
        "  seed: 7, then 8",
    ]
    done = fab(store, "compare", OLD, NEW, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["same"] == {"seed": True, "schedule": False, "verdicts": False}


@pytest.mark.parametrize(
    "words",
    [
        ["report", "--run", "2027"],
        ["compare", "2026", "latest"],
        ["runs", "--verdict", "maybe"],
        ["runs", "--state", "levitating"],
        ["runs", "--only", "tcp_ecco"],
    ],
)
def test_what_cannot_be_is_refused_in_two_lines(store: Path, words: list[str]) -> None:
    done = fab(store, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "\n  -> " in done.stderr
    assert "Traceback" not in done.stderr

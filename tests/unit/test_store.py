"""The store of runs: whole, half-written, damaged and hostile ones; names, filters, removal."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from lab.catalogue import ROOT
from lab.errors import LabError
from lab.evidence import store
from lab.evidence.store import Wanted
from lab.evidence.stored import STATES, read
from tests.stored_runs import EVENT, stored_run, verdict

MATRIX = {"state": "finished", "cells": [{"word": "holds"}, {"word": "holds"}, {"word": 3}, 4]}
FIRST, SECOND = "20261121T030414Z-tcp_echo", "20261121T035342Z-rest_api"


def test_a_run_is_read_whole(tmp_path: Path) -> None:
    history = {"tcp_echo": [EVENT, EVENT | {"t": 2.5}]}
    stored_run(tmp_path, FIRST, history=history, verdicts=[verdict(witness=[EVENT])])
    (run,) = store.runs(tmp_path)
    assert (run.name, run.what, run.seed, run.state) == (FIRST, "tcp_echo", 7, "finished")
    assert (run.seconds, run.patterns, run.damage) == (11.3, ("tcp_echo",), ())
    assert run.began is not None
    assert run.began.isoformat() == "2026-11-21T03:04:14+00:00"
    assert run.verdicts[0].witness == (EVENT,)
    assert run.counts == {"holds": 1}
    assert run.history("tcp_echo") == (history["tcp_echo"], 0)
    json.dumps(run.as_json())


def test_newest_comes_first_and_what_is_no_run_does_not_count(tmp_path: Path) -> None:
    for name in (FIRST, SECOND, "mine"):
        stored_run(tmp_path, name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "20261122T000000Z-elsewhere").symlink_to(tmp_path / "mine")
    assert [run.name for run in store.runs(tmp_path)] == ["mine", SECOND, FIRST]
    assert store.runs(tmp_path / "nowhere") == []


def test_verdicts_are_counted_from_themselves_the_worst_first(tmp_path: Path) -> None:
    words = [("holds", "promised"), ("shown", "limit"), ("violated", "promised")]
    stored_run(tmp_path, FIRST, verdicts=[verdict(word, kind=kind) for word, kind in words])
    assert list(store.runs(tmp_path)[0].counts.items()) == [
        ("violated", 1),
        ("holds", 1),
        ("shown", 1),
    ]


DAMAGE: dict[str, tuple[str, str | None, str]] = {
    "no manifest": ("manifest.json", None, "there is no manifest.json"),
    "cut short": ("manifest.json", '{"what": "tcp', "manifest.json cannot be read"),
    "a list": ("manifest.json", "[]", "manifest.json holds no dict"),
    "bytes": ("manifest.json", "\udcff", "manifest.json cannot be read"),
    "deep": ("manifest.json", "[" * 100_000, "manifest.json cannot be read"),
    "no verdicts": ("verdicts.json", None, "there is no verdicts.json"),
    "other verdicts": ("verdicts.json", '[{"claim": 3}]', "verdict 1: it is no verdict"),
    "no list": ("verdicts.json", "{}", "verdicts.json holds no list"),
    "odd word": ("verdicts.json", json.dumps([verdict("maybe")]), "it is no verdict"),
}


@pytest.mark.parametrize(("file", "text", "said"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_said_and_the_rest_is_read(
    tmp_path: Path, file: str, text: str | None, said: str
) -> None:
    stored_run(tmp_path, FIRST)
    path = stored_run(tmp_path, SECOND, history={"tcp_echo": [EVENT]}) / file
    path.unlink()
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))
    damaged, whole = store.runs(tmp_path)
    assert damaged.state == "damaged"
    assert any(said in line for line in damaged.damage), damaged.damage
    assert damaged.patterns == ("tcp_echo",)
    assert damaged.history("tcp_echo") == ([EVENT], 0)
    assert whole.state == "finished"
    json.dumps(damaged.as_json())


ODD: dict[str, dict[str, Any]] = {
    "types": {"what": [], "seed": "7", "command": None, "seconds": "long", "trouble": "x"},
    "versions": {"versions": ["a"], "hosts": 3, "state": ["finished"]},
    "patterns": {"patterns": "tcp_echo"},
    "state": {"state": "levitating"},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_values_of_odd_types_do_no_harm(tmp_path: Path, odd: dict[str, Any]) -> None:
    stored_run(tmp_path, FIRST, **odd)
    (run,) = store.runs(tmp_path)
    json.dumps(run.as_json())
    assert run.state in STATES


def test_lines_that_are_no_events_are_counted(tmp_path: Path) -> None:
    path = stored_run(tmp_path, FIRST, history={"tcp_echo": [EVENT]})
    with (path / "tcp_echo" / "history.jsonl").open("a") as file:
        file.write('[]\n{"event": 3, "t": 1}\n{"event": "ok"}\n{"event": "cut sh')
    assert read(path).history("tcp_echo") == ([EVENT], 4)


def test_a_pattern_that_a_manifest_names_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "history.jsonl").write_text(json.dumps(EVENT))
    patterns = ["../secret", "/etc", "", 3, "tcp_echo"]
    path = stored_run(tmp_path, FIRST, patterns=patterns)
    run = read(path)
    assert run.patterns == ("tcp_echo",)
    assert run.history("../secret") == ([], 0)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A store of three runs, the newest damaged."""
    stored_run(tmp_path, FIRST)
    stored_run(tmp_path, SECOND, patterns=["rest_api"])
    (tmp_path / "20261122T000000Z-tcp_echo").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (FIRST, FIRST),
        ("20261121T030", FIRST),
        ("latest", SECOND),
        ("20261122", "20261122T000000Z-tcp_echo"),
    ],
)
def test_a_run_is_found(three: Path, name: str, found: str) -> None:
    assert store.find(name, three).name == found


def test_a_run_is_found_by_its_path(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.find(str(three / FIRST)).name == FIRST
    monkeypatch.chdir(three / FIRST)
    assert store.find(".").name == FIRST


def test_a_name_in_full_is_not_ambiguous(three: Path) -> None:
    stored_run(three, f"{FIRST}-1")
    assert store.find(FIRST, three).name == FIRST


def test_a_cell_of_a_matrix_is_found_with_its_matrix(tmp_path: Path) -> None:
    matrix = tmp_path / "20261121T040000Z-matrix"
    stored_run(matrix, "tcp_echo-kill")
    (matrix / "matrix.json").write_text("{}")
    reference = "20261121T040000Z-matrix/tcp_echo-kill"
    assert store.find(reference, tmp_path).reference == reference
    assert store.runs(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("20261121", f"2 runs begin with '20261121'.*choose one: {SECOND}, {FIRST}"),
        ("2027", "there is no run '2027'"),
        ("", "there is no run ''"),
        ("../..", "is no run"),
        ("/nowhere", "/nowhere is no run"),
    ],
)
def test_what_names_no_run_is_refused(three: Path, name: str, said: str) -> None:
    with pytest.raises(LabError) as refused:
        store.find(name, three)
    assert re.search(said, str(refused.value), re.DOTALL)


def test_latest_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no run in"):
        store.find("latest", tmp_path)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), [SECOND, FIRST]),
        (Wanted(patterns=["tcp_echo", "lamport_clock"]), [FIRST]),
        (Wanted(verdict="violated"), [SECOND]),
        (Wanted(state="interrupted"), [FIRST]),
        (Wanted(text="BACK AFTER"), [SECOND]),
        (Wanted(text=FIRST), [FIRST]),
        (Wanted(patterns=["tcp_echo"], verdict="violated"), []),
    ],
)
def test_runs_are_filtered(tmp_path: Path, wanted: Wanted, found: list[str]) -> None:
    stored_run(tmp_path, FIRST, state="interrupted")
    violated = verdict("violated", pattern="rest_api", detail="back after 2 s")
    stored_run(tmp_path, SECOND, patterns=["rest_api"], verdicts=[violated])
    assert [run.name for run in store.runs(tmp_path, wanted.has)] == found


def test_the_old_are_superfluous_unless_they_run(tmp_path: Path) -> None:
    names = [f"2026112{day}T000000Z-tcp_echo" for day in range(5)]
    paths = [stored_run(tmp_path, name, state="running") for name in names]
    with held(paths[0]):
        gone = store.superfluous(store.runs(tmp_path), keep=2)
        assert [run.name for run in gone] == [names[2], names[1]]
    for run in gone:
        run.remove()
    assert [run.name for run in store.runs(tmp_path)] == [names[4], names[3], names[0]]


class held:  # noqa: N801  reads as what it does
    """A run's directory, held as by another process."""

    def __init__(self, path: Path) -> None:
        self._directory = os.open(path, os.O_RDONLY)

    def __enter__(self) -> None:
        fcntl.flock(self._directory, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)


def test_a_run_whose_process_is_gone_has_died(tmp_path: Path) -> None:
    path = stored_run(tmp_path, FIRST, state="running", seconds=0.0)
    with held(path):
        assert (read(path).state, read(path).live) == ("running", True)
    assert (read(path).state, read(path).live) == ("died", False)
    assert read(path).seconds is None


def test_who_holds_a_run_lets_go_when_killed(tmp_path: Path) -> None:
    path = stored_run(tmp_path, FIRST, state="running")
    holder = (
        f"from lab.evidence.stored import *; hold(Path({str(path)!r})); print(flush=True); input()"
    )
    command = [sys.executable, "-c", holder]
    with subprocess.Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert read(path).state == "running"
        process.kill()
    assert read(path).state == "died"


def test_matrices_are_no_runs(tmp_path: Path) -> None:
    stored_run(tmp_path, FIRST)
    whole = tmp_path / "20261121T040000Z-matrix"
    whole.mkdir()
    (whole / "matrix.json").write_text(json.dumps(MATRIX))
    (tmp_path / "20261121T050000Z-matrix").mkdir()
    half, full = store.matrices(tmp_path)
    assert (half.content, half.page, half.state) == ({}, None, "interrupted")
    assert (full.state, full.counts) == ("finished", {"holds": 2})
    told = [json.loads(json.dumps(matrix.as_json())) for matrix in (half, full)]
    assert [(one["matrix"], one["state"], one["cells"]) for one in told] == [
        ("20261121T050000Z-matrix", "interrupted", {}),
        ("20261121T040000Z-matrix", "finished", {"holds": 2}),
    ]
    assert store.superfluous([half, full], keep=1) == [full]
    assert [run.name for run in store.runs(tmp_path)] == [FIRST]
    with pytest.raises(LabError):
        store.find("20261121T04", tmp_path)


def test_files_are_listed_without_links(tmp_path: Path) -> None:
    path = stored_run(tmp_path, FIRST, history={"tcp_echo": [EVENT]})
    (path / "tcp_echo" / "passwd").symlink_to("/etc/passwd")
    listed = [str(file.relative_to(path)) for file in read(path).files()]
    assert listed == ["manifest.json", "tcp_echo/history.jsonl", "verdicts.json"]


def test_the_runs_of_this_checkout_are_read() -> None:
    for run in store.runs():
        json.dumps(run.as_json())
        for pattern in run.patterns:
            run.history(pattern)

"""A run keeps its verdicts, whatever happens after they are stated."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from apps.kit.claims import Finding
from lab.catalogue import Pattern
from lab.errors import LabError
from lab.evidence import runs, store
from lab.evidence.runs import HELD, UNCLEAR, Run
from lab.evidence.stored import read
from lab.evidence.verdict import Verdict
from tests.stored_runs import EVENT

PATTERN = Pattern("tcp_echo")
LOST = LabError("lost n2", "see whether the host is up: fab status")


class Stage:
    """A stage over hosts that are lost when the demo is over."""

    def __init__(self, *arguments: Any) -> None:
        self._stated: Callable[[Verdict], None] = arguments[-1]
        self.attachments = {"shiviz.log": "a graph"}
        self.figures = {"lost": 3.0}

    def promised(self, claim: str, finding: Finding) -> None:
        self._stated(Verdict.of("tcp_echo", claim, "promised", finding))

    def attach(self, name: str, text: str) -> None:
        self.attachments[name] = text

    def restore(self) -> list[LabError]:
        return [LOST]

    def read(self) -> dict[str, LabError]:
        return {"n2": LOST}

    def journals(self) -> dict[str, list[str]]:
        return {"n1": ["{}"], "n2": []}

    def observed(self) -> list[dict[str, Any]]:
        return [EVENT]


class NoStage(Stage):
    """A stage that cannot be had."""

    def __init__(self, *_: Any) -> None:
        raise LOST


class NoEvidence(Stage):
    """A stage that fails in ways that nobody thought of."""

    def restore(self) -> list[LabError]:
        raise ZeroDivisionError

    def read(self) -> dict[str, LabError]:
        raise OSError("no space left")


def holds(stage: Stage) -> None:
    stage.promised("it works", Finding(True, "as promised"))


def breaks(stage: Stage) -> None:
    holds(stage)
    raise ZeroDivisionError("by zero")


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Play a demo on a stage, in a store of its own."""
    monkeypatch.setattr(runs, "RUNS", tmp_path)

    def played(demo: Callable[[Stage], None], stage: type[Stage] = Stage) -> Run:
        module = ModuleType("apps.tcp_echo.demo")
        module.demo = demo  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "apps.tcp_echo.demo", module)
        monkeypatch.setattr(runs, "Stage", stage)
        where = Path("inventory/local")
        inventory = SimpleNamespace(path=where, lab="local", hosts={}, topology=None)
        remote: Any = SimpleNamespace(inventory=inventory)
        run = Run(remote, 7, "fab run-demo --seed 7", "tcp_echo")
        run.play(PATTERN, lambda _: None)
        return run

    return played


def kept(run: Run) -> list[str]:
    """The verdicts on disk."""
    return [verdict["verdict"] for verdict in json.loads((run.path / "verdicts.json").read_text())]


def test_lost_hosts_cost_no_verdict_and_are_told(play: Callable[..., Run]) -> None:
    run = play(holds)
    assert run.finish() == HELD
    stored = read(run.path)
    assert (stored.state, stored.counts, stored.damage) == ("finished", {"holds": 1}, ())
    assert stored.trouble[:2] == (
        "tcp_echo: not undone: lost n2",
        "tcp_echo: n2's journal: lost n2",
    )
    assert stored.history("tcp_echo") == ([EVENT], 0)
    assert (run.path / "tcp_echo" / "shiviz.log").read_text() == "a graph"
    assert (run.path / "tcp_echo" / "journals" / "n1.jsonl").read_text() == "{}\n"
    assert stored.manifest["figures"] == {"tcp_echo": {"lost": 3.0}}


def test_what_nobody_thought_of_costs_no_verdict(play: Callable[..., Run]) -> None:
    run = play(holds, NoEvidence)
    assert run.finish() == HELD
    assert kept(run) == ["holds"]
    assert "ZeroDivisionError" in run.trouble[0]
    assert "no space left" in run.trouble[1]


def test_a_demo_that_breaks_off_keeps_what_it_stated(play: Callable[..., Run]) -> None:
    run = play(breaks)
    assert run.finish() == UNCLEAR
    assert kept(run) == ["holds", "unknown"]
    assert "by zero" in (run.path / "tcp_echo" / "broken.txt").read_text()


def test_a_demo_that_cannot_begin_is_unknown(play: Callable[..., Run]) -> None:
    run = play(holds, NoStage)
    run.play(PATTERN, lambda _: None)
    assert run.finish() == UNCLEAR
    assert kept(run) == ["unknown", "unknown"]


def test_a_verdict_is_on_disk_once_it_is_stated(play: Callable[..., Run], tmp_path: Path) -> None:
    seen: list[Any] = []

    def looks(stage: Stage) -> None:
        holds(stage)
        (stored,) = store.runs(tmp_path)
        seen.append((stored.state, stored.patterns, stored.counts))

    play(looks)
    assert seen == [("running", ("tcp_echo",), {"holds": 1})]


def test_an_interrupted_demo_keeps_what_it_stated(play: Callable[..., Run], tmp_path: Path) -> None:
    def interrupted(stage: Stage) -> None:
        holds(stage)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(interrupted)
    (stored,) = store.runs(tmp_path)
    assert (stored.counts, stored.history("tcp_echo")) == ({"holds": 1}, ([EVENT], 0))


def test_a_page_that_cannot_be_built_costs_no_verdict(
    play: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> Path:
        raise RecursionError("a page of pages")

    monkeypatch.setattr("lab.evidence.report.build", fails)
    run = play(holds)
    assert run.finish() == HELD
    assert "the page was not built: a page of pages" in read(run.path).trouble


def test_a_full_disk_costs_no_exit_status(
    play: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = play(holds)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(runs, "write_atomically", full)
    assert run.finish() == HELD
    assert any("no space left" in trouble for trouble in run.trouble)

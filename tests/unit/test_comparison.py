"""Two runs side by side: what counts as the same, and what is told of the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evidence.comparison import Comparison, faults
from lab.evidence.figures import figures, quantiles
from lab.evidence.stored import read
from tests.stored_runs import EVENT, inject, operation, stored_run, verdict

KILL = {"fault": "kill", "host": "n1", "component": "tcp_echo_server"}
PAUSE = {"fault": "pause", "host": "n1", "component": "tcp_echo_server"}
HALVES = {"fault": "partition", "shape": "halves", "hosts": ["n1", "n2"]}


def compared(tmp_path: Path, a: Mapping[str, Any], b: Mapping[str, Any]) -> Comparison:
    """Compare two runs that differ so."""
    runs = [
        read(stored_run(tmp_path, f"2026112{n}T000000Z-x", **of)) for n, of in enumerate((a, b))
    ]
    return Comparison(*runs)


def under(*events: Mapping[str, Any]) -> dict[str, Any]:
    """A run with this history."""
    return {"history": {"tcp_echo": list(events)}}


def test_a_replay_is_the_same_at_another_time(tmp_path: Path) -> None:
    a = under(inject(1.0, HALVES), inject(9.5, KILL, id="f2"))
    b = under(inject(101.3, HALVES), inject(107.9, KILL, id="f2"))
    one = compared(tmp_path, a, b)
    assert (one.same_seed, one.same_schedule, one.same_verdicts) == (True, True, True)
    assert str(one) == "the same seed, the same schedule, the same verdicts"
    assert one.differences == []
    assert [row.a for row in one.faults] == [
        "partition shape=halves hosts=n1,n2 for 20 s",
        "kill host=n1 component=tcp_echo_server",
    ]
    json.dumps(one.as_json())


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ((inject(1.0, PAUSE),), "partition shape=halves hosts=n1,n2 for 20 s, then pause"),
        ((inject(1.0, HALVES | {"shape": "ring"}),), "shape=ring"),
        (
            (inject(1.0, HALVES, seconds=5.0),),
            "for 20 s, then partition shape=halves hosts=n1,n2 for 5 s",
        ),
        ((), "for 20 s, then not there"),
        ((inject(1.0, KILL), inject(2.0, HALVES)), "not there, then kill"),
    ],
    ids=["kind", "parameter", "duration", "missing", "more"],
)
def test_another_fault_is_told(tmp_path: Path, other: Sequence[Any], told: str) -> None:
    one = compared(tmp_path, under(inject(1.0, HALVES)), under(*other))
    assert not one.same_schedule
    assert "not the same schedule" in str(one)
    assert any(told in line for line in one.differences), one.differences


def test_faults_of_one_moment_have_the_order_of_the_plan(tmp_path: Path) -> None:
    first, second = inject(1.001, HALVES, id="f1"), inject(1.0, PAUSE, id="f2")
    one = compared(tmp_path, under(first, second), under(second, first))
    assert one.same_schedule


def test_kills_of_earlier_runs_compare_with_those_of_today() -> None:
    earlier = {**EVENT, "event": "lab_kill"}
    assert faults([earlier]) == faults([inject(3.0, KILL)])


@pytest.mark.parametrize("odd", [None, "kill", {"fault": "quake"}, {"fault": "kill"}, [1]])
def test_a_fault_that_is_none_is_told_as_it_stands(odd: Any) -> None:
    event = {**inject(1.0, {}), "fault": odd}
    assert faults([event]) == [json.dumps(odd)]


def test_other_schedules_differ_though_nothing_was_injected(tmp_path: Path) -> None:
    paths = [stored_run(tmp_path, name, **under(EVENT)) for name in ("a", "b")]
    for number, path in enumerate(paths):
        (path / "tcp_echo" / "schedule.yml").write_text(f"seed: {number}\n")
    one = Comparison(*map(read, paths))
    assert not one.same_schedule
    assert one.differences == ["tcp_echo: another schedule"]


def test_verdicts_are_compared_by_word_and_claim(tmp_path: Path) -> None:
    a = [verdict(claim="twice"), verdict(claim="twice"), verdict(claim="gone", detail="was there")]
    b = [
        verdict(claim="twice", detail="other"),
        verdict("violated", claim="twice", detail="two ops"),
    ]
    one = compared(tmp_path, {"verdicts": a}, {"verdicts": b})
    assert not one.same_verdicts
    assert [(row.what, row.a, row.b) for row in one.verdicts] == [
        ("twice", "holds", "holds"),
        ("twice", "holds", "violated"),
        ("gone", "holds", None),
    ]
    assert one.verdicts[1].seen == ("1000 of 1000 calls answered", "two ops")
    assert one.differences == [
        "tcp_echo: twice: holds, then violated",
        "tcp_echo: gone: holds, then not there",
    ]
    assert str(one) == "the same seed, no faults, not the same verdicts"


def test_circumstances_that_differ_are_told(tmp_path: Path) -> None:
    one = compared(tmp_path, {}, {"seed": 8, "versions": {"distlab": "8c76401", "fabric": "3.2"}})
    assert one.differences == [
        "seed: 7, then 8",
        "python: 3.11.7, then not there",
        "fabric: not there, then 3.2",
    ]
    assert not one.same_seed


def test_damaged_runs_are_compared_as_far_as_they_go(tmp_path: Path) -> None:
    whole = read(stored_run(tmp_path, "a", **under(inject(1.0, KILL))))
    (tmp_path / "b").mkdir()
    one = Comparison(whole, read(tmp_path / "b"))
    assert (one.same_seed, one.same_schedule, one.same_verdicts) == (False, False, False)
    json.dumps(one.as_json())


def test_figures_stand_side_by_side(tmp_path: Path) -> None:
    fast = [event for n in range(3) for event in operation(f"{n}", n, n + 0.010)]
    slow = [event for n in range(3) for event in operation(f"{n}", n, n + 0.015)]
    a = under(*fast) | {"figures": {"tcp_echo": {"lost": 2.0, "odd": "x"}}}
    one = compared(tmp_path, a, under(*slow))
    found = {figure.name: figure for figure in one.figures}
    assert (found["echo ok"].a, found["echo ok"].b, found["echo ok"].change) == (3, 3, 0)
    assert found["echo p50 ms"].change == pytest.approx(0.5)
    assert (found["lost"].a, found["lost"].b, found["lost"].change) == (2.0, None, None)
    assert "odd" not in found


def test_operations_are_counted_by_their_outcome() -> None:
    history = [
        *operation("1", 0, 0.1),
        *operation("2", 0, 0.3, "fail"),
        operation("3", 0, 1)[0],
        operation("4", 0, 1)[1],
        {**EVENT, "event": "send"},
        {**EVENT, "event": "lab_kill"},
        {**EVENT, "event": "invoke"},
    ]
    found = figures(history)
    assert (found["echo ok"], found["echo fail"], found["echo unknown"]) == (1, 1, 1)
    assert found["echo max ms"] == pytest.approx(100)
    assert (found["messages sent"], found["faults injected"]) == (1, 1)


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_quantiles_are_values_in_order(values: list[float]) -> None:
    found = list(quantiles(values).values())
    assert found == sorted(found)
    assert found[-1] == round(max(values), 3)
    assert found[0] in [round(value, 3) for value in values]

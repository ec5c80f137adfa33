"""Holders, leaders, tokens and sessions: who may, and what a client sees over time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.checkers import fenced, monotonic_reads, mutual_exclusion, single_leader
from apps.kit.claims import Event
from apps.kit.history import operations
from tests.unit.checkers.histories import event, merged, op


def stay(node: str, start: float, end: float | None) -> list[Event]:
    left = [] if end is None else [event("exit", node, end)]
    return [event("enter", node, start), *left]


@pytest.mark.parametrize(
    ("stays", "holds"),
    [
        ([], None),
        ([stay("a", 1, 2), stay("b", 2, 3)], True),
        ([stay("a", 1, 3), stay("b", 2, 4)], False),
        ([stay("a", 1, None), stay("b", 2, 3)], False),
        ([stay("a", 1, 9), stay("b", 2, 3), stay("c", 8, 10)], False),
        ([stay("a", 1, None), stay("a", 2, 3)], True),
    ],
)
def test_one_at_a_time(stays: list[list[Event]], holds: bool | None) -> None:
    found = mutual_exclusion(merged(*stays))
    assert found.holds is holds
    if holds is False:
        assert mutual_exclusion(found.witness).holds is False


def test_two_resources_two_holders() -> None:
    history = [{**e, "lock": e["node"]} for e in merged(stay("a", 1, 3), stay("b", 2, 4))]
    assert mutual_exclusion(history, resource="lock").holds


def test_clocks_that_differ_excuse_a_short_overlap() -> None:
    history = merged(stay("a", 1, 3), stay("b", 2.9, 4))
    assert mutual_exclusion(history, skew=0.05).holds is False
    assert mutual_exclusion(history, skew=0.2).holds


def test_a_crash_ends_a_stay() -> None:
    history = [*stay("a", 1, None), event("crash", "a", 2), *stay("b", 3, 4)]
    assert mutual_exclusion(history, leave=("exit", "crash")).holds
    assert mutual_exclusion(history).holds is False


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 2)), min_size=2), st.data())
def test_a_stay_that_begins_too_early_is_caught(
    turns: list[tuple[str, float]], data: st.DataObject
) -> None:
    history, now = [], 0.0
    for holder, seconds in turns:
        history += stay(holder, now, now + seconds)
        now += 2 * seconds
    assert mutual_exclusion(history).holds
    place = data.draw(st.integers(1, len(turns) - 1)) * 2
    inside = history[place - 2]["t"] + 0.05
    worse = [*history[:place], event("enter", "intruder", inside), *history[place:]]
    found = mutual_exclusion(sorted(worse, key=lambda e: e["t"]))
    assert found.holds is False
    assert mutual_exclusion(found.witness).holds is False


def taken(fence: int, holder: str, node: str = "store") -> Event:
    return event("accepted", node, fence=fence, holder=holder)


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([], None),
        ([taken(1, "a"), taken(1, "a"), taken(3, "b")], True),
        ([taken(2, "a"), taken(1, "b")], False),
        ([taken(1, "a"), taken(1, "b")], False),
        ([taken(2, "a"), taken(1, "b", "other")], True),
    ],
)
def test_tokens_do_not_go_back(history: list[Event], holds: bool | None) -> None:
    found = fenced(history)
    assert found.holds is holds
    if holds is False:
        assert fenced(found.witness).holds is False


def led(epoch: int, node: str) -> Event:
    return event("leader", node, epoch=epoch)


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([], None),
        ([led(1, "a"), led(1, "a"), led(2, "b")], True),
        ([led(1, "a"), led(2, "b"), led(1, "b")], False),
    ],
)
def test_an_epoch_has_one_leader(history: list[Event], holds: bool | None) -> None:
    found = single_leader(history)
    assert found.holds is holds
    assert single_leader(found.witness).holds is holds or holds is not False


@given(st.lists(st.sampled_from("abc"), min_size=1), st.randoms(use_true_random=False))
def test_a_usurper_is_caught(leaders: list[str], rng: random.Random) -> None:
    history = [led(epoch, node) for epoch, node in enumerate(leaders)]
    assert single_leader(history).holds
    worse = [*history, led(rng.randrange(len(leaders)), "usurper")]
    assert single_leader(worse).holds is False


@given(st.lists(st.integers(0, 50), min_size=2), st.randoms(use_true_random=False))
def test_a_session_that_goes_back_is_caught(versions: list[int], rng: random.Random) -> None:
    reads = [op("read", None, 2 * n, 2 * n + 1, v) for n, v in enumerate(sorted(versions))]
    assert monotonic_reads(operations(merged(*reads))).holds
    stale = op("read", None, 1000, 1001, rng.randint(-9, max(versions) - 1))
    found = monotonic_reads(operations([*merged(*reads), *stale]))
    assert found.holds is False
    assert list(found.witness[2:]) == stale
    assert monotonic_reads(operations(found.witness)).holds is False


def test_reads_at_once_have_no_order() -> None:
    reads = merged(op("read", None, 0, 5, 2), op("read", None, 1, 6, 1))
    assert monotonic_reads(operations(reads)).holds
    assert monotonic_reads([]).holds is None
    logs = merged(op("read", None, 0, 1, ["a", "b"]), op("read", None, 2, 3, ["a"]))
    assert monotonic_reads(operations(logs), version=len).holds is False

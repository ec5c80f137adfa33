"""metrics: lines that nothing can be smuggled into, stamps, the window, the claims."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.claims import Finding
from apps.metrics.claims import (
    all_arrived,
    counted_once,
    drops_are_counted,
    nothing_lost,
    refusal_is_told,
)
from apps.metrics.core import (
    BATCH_MOST,
    FUTURE,
    PAST,
    Answer,
    Malformed,
    Sample,
    Stamps,
    Window,
    checked,
    datagram,
    encode,
    line,
    lines,
    ranges,
)
from apps.metrics.influx import select

NOW = 1_795_000_000 * 10**9
GOOD: list[Any] = [NOW, "tcp_echo", "client", "echo", 1.5]

# Lines


def parsed(text: str) -> tuple[str, dict[str, str], str, str]:
    """Read a line as InfluxDB does: measurement, tags, fields, stamp; backslashes escape."""
    words: list[list[str]] = [[""]]
    characters = iter(text)
    for character in characters:
        if character == "\\":
            words[-1][-1] += next(characters)
        elif character == " ":
            words.append([""])
        elif character == ",":
            words[-1].append("")
        elif character == "=":
            words[-1][-1] += "\0"
        else:
            words[-1][-1] += character
    key, fields, stamp = words
    tags = dict(tag.split("\0") for tag in key[1:])
    return key[0], tags, fields[0].replace("\0", "="), stamp[0]


@given(st.text(), st.text(), st.text(), st.text(), st.floats(0, 1e11))
def test_a_line_says_what_its_sample_says_or_there_is_none(
    host: str, pattern: str, component: str, operation: str, ms: float
) -> None:
    sample = Sample(NOW, pattern, component, operation, ms)
    try:
        written = line(host, sample, NOW)
    except Malformed:
        return
    assert "\n" not in written
    measurement, tags, field, stamp = parsed(written)
    names = {"host": host, "pattern": pattern, "component": component, "operation": operation}
    assert (measurement, tags, stamp) == ("latency", names, str(NOW))
    assert float(field.removeprefix("ms=")) == ms


@pytest.mark.parametrize("name", ["a b", "a,b=c", 'say "x"', "näme", "a=1 2", "#", "'"])
def test_odd_names_have_their_lines(name: str) -> None:
    assert parsed(line("n1", Sample(NOW, "p", "c", name, 1), NOW))[1]["operation"] == name


@pytest.mark.parametrize("name", ["", "a\nb", "a\\", "x" * 65, "\x00", "\u2028", "\ud800"])
def test_names_that_no_line_can_hold_are_refused(name: str) -> None:
    with pytest.raises(Malformed, match="name"):
        line("n1", Sample(NOW, "p", "c", name, 1), NOW)


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        [*GOOD, 1],
        ["now", *GOOD[1:]],
        [True, *GOOD[1:]],
        [*GOOD[:4], None],
        [*GOOD[:4], True],
        [*GOOD[:4], -1],
        [*GOOD[:4], float("nan")],
        [*GOOD[:4], 10**400],
        [NOW, ["a"], "c", "o", 1],
        [NOW, {}, "c", "o", 1],
    ],
)
def test_what_is_no_sample_is_refused(record: Any) -> None:
    with pytest.raises(Malformed):
        checked(record)


@pytest.mark.parametrize("stamp", [NOW - PAST - 1, NOW + FUTURE + 1, 0, -1, 10**30])
def test_a_stamp_far_away_is_refused(stamp: int) -> None:
    with pytest.raises(Malformed, match="too far"):
        line("n1", Sample(stamp, "p", "c", "o", 1), NOW)


def test_of_a_batch_the_good_samples_are_kept() -> None:
    batch = json.dumps({"host": "n1", "samples": [GOOD, [*GOOD[:3], "a\nb", 1], GOOD]}).encode()
    good, bad = lines(batch, NOW)
    assert (
        good
        == [f"latency,component=client,host=n1,operation=echo,pattern=tcp_echo ms=1.5 {NOW}"] * 2
    )
    assert len(bad) == 1


@given(st.binary())
def test_garbage_is_no_batch_and_no_datagram(data: bytes) -> None:
    with pytest.raises(Malformed):
        lines(data, NOW)
    with pytest.raises(Malformed):
        datagram(data)


@pytest.mark.parametrize(
    "batch",
    [
        {"host": "n1", "samples": []},
        {"host": "n1", "samples": [GOOD] * (BATCH_MOST + 1)},
        {"host": "n1", "samples": {}},
        {"host": "n1"},
        {"host": "n1", "samples": [GOOD], "more": 1},
    ],
)
def test_a_batch_has_its_form(batch: Any) -> None:
    with pytest.raises(Malformed):
        lines(json.dumps(batch).encode(), NOW)


def test_a_deep_nest_is_malformed() -> None:
    with pytest.raises(Malformed):
        lines(b"[" * 100_000, NOW)


def test_a_datagram_has_a_sample_and_what_was_dropped_before_it() -> None:
    sample, lost = datagram(json.dumps([*GOOD, 3]).encode())
    assert (sample, lost) == (Sample(*GOOD), Sample(NOW, "tcp_echo", "client", None, 3.0))
    assert datagram(json.dumps([*GOOD, 0]).encode())[1] is None
    assert datagram(json.dumps([NOW, "p", "c", None, None, 2]).encode())[0] is None
    assert lost is not None
    assert (
        line("n1", lost, NOW) == f"dropped,component=client,host=n1,pattern=tcp_echo count=3i {NOW}"
    )


def test_what_is_encoded_is_read_again() -> None:
    good, bad = lines(encode("n1", [Sample(*GOOD)]), NOW)
    assert (len(good), bad) == (1, [])


def test_a_selection_quotes_what_it_is_given() -> None:
    assert select("ms", "latency", a="x' OR 'y'='y") == (
        "SELECT ms FROM latency WHERE a = 'x\\' OR \\'y\\'=\\'y'"
    )
    assert select("ms", "latency", a="\\'") == "SELECT ms FROM latency WHERE a = '\\\\\\''"


@given(st.lists(st.tuples(st.integers(-5, 100), st.integers(0, 100))))
def test_no_stamp_is_given_twice(wishes: list[tuple[int, int]]) -> None:
    stamps = Stamps()
    given_ = [stamps.give(wished, now) for wished, now in wishes]
    assert given_ == sorted(set(given_))
    assert Stamps(7).give(3, 100) == 8
    assert Stamps(7).give(50, 100) == 50
    assert Stamps(7).give(200, 100) == 100


@given(st.sets(st.integers(0, 40)))
def test_ranges_hold_their_numbers(numbers: set[int]) -> None:
    held = [n for first, last in ranges(list(numbers)) for n in range(first, last + 1)]
    assert held == sorted(numbers)


# The window


@given(st.integers(0, 10**6), st.integers(1, 30))
def test_every_batch_is_settled_once_over_a_network_that_loses_and_repeats(
    seed: int, count: int
) -> None:
    rng = random.Random(seed)
    window, now, put = Window(size=4), 0.0, 0
    kept: set[int] = set()
    settled: list[int] = []
    answers: list[tuple[int, Answer]] = []
    while len(settled) < count:
        now += rng.random()
        while window.open and put < count:
            put += 1
            window.put(put, b"", now)
        for number, _ in window.due(now):
            if rng.random() < 0.3:
                continue  # lost on its way
            full = rng.random() < 0.3
            if not full:
                kept.add(number)
            answers += [(number, Answer.FULL if full else Answer.KEPT)] * rng.choice((0, 1, 2))
        rng.shuffle(answers)
        while answers and rng.random() < 0.8:
            number, answer = answers.pop()
            if window.answered(number, answer, now):
                settled.append(number)
        assert put - len(settled) <= 4
    assert sorted(settled) == list(range(1, count + 1))
    assert set(settled) <= kept
    assert window.empty


def test_what_was_only_refused_was_not_kept() -> None:
    window = Window()
    window.put(1, b"", 0)
    window.put(2, b"", 0)
    assert [number for number, _ in window.due(0)] == [1, 2]
    assert not window.answered(1, Answer.FULL, 0)
    assert dict(window.left()) == {1: False, 2: True}
    assert window.wait(0) == pytest.approx(0.25)
    window.unsent(2, 0)
    assert dict(window.left()) == {1: False, 2: False}


# The claims


def batch(name: str, first: int, last: int, op: str = "a#1") -> dict[str, Any]:
    return {"event": name, "f": "publish", "op": op, "value": [first, last], "source": "a", "t": 1}


def has(points: int, *parts: list[int]) -> dict[str, Any]:
    return {"event": "stored", "source": "a", "points": points, "has": list(parts), "t": 2}


SENT = [batch("invoke", 0, 9), batch("ok", 0, 9), batch("invoke", 10, 19, "a#2")]


def judged(finding: Finding, holds: bool | None, detail: str) -> None:
    assert finding.holds is holds
    assert detail in finding.detail
    assert finding.witness or holds is not False


def test_what_was_acknowledged_must_be_there() -> None:
    judged(nothing_lost([*SENT, has(10, [0, 9])]), True, "10 samples")
    judged(nothing_lost([*SENT, has(9, [0, 8])]), False, "1 acknowledged")
    judged(nothing_lost([*SENT]), None, "nobody looked")
    judged(nothing_lost([has(0)]), None, "nothing was")


def test_each_sample_is_counted_once() -> None:
    twice = [batch("invoke", 0, 9, "a#3")]
    judged(counted_once([*SENT, *twice, has(20, [0, 19])]), True, "10 were sent twice")
    judged(counted_once([*SENT, has(21, [0, 19])]), False, "21 points")
    judged(counted_once([*SENT, has(21, [0, 20])]), False, "never sent")
    judged(counted_once([*SENT]), None, "no sample")


def test_all_that_was_sent_is_counted() -> None:
    judged(all_arrived([*SENT, has(20, [0, 19])]), True, "20 samples")
    judged(all_arrived([*SENT, has(10, [0, 9])]), False, "sent 20")
    judged(all_arrived([*SENT]), None, "nobody looked")
    judged(all_arrived([]), None, "nothing was sent")


def test_a_refusal_is_told() -> None:
    full = {"event": "full", "batches": 3, "t": 1}
    judged(refusal_is_told([*SENT, full, has(10, [0, 9])]), True, "3 batches")
    judged(refusal_is_told([*SENT, full, has(1, [0, 0])]), False, "acknowledged")
    judged(refusal_is_told(SENT), None, "room")


def test_drops_are_counted() -> None:
    summary = {"event": "summary", "taken": 7, "dropped": 3, "t": 1}
    judged(drops_are_counted(summary, 7, 3), True, "3 dropped and 3 told")
    judged(drops_are_counted(summary, 7, 2), False, "3 dropped and 2 told")

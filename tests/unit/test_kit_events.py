"""Events: one line of strict JSON each, bounded where a peer brings them about, and counted."""

from __future__ import annotations

import io
import itertools
import json
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.kit import events as kit
from tests.loopback import Record

steps = st.lists(st.tuples(st.floats(-1, 3), st.integers(1, 12)), max_size=20)


def strict(line: str) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    event = json.loads(line, parse_constant=refuse)
    assert isinstance(event, dict)
    return event


@given(steps)
def test_the_rate_is_bounded_and_what_is_left_out_is_counted(
    steps: list[tuple[float, int]],
) -> None:
    rate, burst, now = 2.0, 5.0, 1000.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kit, "TRACE_RATE", rate)
        patch.setattr(kit, "TRACE_BURST", burst)
        record = Record(clock=lambda: now)
        said = 0
        written: list[float] = []
        passed = 0.0
        for step, count in steps:
            now += step
            passed += max(0.0, step)
            for _ in range(count):
                record.events.recv(str(said), "n2")
                said += 1
            written = [e["t"] for e in record.seen("recv")]
            assert len(written) <= burst + rate * passed
        record.events.emit("end")
    left_out = sum(e["events"] for e in record.seen("left_out"))
    assert len(written) + left_out == said
    assert record.seen()[-1]["event"] == "end"


def test_what_is_written_under_load_are_whole_stretches() -> None:
    now = 0.0
    record = Record(clock=lambda: now)
    asked = int(4 * kit.TRACE_BURST)
    for number in range(asked):
        now += 0.5 / kit.TRACE_RATE
        record.events.send(str(number), "n2")
    told = [e["event"] for e in record.seen()]
    stretches = [len(list(group)) for event, group in itertools.groupby(told) if event == "send"]
    assert len(stretches) > 2
    assert all(length >= kit.TRACE_STRETCH * kit.TRACE_BURST for length in stretches[:-1])


def test_what_is_left_out_stands_where_it_was_left_out() -> None:
    record = Record(clock=lambda: 0.0)
    for number in range(int(kit.TRACE_BURST) + 3):
        record.events.send(str(number), "n2")
    record.events.emit("important")
    record.events.emit("also")
    assert [(e["event"], e.get("events")) for e in record.seen()[-3:]] == [
        ("left_out", 3),
        ("important", None),
        ("also", None),
    ]


def test_what_is_told_together_is_written_as_one_and_others_do_not_wait_for_it() -> None:
    out = Pieces()
    events = kit.Events("pattern", "server", "n1", out=out)
    with events.together():
        events.emit("one")
        events.recv("m1", "n2")
        other = threading.Thread(target=events.emit, args=("other",))
        other.start()
        other.join()
        events.send("m2", "n2")
    events.emit("after")
    told = [[json.loads(line)["event"] for line in piece.splitlines()] for piece in out.pieces]
    assert told == [["other"], ["one", "recv", "send"], ["after"]]
    with pytest.raises(RuntimeError), events.together(), events.together():
        pass


def test_no_kind_of_events_uses_up_what_another_may_say() -> None:
    record = Record(clock=lambda: 0.0)
    for number in range(int(kit.TRACE_BURST) + 3):
        record.events.recv(str(number), "n2")
        record.events.bounded("stored", length=number)
    record.events.bounded("malformed", peer="n2")
    record.events.emit("important")
    told = [(e["event"], e.get("events"), e.get("of")) for e in record.seen()[-4:]]
    assert told == [
        ("left_out", 3, "message"),
        ("left_out", 3, "stored"),
        ("malformed", None, None),
        ("important", None, None),
    ]


def test_what_is_left_out_is_not_told_before_each_event_of_another_kind() -> None:
    now = 0.0
    record = Record(clock=lambda: now)
    for number in range(int(kit.TRACE_BURST)):
        record.events.recv(str(number), "n2")
    times = 3000
    for number in range(times):
        now += 4 * kit.TOLD / times
        record.events.recv(f"more {number}", "n2")
        record.events.bounded("stored", length=number)
    record.events.emit("end")
    told = [e["events"] for e in record.seen("left_out")]
    assert sum(told) + len(record.seen("recv")) == kit.TRACE_BURST + times
    assert 3 <= len(told) <= 7
    assert len(record.seen("stored")) == times


class Pieces(io.StringIO):
    """Keeps what is written, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, piece: str) -> int:
        self.pieces.append(piece)
        return len(piece)


class Stubborn:
    def __str__(self) -> str:
        raise ValueError("no")


def circle() -> list[Any]:
    around: list[Any] = []
    around.append(around)
    return around


def deep() -> list[Any]:
    inner: list[Any] = []
    for _ in range(2 * sys.getrecursionlimit()):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"\xff", "b'\\xff'"),
        (Path("/x"), "/x"),
        (OSError(2, "gone"), "[Errno 2] gone"),
        ((1, 2), [1, 2]),
        ({1: {2: 3}}, {"1": {"2": 3}}),
        ("\udcff\n", "\udcff\n"),
        (float("nan"), "nan"),
        ([float("inf")], "[inf]"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (circle(), None),
        (1 << 20000, "<int>"),
        (Stubborn(), None),
        (deep(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_has_no_word_for_is_written_as_text(value: Any, written: Any) -> None:
    record = Record()
    record.events.emit("odd", value=value, other="kept")
    (line,) = record.out.getvalue().splitlines()
    event = strict(line)
    assert (event["event"], event["node"], event["other"]) == ("odd", "n1", "kept")
    assert written is None or event["value"] == written


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.binary() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.tuples(st.integers()), inner),
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["id", "peer", "value"]), anything))
def test_every_event_is_one_line_of_strict_json(fields: dict[str, Any]) -> None:
    record = Record()
    record.events.emit("any", **fields)
    (line,) = record.out.getvalue().splitlines()
    assert set(strict(line)) == {"event", "pattern", "component", "node", "t", *fields}


def test_threads_do_not_mix_their_lines() -> None:
    record = Record()

    def write(name: str) -> None:
        for number in range(200):
            record.events.emit("e", by=name, number=number, filler="x" * 100)

    threads = [threading.Thread(target=write, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = record.seen("e")
    for n in range(4):
        assert [e["number"] for e in seen if e["by"] == str(n)] == list(range(200))


def test_a_person_gets_words_and_a_program_events() -> None:
    person, program = Record(text=True), Record()
    for record in (person, program):
        record.events.say("hello")
        record.events.emit("greeted")
        record.events.send("1", "n2")
    assert person.out.getvalue() == "hello\n"
    assert [e["event"] for e in program.seen()] == ["greeted", "send"]

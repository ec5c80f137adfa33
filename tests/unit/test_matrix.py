"""The matrix' arithmetic, on histories made by hand; its cells, its words, its page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.claims import Event, Finding
from apps.kit.faults import from_json
from lab.errors import LabError
from lab.evidence.matrix import faults, page
from lab.evidence.matrix.availability import FLOOR, Availability, measure
from lab.evidence.matrix.cell import WORDS, Cell, judged
from lab.evidence.matrix.play import Matrix, stored
from lab.evidence.verdict import Verdict
from lab.faults.aims import NAMES, Aims

AIMS = Aims([("n1", "tcp_echo_server")], ("n1", "n2", "n3"), frozenset({"n2", "n3"}))
QUICK = 0.01


class Story:
    """A history, told operation by operation; times in seconds."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def op(self, start: float, lasts: float | None = QUICK, outcome: str = "ok") -> Story:
        """Tell of an operation; of one that nobody knows the end of, if it lasts None."""
        op = f"op{len(self.events)}"
        self._add("invoke", start, op=op, f="echo", value="x", node="n2")
        if lasts is not None:
            self._add(outcome, start + lasts, op=op, f="echo", value="x", node="n2")
        return self

    def ops(self, start: float, end: float, every: float = 0.1) -> Story:
        """Tell of quick operations that went well."""
        count = round((end - start) / every)
        for number in range(count):
            self.op(start + number * every)
        return self

    def fault(self, t: float, heal: float | None = None, took: float | None = None) -> Story:
        """Tell of a fault, which took at once or then, and its end if it has one."""
        self._add("inject", t, id="f1", took=t if took is None else took)
        if heal is not None:
            self._add("heal", heal, id="f1")
        return self

    @property
    def history(self) -> list[Event]:
        return sorted(self.events, key=lambda event: event["t"])

    def _add(self, event: str, t: float, **more: Any) -> None:
        self.events.append({"event": event, "t": t, **more})


def measured(story: Story) -> Availability:
    found = measure(story.history)
    assert found is not None
    return found


def test_without_an_operation_there_is_nothing_to_measure() -> None:
    assert measure([]) is None
    assert measure(Story().fault(1, 2).history) is None


def test_what_nobody_noticed() -> None:
    found = measured(Story().ops(0, 10).fault(3, 5))
    assert (found.disturbed, found.unavailable, found.recovered) == (0, 0.0, 0.0)
    assert found.asked == 70


def test_an_outage_lasts_until_the_first_answer() -> None:
    story = Story().ops(0, 3).fault(3, 5)
    story.op(3.0, 1.0, "unknown").op(4.1, 0.2, "fail").op(4.5, 1.5)
    found = measured(story.ops(6.1, 8))
    assert found.unavailable == pytest.approx(3.0)
    assert found.disturbed == 3
    assert found.recovered == pytest.approx(1.0)


def test_what_was_open_at_the_injection_counts_from_then_on() -> None:
    story = Story().ops(0, 2.9).op(2.9, 1.1).fault(3, 5).ops(5.5, 8)
    found = measured(story)
    assert found.unavailable == pytest.approx(1.0)
    assert (found.disturbed, found.recovered) == (1, 0.0)


def test_while_nobody_asks_nobody_misses_anything() -> None:
    story = Story().ops(0, 3).fault(3, 4).ops(3, 4).ops(7, 8)
    assert measured(story).unavailable == 0.0


def test_a_refusal_is_no_answer_and_the_time_after_it_counts() -> None:
    story = Story().ops(0, 3).fault(3, 4).op(3, QUICK, "fail").op(5, QUICK)
    assert measured(story).unavailable == pytest.approx(2 + QUICK)


def test_an_outage_without_an_end_lasts_as_long_as_somebody_asks() -> None:
    story = Story().ops(0, 3).fault(3, 4)
    for start in (3, 4, 5):
        story.op(start, 0.9, "unknown")
    found = measured(story)
    assert found.unavailable == pytest.approx(2.9)
    assert found.recovered is None


def test_a_client_that_never_told_the_end_has_disturbed_an_operation() -> None:
    found = measured(Story().ops(0, 3).fault(3, 4).op(3.5, None).ops(3.6, 6))
    assert (found.disturbed, found.unavailable, found.recovered) == (1, 0.0, 0.0)


def test_a_slow_workload_is_not_called_slower_than_it_was() -> None:
    story = Story()
    for number in range(5):
        story.op(number, 1.0)
    found = measured(story.fault(5, 7).op(5, 1.9).op(7, 1.0))
    assert (found.disturbed, found.unavailable) == (0, 0.0)


def test_what_is_asked_after_the_workload_shows_that_it_recovered() -> None:
    story = Story().ops(0, 3).fault(3, 4).op(3.5, 1, "unknown").op(8, 1)
    late = measure(story.history, 4.0)
    assert late is not None
    assert (late.asked, late.disturbed) == (1, 1)
    assert late.recovered == pytest.approx(0.5)
    assert late.unavailable == pytest.approx(1.0)


def test_a_moment_is_its_own_end() -> None:
    found = measured(Story().ops(0, 3).fault(3).op(3, 1.5).ops(5, 6))
    assert found.recovered == pytest.approx(1.5)


def test_without_a_fault_only_failures_disturb() -> None:
    found = measured(Story().ops(0, 1).op(1, 5.0).op(6.2, 0.1, "fail").ops(7, 8))
    assert (found.asked, found.disturbed, found.unavailable) == (22, 1, 0.0)


@given(st.data())
def test_what_is_measured_fits_the_history(data: st.DataObject) -> None:
    times = st.floats(0, 100)
    story = Story()
    outcomes = st.sampled_from(("ok", "fail", "unknown"))
    for start, lasts, outcome in data.draw(
        st.lists(st.tuples(times, st.floats(0, 10) | st.none(), outcomes), min_size=1)
    ):
        story.op(start, lasts, outcome)
    begin, length = data.draw(times), data.draw(st.floats(0, 10))
    found = measured(story.fault(begin, begin + length))
    assert 0 <= found.disturbed <= found.asked
    assert found.unavailable == 0 or FLOOR < found.unavailable <= 110
    assert found.recovered is None or found.recovered >= 0
    assert found.disturbed or found.recovered == 0


def verdict(*, holds: bool | None, kind: str = "promised") -> Verdict:
    return Verdict.of("tcp_echo", "all is well", kind, Finding(holds, "seen"))


@pytest.mark.parametrize(
    ("holds", "story", "figures", "word"),
    [
        (True, Story().ops(0, 9).fault(3, 5), {}, "holds"),
        (True, Story().ops(0, 3).fault(3, 5).op(3, 2).ops(5, 9), {}, "degraded"),
        (True, Story(), {"lost": 3}, "degraded"),
        (True, Story(), {"lost": 0, "duplicated": 1}, "degraded"),
        (True, Story(), {"sent": 7}, "holds"),
        (None, Story().ops(0, 9).fault(3, 5), {}, "unknown"),
        (False, Story().ops(0, 9).fault(3, 5), {}, "violated"),
    ],
)
def test_a_cell_has_the_word_for_it(
    *, holds: bool | None, story: Story, figures: Mapping[str, float], word: str
) -> None:
    verdicts = [verdict(holds=True), verdict(holds=holds), verdict(holds=None, kind="limit")]
    cell = judged(Cell("tcp_echo", "kill", run="here"), verdicts, story.history, figures)
    assert cell.word == word
    assert cell.run == "here"
    assert bool(cell.why) is (word in {"violated", "unknown"} or "disturbed" in cell.why)
    assert Cell.from_json(json.loads(json.dumps(cell.as_json()))) == cell


def test_a_cell_that_promised_nothing_is_unknown() -> None:
    cell = judged(Cell("tcp_echo", "kill"), [], [], {})
    assert (cell.word, cell.why) == ("unknown", "nothing was promised")


def test_a_fault_that_took_when_all_was_over_shows_nothing() -> None:
    late = (
        Story().ops(0, 4).fault(3, took=5).op(5.5)
    )  # the last is asked to see whether all is well
    cell = judged(Cell("p", "kill"), [verdict(holds=True)], late.history, {}, 2)
    assert (cell.word, "when the workload was over" in cell.why) == ("unknown", True)
    within = Story().ops(0, 5.1).fault(3, took=5)
    assert judged(Cell("p", "kill"), [verdict(holds=True)], within.history, {}, 2).word == "holds"


def test_a_cell_says_its_figures() -> None:
    cell = Cell("p", "kill", "degraded", "", Availability(9, 3, 1.25, 0.5), 4, 2)
    told = ["unavailable 1.2 s", "recovered in 0.5 s", "lost 4", "duplicated 2"]
    assert cell.figures == told
    never = Cell("p", "kill", "degraded", "", Availability(9, 3, 1.25, None))
    assert never.figures == ["unavailable 1.2 s", "not recovered"]
    assert Cell("p", "none", "holds", "", Availability(9, 0, 0.0, 0.0)).figures == []


def test_every_fault_has_a_column_that_heals_before_the_workload_ends() -> None:
    assert list(faults.COLUMNS) == list(NAMES)
    for name in NAMES:
        schedule = faults.schedule(name, AIMS, 7)
        (planned,) = schedule.planned
        assert planned.fault.word == NAMES[name]
        assert from_json(planned.fault.as_json()) == planned.fault
        assert planned.at >= faults.WARM
        assert schedule.seconds >= planned.end + faults.AFTER
        assert schedule == faults.schedule(name, AIMS, 7)
    assert not faults.schedule(faults.NONE, AIMS, 7).planned


def test_faults_are_named_with_the_baseline_first() -> None:
    assert faults.named("") == ["none", *NAMES]
    assert faults.named("pause,kill") == ["none", "kill", "pause"]
    assert faults.named("none") == ["none"]
    assert faults.named("none,disk") == ["none", "disk_full", "disk_slow"]
    with pytest.raises(LabError):
        faults.named("flood")


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    path = tmp_path / "20261121T063010Z-matrix"
    path.mkdir()
    cells = [
        Cell("tcp_echo", "none", "holds", run="tcp_echo-none"),
        Cell("tcp_echo", "kill", "degraded", "<b>3</b>", Availability(9, 3, 1.25, None), 4),
        Cell("tcp_echo", "reset", "senseless", "it has no connections"),
    ]
    names = ["none", "kill", "pause", "reset"]
    return Matrix(path, 7, 2.0, "inventory/local", ["tcp_echo"], names, "interrupted", 12.5, cells)


def test_a_matrix_is_read_back_as_it_was(matrix: Matrix) -> None:
    matrix.write()
    back = stored(matrix.path)
    assert back.as_json() == matrix.as_json()
    assert back.words == ["holds", "degraded", "missing", "senseless"]
    assert not back.cell("tcp_echo", "pause").played
    assert back.cell("tcp_echo", "reset").played


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": "finished"}'])
def test_what_is_no_matrix_is_said_so(matrix: Matrix, text: str) -> None:
    (matrix.path / "matrix.json").write_text(text)
    with pytest.raises(LabError, match="holds no matrix"):
        stored(matrix.path)


def test_the_page_shows_every_cell_and_loads_nothing(matrix: Matrix) -> None:
    text = page.render(matrix)
    assert 'href="tcp_echo-none/report.html"' in text
    assert "unavailable 1.2 s" in text
    assert "not recovered" in text
    assert "it has no connections" in text
    assert "fab matrix --resume 20261121T063010Z-matrix" in text
    assert "<b>3</b>" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "<script" not in text


def test_every_word_is_explained_on_the_page() -> None:
    explained = page.meanings()
    assert set(explained) >= {*WORDS} - {"senseless", "missing"}
    assert set(explained) >= {"unavailable", "recovered", "lost", "duplicated"}
    assert str(FLOOR) in explained["unavailable"]

"""Samples that a run has kept: read whatever is in them, drawn, and shown on its page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evidence.report import build
from lab.evidence.samples import FILE, Row, kept
from lab.evidence.sketch import draw
from tests.stored_runs import EVENT, stored_run

ROW: dict[str, Any] = {
    "pattern": "tcp_echo",
    "component": "client",
    "operation": "<echo> & co",
    "host": "n2",
    "count": 500,
    "p50": 1.5,
    "p90": 2.5,
    "p99": 10.0,
    "max": 12.25,
    "points": [[1, 1.5]],
}


def keep(home: Path, *series: Any) -> None:
    (home / FILE).write_text(json.dumps({"unit": "ms", "series": series}))


def test_what_was_kept_is_read(tmp_path: Path) -> None:
    assert kept(tmp_path) == []
    keep(tmp_path, ROW, {**ROW, "count": None}, {"pattern": "tcp_echo"}, 7)
    (row,) = kept(tmp_path)
    assert row == Row("tcp_echo", "client", "<echo> & co", "n2", 500, 1.5, 2.5, 10.0, 12.25)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"series": 3}', "[" * 100_000, "\x00"])
def test_what_is_damaged_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert kept(tmp_path) == []


@given(st.lists(st.tuples(st.text(max_size=60), st.floats(0, 1e9)), max_size=5))
def test_any_rows_can_be_drawn(rows: list[tuple[str, float]]) -> None:
    made = [Row("p", "c", name, "n1", 3, ms, ms, ms, ms) for name, ms in rows]
    whole = draw(made, whole=True)
    if not re.search(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", whole):
        assert len(ET.fromstring(whole).findall(".//{*}circle")) == 2 * len(made)


def test_the_page_shows_them(tmp_path: Path) -> None:
    path = stored_run(tmp_path, "20261121T000000Z-x", history={"tcp_echo": [EVENT]})
    assert "Samples" not in build(path).read_text()
    keep(path / "tcp_echo", ROW)
    page = build(path).read_text()
    assert "<h3>Samples</h3>" in page
    assert "&lt;echo&gt; &amp; co" in page
    assert "<echo>" not in page
    assert "12.250" in page

"""Who held what, as the page draws it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from lab.evidence.report.spans import draw, rows
from lab.evidence.report.spells import Spell


def event(name: str, t: float, node: str, **fields: Any) -> dict[str, Any]:
    return {"event": name, "component": "node", "node": node, "t": t, **fields}


STORY = [
    event("believes", 1.0, "n2", fence=7),
    event("accepted", 2.0, "hub", holder="n2", fence=7),
    event("believes", 3.0, "n1", fence=9),
    event("ready", 3.5, "n3"),
    event("refused", 4.0, "hub", holder="n2", fence=7),
    event("believes_no_more", 4.5, "n2", fence=7),
    event("accepted", 5.0, "hub", holder="n1", fence=9),
]


def test_a_span_goes_from_what_begins_it_to_what_ends_it() -> None:
    first, second = rows(STORY)
    assert (first.node, first.spans) == ("n1", [(3.0, 5.0, "believes under 9")])
    assert (second.node, second.spans) == ("n2", [(1.0, 4.5, "believes under 7")])
    assert [mark[:2] for mark in second.marks] == [(2.0, "accepted"), (4.0, "refused")]


def test_who_begins_anew_holds_nothing() -> None:
    (row,) = rows([STORY[0], event("ready", 2.0, "n2"), event("send", 9.0, "n2")])
    assert row.spans == [(1.0, 2.0, "believes under 7")]


def test_where_nobody_holds_anything_nothing_is_drawn() -> None:
    assert draw([], []) == ""
    assert draw([STORY[1], STORY[3]], []) == ""


def test_the_picture_is_whole_and_escapes_what_peers_said() -> None:
    evil = event("accepted", 4.7, "hub", holder='<script a="b">', fence=8)
    cut = Spell("f1", "pause", "pause <n2>", ("n2", "n9"), "", 2.5, 4.0)
    picture = ET.fromstring(draw([*STORY, evil], [cut]))
    names = {element.tag.rpartition("}")[2] for element in picture.iter()}
    assert names == {"svg", "title", "text", "rect", "path"}
    titles = [element.text for element in picture.iter() if element.tag.endswith("title")]
    assert "pause <n2>" in titles
    assert "believes under 7, 3.500 s" in titles

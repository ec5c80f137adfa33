"""What nodes held for a time, drawn: who believed to lead, who was inside, and what was granted.

A span goes from an event to the one that ends it, on one node; a process that begins anew holds
nothing any more. An `accepted` or `refused` event marks the row of its `holder`. So the picture
shows at once whether two held at the same time, and whether that was allowed to matter. Faults lie
behind as bands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from apps.kit.claims import Event
from lab.evidence.report.spells import Spell

ENDS: Mapping[str, frozenset[str]] = {
    "believes": frozenset({"believes_no_more", "ready"}),
    "enter": frozenset({"exit", "ready"}),
}
"""What begins a span, and what ends it."""
MARKS = ("accepted", "refused")
_MOST = 400
"""Spans and marks of one row that are drawn: more are a blur."""
_NAMES, _PANEL, _LINE, _TOP = 120, 900, 30, 26
_WIDTH = _NAMES + _PANEL + 20


@dataclass(slots=True)
class Row:
    """One node."""

    node: str
    spans: list[tuple[float, float, str]] = field(default_factory=list)
    """Since, until (unix seconds), and what was held."""
    marks: list[tuple[float, str, str]] = field(default_factory=list)
    """When, which of `MARKS`, and the text of it."""


def rows(events: Sequence[Event]) -> list[Row]:
    """Give the nodes that held something, in the order of their names; `events` are in time."""
    found: dict[str, Row] = {}
    open_: dict[tuple[str, str, str], Event] = {}
    for event in events:
        node, kind = str(event["node"]), str(event["event"])
        for begun, ends in ENDS.items():
            key = (node, str(event["component"]), begun)
            if kind in ends or kind == begun:
                _close(found, open_.pop(key, None), float(event["t"]))
            if kind == begun:
                open_[key] = event
        if kind in MARKS and "holder" in event:
            row = found.setdefault(str(event["holder"]), Row(str(event["holder"])))
            row.marks.append((float(event["t"]), kind, _told(event)))
    last = float(events[-1]["t"]) if events else 0.0
    for event in open_.values():
        _close(found, event, last)
    held = [row for row in found.values() if row.spans]
    return sorted(found.values(), key=lambda row: row.node) if held else []


def draw(events: Sequence[Event], spells: Iterable[Spell]) -> str:
    """Give the picture as SVG; nothing if nobody held anything."""
    drawn = rows(events)
    if not drawn:
        return ""
    began, ended = float(events[0]["t"]), float(events[-1]["t"])
    scale = _PANEL / max(ended - began, 1e-6)

    def x(t: float) -> float:
        return _NAMES + (min(max(t, began), ended) - began) * scale

    places = {row.node: _TOP + _LINE * i for i, row in enumerate(drawn)}
    parts = [
        _text(_NAMES, 12, f"0 to {ended - began:.1f} s; a bar holds, | was accepted, X refused")
    ]
    parts += [
        _band(x(spell.since), x(spell.until or spell.since), places[host], spell)
        for spell in spells
        for host in spell.hosts
        if host in places
    ]
    for row in drawn:
        parts += _row(row, places[row.node], x)
    height = _TOP + _LINE * len(drawn) + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" font-family="system-ui, sans-serif" '
        'font-size="12"><title>Who held, and who was accepted</title>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _close(found: dict[str, Row], begun: Event | None, until: float) -> None:
    if begun is not None:
        row = found.setdefault(str(begun["node"]), Row(str(begun["node"])))
        row.spans.append((float(begun["t"]), until, _told(begun)))


def _told(event: Event) -> str:
    fence = f" under {event['fence']}" if "fence" in event else ""
    return f"{event['event']}{fence}"


def _row(row: Row, top: float, x: Callable[[float], float]) -> list[str]:
    middle = top + _LINE / 2
    parts = [_text(_NAMES - 10, middle + 4, row.node, anchor="end")]
    for since, until, told in row.spans[:_MOST]:
        wide = max(x(until) - x(since), 1.5)
        place = f'x="{x(since):.1f}" y="{middle - 5:.1f}" width="{wide:.1f}" height="10"'
        title = f"<title>{escape(told)}, {until - since:.3f} s</title>"
        parts.append(f'<rect {place} fill="currentColor" fill-opacity="0.35">{title}</rect>')
    for at, kind, told in row.marks[:: max(1, len(row.marks) // _MOST)]:
        parts.append(_mark(x(at), middle, kind, told))
    return parts


def _mark(x: float, y: float, kind: str, told: str) -> str:
    path = f"M{x:.1f} {y - 9:.1f}v18"
    if kind == "refused":
        path = f"M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10"
    wide = 2 if kind == "refused" else 0.7
    title = f"<title>{escape(told)}</title>"
    return (
        f'<path d="{path}" fill="none" stroke="currentColor" stroke-width="{wide}">{title}</path>'
    )


def _band(since: float, until: float, top: float, spell: Spell) -> str:
    place = (
        f'x="{since:.1f}" y="{top + 1}" width="{max(until - since, 2):.1f}" height="{_LINE - 2}"'
    )
    title = f"<title>{escape(spell.what)}</title>"
    return f'<rect {place} fill="#e69f00" fill-opacity="0.3">{title}</rect>'


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="currentColor">{escape(text)}</text>'

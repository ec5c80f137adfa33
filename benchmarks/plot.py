"""The comparison of remote calls, drawn: docs/remote-calls.svg, and its page with the table.

Two panels on logarithmic scales, a row for each style: calls a second, and the milliseconds that
half of the calls and all but one in a hundred took. The floor stands under each in grey. Colours
are those of Okabe and Ito, told apart without colour, too: the floor is the small one below; filled
is the middle, hollow the tail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks import report
from benchmarks.figures import Figure, number
from lab.catalogue import ROOT
from lab.hosts.state import write_atomically

PAGE = ROOT / "docs" / "remote-calls.md"
PLOT = ROOT / "docs" / "remote-calls.svg"

_OURS, _FLOOR, _INK, _FAINT = "#0072b2", "#8a8a8a", "#222", "#ddd"
_ROW, _TOP, _NAMES, _PANEL, _GAP = 52, 64, 120, 330, 80
_WIDTH = _NAMES + 2 * _PANEL + _GAP + 30


def publish(circumstances: Mapping[str, str], figures: Sequence[Figure]) -> None:
    """Draw the figures of `calls`, and put their table into the page."""
    found = [figure for figure in figures if figure.part == "calls"]
    draw(found, PLOT)
    report.write(circumstances, found, PAGE)


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Write the plot of some patterns' rate, p50 and p99, the fastest first."""
    by_name: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        name, _, what = figure.what.partition(", ")
        by_name.setdefault(name, {})[what] = figure
    rows = sorted(by_name.items(), key=lambda row: -row[1]["rate"].value)
    height = _TOP + _ROW * len(rows) + 44
    rates = _Scale.over([f for _, row in rows for f in (row["rate"],)], _NAMES)
    times = _Scale.over([f for _, r in rows for f in (r["p50"], r["p99"])], _NAMES + _PANEL + _GAP)
    parts = [*_legend(), *rates.axis("calls a second", height), *times.axis("ms a call", height)]
    for place, (name, row) in enumerate(rows):
        y = _TOP + _ROW * place
        parts.append(_text(_NAMES - 12, y + 19, name, anchor="end", weight=600))
        parts += _rates(rates, y, row["rate"])
        parts += _spans(times, y, row["p50"], row["p99"])
    body = "\n".join(parts)
    told = ", ".join(f"{name} {number(row['rate'].value)} a second" for name, row in rows)
    write_atomically(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13">\n<title>Remote calls: '
        f'{escape(told)}</title>\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n',
    )


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis from one power of ten to another."""

    low: int
    high: int
    left: float

    @classmethod
    def over(cls, figures: Sequence[Figure], left: float) -> _Scale:
        """Give the scale that holds these and their peers."""
        values = [figure.value for figure in figures]
        values += [figure.peer.value for figure in figures if figure.peer]
        seen = [value for value in values if value > 0] or [1.0]
        low, high = math.floor(math.log10(min(seen))), math.ceil(math.log10(max(seen)))
        return cls(low, max(high, low + 1), left)

    def at(self, value: float) -> float:
        """Give where a value lies."""
        share = (math.log10(max(value, 10**self.low)) - self.low) / (self.high - self.low)
        return self.left + share * _PANEL

    def axis(self, title: str, height: float) -> list[str]:
        """Draw its lines, its numbers and its title."""
        parts = [_text(self.left, _TOP - 16, title, weight=600)]
        for power in range(self.low, self.high + 1):
            x = self.at(10.0**power)
            parts.append(_line(x, _TOP - 8, x, height - 36, ink=_FAINT))
            parts.append(_text(x, height - 18, number(10.0**power), anchor="middle"))
        return parts


def _rates(scale: _Scale, y: float, rate: Figure) -> list[str]:
    rows = [(rate.value, y + 14, 5.5, 13, _OURS)]
    rows += [(rate.peer.value, y + 30, 4.0, 11, _FLOOR)] if rate.peer else []
    parts = []
    for value, at, radius, size, colour in rows:
        x = scale.at(value)
        parts.append(_line(scale.left, at, x, at, ink=_FAINT, wide=1.5))
        parts.append(_dot(x, at, radius, colour, colour))
        parts.append(_text(x + radius + 5, at + size / 3, number(value), size=size))
    return parts


def _spans(scale: _Scale, y: float, p50: Figure, p99: Figure) -> list[str]:
    rows = [(p50.value, p99.value, y + 14, 5.5, _OURS)]
    if p50.peer and p99.peer:
        rows.append((p50.peer.value, p99.peer.value, y + 30, 4.0, _FLOOR))
    parts = []
    for middle, tail, at, radius, colour in rows:
        parts.append(_line(scale.at(middle), at, scale.at(tail), at, ink=colour, wide=2))
        parts.append(_dot(scale.at(middle), at, radius, colour, colour))
        parts.append(_dot(scale.at(tail), at, radius, "#fff", colour))
    return parts


def _legend() -> list[str]:
    x, y = _NAMES + 6, 20
    return [
        _dot(x, y - 4, 5.5, _OURS, _OURS),
        _text(x + 12, y, "the pattern, as deployed"),
        _dot(x + 200, y - 4, 4, _FLOOR, _FLOOR),
        _text(x + 212, y, "what it stands on, bare"),
        _dot(x + _PANEL + _GAP, y - 4, 5, _INK, _INK),
        _text(x + _PANEL + _GAP + 12, y, "half of the calls"),
        _dot(x + _PANEL + _GAP + 150, y - 4, 5, "#fff", _INK),
        _text(x + _PANEL + _GAP + 162, y, "99 of 100"),
    ]


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    weight: int = 400,
    ink: str = _INK,
    size: int = 13,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'font-size="{size}" fill="{ink}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, *, ink: str, wide: float = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{ink}" stroke-width="{wide}"/>'
    )


def _dot(x: float, y: float, radius: float, fill: str, edge: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{edge}" '
        f'stroke-width="2"/>'
    )

"""Latencies drawn: a row for each series, its quantiles on a logarithmic scale, as SVG.

A dot is the median, a ring p99, a bar the span between them with p90 on it, a tick the maximum:
told apart by their form, so that no colour is needed. Ink is the surroundings' own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from lab.evidence.samples import Row

_NAMES, _PANEL, _RIGHT, _LINE, _TOP = 260, 420, 150, 24, 40
_WIDTH = _NAMES + _PANEL + _RIGHT
_LEAST, _MOST = 1e-6, 1e9
"""Milliseconds that the scale may begin and end with."""


def draw(rows: Sequence[Row], *, whole: bool = False) -> str:
    """Give the picture of some rows; `whole` names each row's pattern, and has a white ground."""
    low, high = _powers(rows)
    height = _TOP + _LINE * len(rows) + 8

    def at(ms: float) -> float:
        share = (math.log10(min(max(ms, 10.0**low), 10.0**high)) - low) / (high - low)
        return _NAMES + share * _PANEL

    parts = [_text(_NAMES, 14, "ms; ● half, ○ 99 of 100, | all of the operations")]
    for power in range(low, high + 1):
        x = at(10.0**power)
        parts.append(_line(x, _TOP - 10, x, height - 8, faint=True))
        parts.append(_text(x, _TOP - 14, f"{10.0**power:g}", anchor="middle"))
    for place, row in enumerate(rows):
        y = _TOP + _LINE * place + 8
        name = f"{row.pattern} {row.name}" if whole else row.name
        parts.append(_text(_NAMES - 10, y + 4, _short(name), anchor="end"))
        parts += [
            _line(at(row.p50), y, at(row.p99), y, wide=2),
            _line(at(row.p99), y, at(row.max), y),
        ]
        parts += [
            _line(at(x), y - half, at(x), y + half) for x, half in ((row.p90, 3), (row.max, 5))
        ]
        parts += [_dot(at(row.p50), y, filled=True), _dot(at(row.p99), y, filled=False)]
        told = f"{row.p50:.3g} · {row.p99:.3g} ms of {row.count}"
        parts.append(_text(_NAMES + _PANEL + 12, y + 4, told))
    ground = '<rect width="100%" height="100%" fill="#fff"/>' if whole else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" color="{"#222" if whole else "inherit"}" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>Latency of each operation'
        f"</title>{ground}\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _powers(rows: Sequence[Row]) -> tuple[int, int]:
    """Give the powers of ten that hold all of them."""
    seen = [min(max(ms, _LEAST), _MOST) for row in rows for ms in (row.p50, row.max)] or [1.0]
    low, high = math.floor(math.log10(min(seen))), math.ceil(math.log10(max(seen)))
    return low, max(high, low + 1)


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="currentColor">{escape(text)}</text>'


def _line(
    x1: float, y1: float, x2: float, y2: float, *, wide: float = 1, faint: bool = False
) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    strength = ' stroke-opacity="0.2"' if faint else ""
    return f'<line {ends} stroke="currentColor" stroke-width="{wide}"{strength}/>'


def _dot(x: float, y: float, *, filled: bool) -> str:
    fill = "currentColor" if filled else "none"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="currentColor" '
        'stroke-width="1.5"/>'
    )

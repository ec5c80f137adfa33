"""A timeline packed for the page: columns instead of records, compressed, and safe in HTML.

One column holds one field of all events, so its values resemble each other, and gzip (which
browsers undo by themselves) makes little of them. The other fields of an event are a row of its
shape's table; a shape is the names of its fields. A field with the value that the event's cause
has, such as a message's id at its arrival, is `^name` in the shape, and has no column.

Base64 has no character that HTML knows, so whatever a peer has sent cannot end the element.
"""

from __future__ import annotations

import base64
import gzip
import json
from itertools import pairwise
from typing import Any

from apps.kit.claims import Event
from lab.evidence.report.spells import Spell
from lab.evidence.report.timeline import SENDINGS, Timeline

OWN = frozenset({"event", "pattern", "component", "node", "t"})
"""The fields that every event has; the others are its row."""
LONGEST = 2000
"""Characters of a value that the page shows."""


def pack(pattern: str, timeline: Timeline, spells: list[Spell]) -> str:
    """Give a pattern's history as the text that `static/history.js` unpacks."""
    events = timeline.events
    began = float(events[0]["t"]) if events else 0.0
    ticks = [round((float(event["t"]) - began) * 1e6) for event in events]
    names = _numbered([event["event"] for event in events])
    table = _Table(timeline)
    packed = {
        "began": began,
        "lanes": [[lane.host, lane.node, lane.component] for lane in timeline.lanes],
        "names": list(names),
        "sendings": [number for name, number in names.items() if name in SENDINGS],
        # Microseconds since the event before, and events back to the cause (0: none).
        "t": [ticks[0], *(b - a for a, b in pairwise(ticks))] if ticks else [],
        "lane": timeline.lane,
        "name": [names[event["event"]] for event in events],
        "cause": [i - cause if cause >= 0 else 0 for i, cause in enumerate(timeline.cause)],
        "lost": [list(timeline.lost), list(timeline.lost.values())],
        "shapes": [list(shape) for shape in table.shapes],
        "shape": table.shape,
        "columns": table.columns,
        "faults": [_fault(spell, pattern, timeline, began) for spell in spells],
    }
    text = json.dumps(packed, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


class _Table:
    """The rows of the events, by shape."""

    def __init__(self, timeline: Timeline) -> None:
        self.shapes: dict[tuple[str, ...], int] = {}
        self.shape: list[int] = []
        """The shape of each event."""
        self.columns: list[list[list[str]]] = []
        """The columns of each shape."""
        for event, cause in zip(timeline.events, timeline.cause, strict=True):
            self._add(event, timeline.events[cause] if cause >= 0 else {})

    def _add(self, event: Event, cause: Event) -> None:
        names, values = [], []
        for name, value in event.items():
            if name in OWN:
                continue
            if name in cause and cause[name] == value:
                names.append(f"^{name}")
            else:
                names.append(f"={name}")
                values.append(shown(value))
        number = self.shapes.setdefault(tuple(names), len(self.shapes))
        if number == len(self.columns):
            self.columns.append([[] for _ in values])
        self.shape.append(number)
        for column, value in zip(self.columns[number], values, strict=True):
            column.append(value)


def shown(value: Any) -> str:
    """Give a value as the page shows it: a text as it is, anything else as JSON."""
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except RecursionError:
        text = "(nested too deeply)"
    if len(text) > LONGEST:
        return f"{text[:LONGEST]}… ({len(text) - LONGEST} characters more)"
    return text


def _numbered(values: list[str]) -> dict[str, int]:
    return {value: number for number, value in enumerate(dict.fromkeys(values))}


def _fault(spell: Spell, pattern: str, timeline: Timeline, began: float) -> dict[str, Any]:
    return {
        "kind": spell.kind,
        "what": shown(spell.what),
        "lanes": spell.lanes(timeline.lanes, pattern),
        "since": round(spell.since - began, 6),
        "until": None if spell.until is None else round(spell.until - began, 6),
    }

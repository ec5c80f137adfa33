"""The page's text and frame: what, verdicts, faults; and the scripts, styles and data within it.

Everything is escaped by the template. The page's policy admits its own script and style, by their
hashes, and nothing else: no network, no frame, no form.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from apps.kit.claims import Event
from lab.evidence.report import spans
from lab.evidence.report.bundle import STATIC, bundle
from lab.evidence.report.columns import OWN, pack, shown
from lab.evidence.report.excerpts import Journals
from lab.evidence.report.spells import spells
from lab.evidence.report.timeline import Timeline, in_time
from lab.evidence.samples import kept
from lab.evidence.sketch import draw
from lab.evidence.stored import StoredRun
from lab.evidence.verdict import Verdict

_HERE = Path(__file__).parent
_WORST_FIRST = ("violated", "unknown", "shown", "holds")
_SIGNS = {"violated": "✕", "unknown": "?", "shown": "◆", "holds": "✓"}
WITNESSES = 30
"""Witnessing events that a verdict lists; the diagram shows them all."""


def render(run: StoredRun) -> str:
    """Give the page of a run."""
    hosts = run.manifest.get("hosts")
    addresses = {str(k): str(v) for k, v in hosts.items()} if isinstance(hosts, dict) else {}
    sections = {pattern: Section(run, pattern, addresses) for pattern in run.patterns}
    rows = [_row(verdict, sections.get(verdict.pattern)) for verdict in run.verdicts]
    style, script = (STATIC / "page.css").read_text(), bundle("page.js")
    template = _environment().get_template("page.html.j2")
    return template.render(
        run=run,
        replay=f"fab run-demo --replay {run.reference}",
        hosts=addresses,
        rows=sorted(rows, key=lambda row: _WORST_FIRST.index(row["verdict"].verdict)),
        sections=list(sections.values()),
        policy=_policy(style, script),
        style=style,
        script=script,
    )


class Section:
    """One pattern's part of the page."""

    def __init__(self, run: StoredRun, pattern: str, hosts: Mapping[str, str]) -> None:
        """`hosts` goes from the lab's host names to their addresses."""
        history, self.unreadable = run.history(pattern)
        events = in_time(history)
        self.pattern = pattern
        self.home = run.path / pattern
        self.timeline = Timeline(events, hosts)
        self.began = float(events[0]["t"]) if events else 0.0
        self.spells = spells(events, float(events[-1]["t"]) if events else 0.0)
        self.left_out = sum(
            event["events"]
            for event in events
            if event["event"] == "left_out" and isinstance(event.get("events"), int)
        )
        figures = run.manifest.get("figures")
        mine = figures.get(pattern) if isinstance(figures, dict) else None
        self.figures = mine if isinstance(mine, dict) else {}
        self.samples = kept(self.home)
        self.data = pack(pattern, self.timeline, self.spells)

    @property
    def held(self) -> Markup:
        """Who held what, drawn; nothing if nobody did."""
        return Markup(spans.draw(self.timeline.events, self.spells))  # noqa: S704  it escapes too

    @property
    def latencies(self) -> Markup:
        """Its samples, drawn."""
        return Markup(draw(self.samples))  # noqa: S704  it escapes what it writes

    @property
    def files(self) -> list[str]:
        """What the run has kept of it, by path from the run's directory."""
        found = (f for f in self.home.rglob("*") if f.is_file() and not f.is_symlink())
        return sorted(str(file.relative_to(self.home.parent)) for file in found)

    @cached_property
    def journals(self) -> Journals:
        """What its hosts' journals say."""
        return Journals.read(self.home / "journals")


def _row(verdict: Verdict, section: Section | None) -> dict[str, Any]:
    """Give a verdict with all that its row shows."""
    witness = in_time(verdict.witness)
    listed = witness[:WITNESSES]
    near = section.journals.around(listed) if section and verdict.verdict != "holds" else []
    return {
        "verdict": verdict,
        "section": section,
        "witness": [(event, _rest(event)) for event in listed],
        "more": len(witness) - len(listed),
        "places": " ".join(map(str, section.timeline.find(witness))) if section else "",
        "near": near,
    }


def _rest(event: Event) -> str:
    return "  ".join(f"{name}={shown(value)}" for name, value in event.items() if name not in OWN)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"time": _time, "offset": _offset, "seconds": _seconds, "shown": shown}
    environment.globals["signs"] = _SIGNS
    return environment


def _time(t: float) -> str:
    """Give a time of day, UTC."""
    try:
        return f"{datetime.fromtimestamp(t, UTC):%H:%M:%S.%f}"
    except (OverflowError, ValueError, OSError):  # no clock means it
        return "no time"


def _offset(t: float, began: float) -> str:
    """Give a time as seconds since the first event."""
    return f"{t - began:+.6f}"


def _seconds(seconds: float) -> str:
    """Give a length of time."""
    return f"{seconds:.3g} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"

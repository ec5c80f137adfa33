"""Two runs side by side: the same seed, the same faults, the same verdicts, or not.

Faults are compared one by one in the order in which they were planned: what, where, how strong and
how long, but not when. Verdicts are compared by their words; what was seen differs from run to run.
Figures are shown side by side and judged by nobody.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

from apps.kit.claims import Event
from apps.kit.faults import BadFault, Kill, from_json
from lab.evidence.figures import figures
from lab.evidence.stored import StoredRun

_ACTIONS = ("lab_stop", "lab_restart")


@dataclass(frozen=True)
class Row:
    """One thing as it is in either run; None where it is not."""

    pattern: str
    what: str
    a: str | None
    b: str | None
    seen: tuple[str, str] = ("", "")
    """What a verdict says was seen."""

    @property
    def same(self) -> bool:
        """Whether it is the same in both."""
        return self.a == self.b

    def __str__(self) -> str:
        where = f"{self.pattern}: " if self.pattern else ""
        return f"{where}{self.what}: {_said(self.a)}, then {_said(self.b)}"


@dataclass(frozen=True)
class Figure:
    """A number of either run; None where there is none."""

    pattern: str
    name: str
    a: float | None
    b: float | None

    @property
    def change(self) -> float | None:
        """The second as a multiple of the first, less 1: 0.5 is half as much again."""
        if self.a is None or self.b is None or not self.a:
            return None
        return self.b / self.a - 1


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common, and what not."""

    a: StoredRun
    b: StoredRun

    @cached_property
    def circumstances(self) -> tuple[Row, ...]:
        """Seed, lab and versions."""
        first, second = (_circumstances(run) for run in (self.a, self.b))
        return tuple(Row("", k, first.get(k), second.get(k)) for k in _both(first, second))

    @cached_property
    def verdicts(self) -> tuple[Row, ...]:
        """Verdict by verdict."""
        a, b = _verdicts(self.a), _verdicts(self.b)
        rows = []
        for key in _both(a, b):
            (one, saw), (other, then) = a.get(key, (None, "")), b.get(key, (None, ""))
            pattern, claim, _ = key
            rows.append(Row(pattern, claim, one, other, (saw, then)))
        return tuple(rows)

    @cached_property
    def faults(self) -> tuple[Row, ...]:
        """Injected fault by injected fault, then what else the demo did to units."""
        rows: list[Row] = []
        for pattern in self.patterns:
            a, b = faults(self._history(self.a, pattern)), faults(self._history(self.b, pattern))
            rows += [Row(pattern, f"fault {n}", x, y) for n, (x, y) in enumerate(_aligned(a, b), 1)]
        return tuple(rows)

    @cached_property
    def schedules(self) -> tuple[Row, ...]:
        """The schedules that were to be played."""
        pairs = [(p, self.a.schedule(p), self.b.schedule(p)) for p in self.patterns]
        return tuple(
            Row(p, "schedule", a, b) for p, a, b in pairs if a is not None or b is not None
        )

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """Figures and latencies side by side, but those that are zero in both."""
        found = [Figure("", "seconds", self.a.seconds, self.b.seconds)]
        for pattern in self.patterns:
            a, b = self._figures(self.a, pattern), self._figures(self.b, pattern)
            names = [name for name in _both(a, b) if a.get(name) or b.get(name)]
            found += [Figure(pattern, name, a.get(name), b.get(name)) for name in names]
        return tuple(found)

    @property
    def same_seed(self) -> bool:
        """Whether all that is random was drawn alike."""
        return self.a.seed == self.b.seed and self.a.seed is not None

    @property
    def same_schedule(self) -> bool:
        """Whether the same faults were planned and injected."""
        return all(row.same for row in (*self.schedules, *self.faults))

    @property
    def same_verdicts(self) -> bool:
        """Whether each claim has the same verdict, and there is one at all."""
        return all(row.same for row in self.verdicts) and bool(self.verdicts)

    @property
    def differences(self) -> list[str]:
        """What differs, line by line; figures always do."""
        rows = (*self.circumstances, *self.faults, *self.verdicts)
        schedules = [f"{row.pattern}: another schedule" for row in self.schedules if not row.same]
        return [*schedules, *(str(row) for row in rows if not row.same)]

    def __str__(self) -> str:
        schedule = self.schedules or self.faults
        return ", ".join(
            [
                "the same seed" if self.same_seed else "another seed",
                _alike("schedule", self.same_schedule) if schedule else "no faults",
                _alike("verdicts", self.same_verdicts) if self.verdicts else "no verdicts",
            ]
        )

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return {
            "a": self.a.as_json(),
            "b": self.b.as_json(),
            "same": {
                "seed": self.same_seed,
                "schedule": self.same_schedule,
                "verdicts": self.same_verdicts,
            },
            "circumstances": [_row(row) for row in self.circumstances],
            "schedules": [_row(row) for row in self.schedules],
            "faults": [_row(row) for row in self.faults],
            "verdicts": [_row(row) for row in self.verdicts],
            "figures": [asdict(figure) for figure in self.figures],
        }

    @property
    def patterns(self) -> list[str]:
        """The patterns of either."""
        return _both(self.a.patterns, self.b.patterns)

    @cached_property
    def _histories(self) -> dict[tuple[str, str], list[Event]]:
        return {}

    def _history(self, run: StoredRun, pattern: str) -> list[Event]:
        key = (str(run.path), pattern)
        if key not in self._histories:
            self._histories[key] = run.history(pattern)[0]
        return self._histories[key]

    def _figures(self, run: StoredRun, pattern: str) -> dict[str, float]:
        return figures(self._history(run, pattern)) | run.figures(pattern)


def faults(history: Iterable[Event]) -> list[str]:
    """Give the faults of a history as a person says them, in the order of the plan."""
    events = list(history)
    injected = [event for event in events if event["event"] in {"inject", "lab_kill"}]
    # Faults of one moment are injected side by side: their numbers have the plan's order.
    injected.sort(key=_number)
    done = [event for event in events if event["event"] in _ACTIONS]
    return [*map(_fault, injected), *map(_action, done)]


def _number(event: Event) -> int:
    found = re.fullmatch(r"f(\d{1,9})", str(event.get("id")))
    return int(found[1]) if found else 0


def _fault(event: Event) -> str:
    if event["event"] == "lab_kill":  # as earlier runs have it
        host, unit = str(event.get("node")), f"{event.get('pattern')}_{event.get('component')}"
        return str(Kill(host, unit))
    fault, seconds = event.get("fault"), event.get("seconds")
    try:
        known = from_json(fault if isinstance(fault, dict) else {})
    except BadFault:
        return json.dumps(fault, sort_keys=True)
    lasting = known.lasts and isinstance(seconds, int | float)
    return f"{known} for {seconds:g} s" if lasting else str(known)


def _action(event: Event) -> str:
    word = event["event"].removeprefix("lab_")
    return f"{word} {event.get('component')} on {event.get('node')}"


def _circumstances(run: StoredRun) -> dict[str, str | None]:
    where = {key: _text(run.manifest.get(key)) for key in ("inventory", "lab", "hosts")}
    played = {"seed": _text(run.seed), "patterns": ", ".join(run.patterns)}
    return {**played, **where, **run.versions}


def _verdicts(run: StoredRun) -> dict[tuple[str, str, int], tuple[str, str]]:
    """Give each claim's word and what was seen; a claim that is made twice counts as two."""
    times: Counter[tuple[str, str]] = Counter()
    found = {}
    for verdict in run.verdicts:
        claim = (verdict.pattern, verdict.claim)
        times[claim] += 1
        found[*claim, times[claim]] = (verdict.verdict, verdict.detail)
    return found


def _aligned(a: Sequence[str], b: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Pair two sequences, those that both have beside each other."""
    pairs: list[tuple[str | None, str | None]] = []
    for what, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        left: list[str | None] = [*a[i1:i2]]
        right: list[str | None] = [*b[j1:j2]]
        if what == "replace":
            longest = max(len(left), len(right))
            left += [None] * (longest - len(left))
            right += [None] * (longest - len(right))
        pairs += zip(left or [None] * len(right), right or [None] * len(left), strict=True)
    return pairs


def _both(a: Iterable[Any], b: Iterable[Any]) -> list[Any]:
    """Give what either has, once, the first one's order first."""
    return list(dict.fromkeys([*a, *b]))


def _row(row: Row) -> dict[str, Any]:
    return {**asdict(row), "seen": list(row.seen), "same": row.same}


def _text(value: Any) -> str | None:
    match value:
        case None | str():
            return value
        case dict():
            return ", ".join(f"{key} {member}" for key, member in value.items())
        case _:
            return json.dumps(value)


def _alike(what: str, same: bool) -> str:  # noqa: FBT001  it is what the sentence is about
    return f"the same {what}" if same else f"not the same {what}"


def _said(value: str | None) -> str:
    return "not there" if value is None else value

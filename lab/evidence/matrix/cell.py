"""A cell of the matrix: what came of one workload under one fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from apps.kit.claims import History
from lab.evidence.matrix.availability import Availability, befell, measure
from lab.evidence.runs import HELD, VIOLATED, exit_status
from lab.evidence.verdict import Verdict

WORDS = ("violated", "unknown", "degraded", "holds", "senseless", "missing")
"""What may stand in a cell, the worst first; `missing` was not played, or not to its end."""
_SHORT = 0.05
"""Seconds that are not worth telling."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One workload under one fault."""

    pattern: str
    fault: str
    word: str = "missing"
    """One of WORDS."""
    why: str = ""
    """Which claim is violated or unknown, or why the cell makes no sense."""
    availability: Availability | None = None
    lost: float = 0
    duplicated: float = 0
    run: str = ""
    """The directory of its run, in that of the matrix."""

    @property
    def played(self) -> bool:
        """Whether nothing is left to do."""
        return self.word != "missing"

    @property
    def figures(self) -> list[str]:
        """What stands beside the word, in a few words each."""
        told = []
        if self.availability is not None:
            a = self.availability
            told += [f"unavailable {a.unavailable:.1f} s"] if a.unavailable else []
            if a.disturbed and a.recovered is None:
                told.append("not recovered")
            elif a.disturbed and a.recovered and a.recovered >= _SHORT:
                told.append(f"recovered in {a.recovered:.1f} s")
        told += [f"lost {self.lost:g}"] if self.lost else []
        return told + ([f"duplicated {self.duplicated:g}"] if self.duplicated else [])

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave."""
        availability = record["availability"]
        return cls(
            **{
                **record,
                "availability": None if availability is None else Availability(**availability),
            }
        )


def judged(
    cell: Cell,
    verdicts: Sequence[Verdict],
    history: History,
    figures: Mapping[str, float],
    seconds: float = float("inf"),
) -> Cell:
    """Give a missing cell as it is now that it was played; see `measure` for `seconds`."""
    availability = measure(history, seconds)
    lost, duplicated = figures.get("lost", 0), figures.get("duplicated", 0)
    word, why = _word(verdicts, availability, noticed=bool(lost or duplicated))
    if word in {"degraded", "holds"} and not befell(history, seconds):
        word, why = "unknown", "the fault took when the workload was over: the machine is busy"
    return replace(
        cell, word=word, why=why, availability=availability, lost=lost, duplicated=duplicated
    )


def _word(
    verdicts: Sequence[Verdict], availability: Availability | None, *, noticed: bool
) -> tuple[str, str]:
    status = exit_status(verdicts)
    if status != HELD:
        wanted = "violated" if status == VIOLATED else "unknown"
        bad = [v for v in verdicts if v.kind == "promised" and v.verdict == wanted]
        return wanted, "; ".join(f"{v.claim}: {v.detail}" for v in bad) or "nothing was promised"
    if availability is not None and availability.disturbed:
        share = f"{availability.disturbed} of {availability.asked} operations were disturbed"
        return "degraded", share
    return ("degraded" if noticed else "holds"), ""

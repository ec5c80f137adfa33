"""A claim of a demo, and what came of it."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, Self

from apps.kit.claims import Event, Finding

_WORDS = {
    "promised": {True: "holds", False: "violated", None: "unknown"},
    "limit": {True: "shown", False: "unknown", None: "unknown"},
}
WORDS = ("violated", "unknown", "holds", "shown")
"""What a verdict can be, what matters most first."""


@dataclass(frozen=True)
class Verdict:
    """A claim, and what came of it."""

    pattern: str
    claim: str
    kind: str
    """`promised` or `limit`."""
    verdict: str
    """`holds`, `violated` or `unknown`; for a limit `shown` or `unknown`."""
    detail: str
    witness: tuple[Event, ...]

    @classmethod
    def of(cls, pattern: str, claim: str, kind: str, finding: Finding) -> Self:
        """Give the verdict that follows from a finding, for a claim of this kind."""
        word = _WORDS[kind][finding.holds]
        return cls(pattern, claim, kind, word, finding.detail, tuple(finding.witness))

    @classmethod
    def from_json(cls, record: Any) -> Self:
        """Read what `as_json` gave; ValueError if it is something else."""
        match record:
            case {
                "pattern": str(pattern),
                "claim": str(claim),
                "kind": str(kind),
                "verdict": str(verdict),
                "detail": str(detail),
                "witness": [*witness],
            } if verdict in _WORDS.get(kind, {}).values():
                events = tuple(filter(is_event, witness))
                return cls(pattern, claim, kind, verdict, detail, events)
        raise ValueError(f"it is no verdict: {reprlib.repr(record)}")

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return {
            "pattern": self.pattern,
            "claim": self.claim,
            "kind": self.kind,
            "verdict": self.verdict,
            "detail": self.detail,
            "witness": list(self.witness),
        }


def is_event(value: Any) -> bool:
    """Tell whether what was read from a file is an event, with its name and its time."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("event"), str)
        and isinstance(value.get("t"), int | float)
    )

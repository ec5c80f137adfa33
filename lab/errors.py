"""What the lab says when something is wrong: the fault, and what to do about it."""

from __future__ import annotations


class LabError(Exception):
    """An error for a person: what was wrong and where, then what to do.

    Verbs print it without a traceback and end with exit status 2.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        """`what` was wrong and where; `fix` is the next thing to try."""
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  -> {self.fix}" if self.fix else self.what

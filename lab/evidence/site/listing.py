"""Which runs the list shows, in which order: what the address asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from lab.evidence.store import Wanted
from lab.evidence.stored import StoredRun
from lab.evidence.verdict import WORDS

MOST = 200
"""Runs on a page, unless all are asked for."""
_FILTERS = ("only", "verdict", "state", "text")


def _worst(run: StoredRun) -> tuple[int, ...]:
    return tuple(run.counts.get(word, 0) for word in WORDS)


ORDERS: Mapping[str, Callable[[StoredRun], Any]] = {
    "when": lambda run: run.name,
    "what": lambda run: run.what,
    "verdicts": _worst,
    "seed": lambda run: -1 if run.seed is None else run.seed,
    "took": lambda run: run.seconds or 0.0,
    "state": lambda run: run.state,
}
"""By what runs can be sorted."""
_ASCENDING = ("what", "state")
"""What is read from its small end first; of all else the newest, the worst, the longest is."""


class Listing:
    """The runs that are shown, and the addresses of the same list in other orders."""

    def __init__(self, asked: Mapping[str, str], runs: Sequence[StoredRun]) -> None:
        """`asked` are the address's parameters; those that mean nothing are left out."""
        self.asked = {name: asked.get(name, "") for name in _FILTERS}
        sort = asked.get("sort", "")
        self.sort = sort.removeprefix("-") if sort.removeprefix("-") in ORDERS else "when"
        self.turned = sort.startswith("-")
        self.patterns = sorted({pattern for run in runs for pattern in run.patterns})
        self.total = len(runs)
        only, *rest = self.asked.values()
        wanted = Wanted([only] if only else [], *rest)
        found = [run for run in runs if wanted.has(run)]
        found.sort(key=ORDERS[self.sort], reverse=(self.sort in _ASCENDING) == self.turned)
        self.found = len(found)
        self.runs = found if "all" in asked else found[:MOST]

    @property
    def filtered(self) -> bool:
        """Whether anything is asked of the runs."""
        return any(self.asked.values())

    @property
    def hidden(self) -> int:
        """How many more there are."""
        return self.found - len(self.runs)

    def sorted_by(self, order: str) -> str:
        """Give the address of the list in this order; turned round if it has it already."""
        turn = order == self.sort and not self.turned
        return self._address(sort=f"-{order}" if turn else order)

    @property
    def whole(self) -> str:
        """The address of the list with no end."""
        return self._address(sort=f"-{self.sort}" if self.turned else self.sort, all="yes")

    def _address(self, **more: str) -> str:
        asked = {name: value for name, value in self.asked.items() if value}
        return f"/?{urlencode(asked | more)}"

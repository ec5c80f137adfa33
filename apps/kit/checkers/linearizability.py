"""Linearizability: an order in which one client alone would have been told the same.

An operation takes effect at one moment between its invocation and its end (Herlihy and Wing 1990).
One of unknown outcome takes effect at any moment after its invocation, or never; a failed one did
not. Keys are searched one by one (Horn and Kroening, "Faster linearizability checking via
P-compositionality", 2015); see `search` for how, `models` for what is compared with.

Finding an order is NP-complete, so there is a budget of steps; beyond it the finding is None.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import cast

from apps.kit.checkers.search import MakeModel, Search
from apps.kit.checkers.shrinking import Shrinking
from apps.kit.claims import Event, Finding
from apps.kit.history import Operation, frozen, operations

BUDGET = 500_000
"""Steps that are taken for one key: some seconds, and at most a few hundred megabytes."""


def linearizable(
    run: Iterable[Event] | Iterable[Operation],
    model: MakeModel,
    *,
    skew: float = 0.0,
    budget: int = BUDGET,
) -> Finding:
    """Every key's operations can be put in an order that explains all that was answered.

    `run` is a history, or `operations` made of one where keys or names have to be told. `model` is
    a class of `models`, or a partial of one. `skew` is by how much the clients' clocks may differ
    (see `apps.kit.history`). The witness of a violation is a part of it that has no order either.
    """
    asked = told = 0
    unexplored: list[str] = []
    keys = _by_key(run, skew)
    for key, found in keys.items():
        asked += len(found)
        told += sum(op.outcome == "ok" for op in found)
        search = Search(found, model, budget)
        if search.holds is None:
            unexplored.append(f"{_of(key)}{len(found)} operations")
        elif not search.holds:
            small = Shrinking(model, budget // 2).smallest(found, search.stuck)
            core = sum(op.outcome == "ok" for op in small)
            what = f"{_of(key)}no order explains the answers of {core} of {len(found)} operations"
            return Finding(False, what, _events(small))
    if unexplored:
        return Finding(None, f"unknown: no order was found in {budget} steps for {unexplored[0]}")
    if not told:
        return Finding(None, "no operation succeeded")
    on = f" on {len(keys)} keys" if len(keys) > 1 else ""
    return Finding(
        True, f"{asked} operations{on}, {asked - told} of unknown outcome: an order explains all"
    )


def _by_key(
    run: Iterable[Event] | Iterable[Operation], skew: float
) -> dict[Hashable, list[Operation]]:
    """Give what is to be explained of each key, in the order of invocation, values frozen."""
    entries = list(run)
    made = bool(entries) and isinstance(entries[0], Operation)
    found = cast("list[Operation]", entries) if made else operations(cast("list[Event]", entries))
    keys: dict[Hashable, list[Operation]] = {}
    for op in sorted(found, key=lambda op: op.start):
        if op.outcome != "fail":
            plain = replace(op, value=frozen(op.value), result=frozen(op.result), end=op.end + skew)
            keys.setdefault(op.key, []).append(plain)
    return keys


def _of(key: Hashable) -> str:
    return "" if key is None else f"key {key}: "


def _events(small: Iterable[Operation]) -> tuple[Event, ...]:
    return tuple(sorted((e for op in small for e in op.events), key=lambda event: event["t"]))

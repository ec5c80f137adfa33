"""Histories for the tests of checkers: written by hand, briefly, and changed for the worse."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from apps.kit.checkers.linearizability import _by_key
from apps.kit.checkers.search import MakeModel
from apps.kit.claims import Event
from apps.kit.history import Operation

PATTERN = {"pattern": "test", "component": "client"}


def op(
    f: str, value: Any, start: float, end: float, result: Any = None, *, outcome: str = "ok"
) -> list[Event]:
    """An operation of a client of its own."""
    name = f"{f}-{value}-{start}-{end}-{result}"
    common = {**PATTERN, "node": "c", "op": name, "f": f}
    return [
        {"event": "invoke", **common, "t": start, "value": value},
        {"event": outcome, **common, "t": end, "value": result},
    ]


def merged(*operations: list[Event]) -> list[Event]:
    """The history of some operations."""
    return sorted(itertools.chain(*operations), key=lambda event: event["t"])


def event(name: str, node: str, /, t: float = 0.0, **fields: Any) -> Event:
    """Any event."""
    return {"event": name, "pattern": "test", "component": "node", "node": node, "t": t, **fields}


def brute_force(history: Iterable[Event], model: MakeModel) -> bool:
    """Try all orders of all choices of the unknown operations; the definition, word for word."""
    return all(_explained(found, model) for found in _by_key(history, 0.0).values())


def _explained(found: Sequence[Operation], model: MakeModel) -> bool:
    made = model(found)
    done = [op for op in found if op.outcome == "ok"]
    unknown = [op for op in found if op.outcome == "unknown"]
    choices = itertools.chain.from_iterable(
        itertools.combinations(unknown, size) for size in range(len(unknown) + 1)
    )
    orders = (order for more in choices for order in itertools.permutations([*done, *more]))
    return any(_respects_time(order) and _runs(order, made) for order in orders)


def _respects_time(order: Sequence[Operation]) -> bool:
    return not any(b.end < a.start for a, b in itertools.combinations(order, 2))


def _runs(order: Sequence[Operation], model: Any) -> bool:
    states = {model.initial}
    for op in order:
        states = {new for state in states for new in model.step(state, op)}
    return bool(states)

"""What is claimed of SOAP calls, over their history and the shop's own list of orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from apps.kit.checkers.outcomes import outcomes_are_true
from apps.kit.claims import Finding, History
from apps.kit.history import operations
from apps.soap.shop import price


def orders_are_true(history: History, kept: Iterable[Mapping[str, Any]]) -> Finding:
    """Every client was told the truth of each order, and each was taken once."""
    events = [
        {**event, "value": _without_total(event["value"])} if event.get("f") == "order" else event
        for event in history
    ]
    return outcomes_are_true(events, "order", map(_without_total, kept))


def answers_are_right(history: History) -> Finding:
    """Every sum, price and total, of whatever caller, is that of its own question."""
    checked = 0
    for op in operations(history, {f: f for f in ("add", "quote", "order")}):
        if op.outcome != "ok":
            continue
        match op.f:
            case "add":
                right = op.result == op.value["first"] + op.value["second"]
            case "quote":
                right = Decimal(op.result) == price(op.value["lines"]["OrderLine"])
            case _:
                right = Decimal(op.result["total"]) == price(op.value["lines"])
        if not right:
            return Finding(False, f"{op.f} {op.value} is not {op.result}", op.events)
        checked += 1
    if not checked:
        return Finding(None, "nothing was answered")
    return Finding(True, f"{checked} sums, prices and totals are right")


def _without_total(order: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in order.items() if name != "total"}

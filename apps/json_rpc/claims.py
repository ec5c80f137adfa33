"""What is claimed of JSON-RPC calls, over their history and the bank's own statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apps.json_rpc.examples import EXAMPLES
from apps.json_rpc.methods import OPENING
from apps.kit.claims import Finding, History
from apps.kit.history import operations


def examples_answered(history: History) -> Finding:
    """Every example of the specification was sent, and answered to the letter."""
    seen = [event for event in history if event["event"] == "example"]
    wrong = [event for event in seen if not event["same"]]
    missing = {example.name for example in EXAMPLES} - {event["name"] for event in seen}
    if wrong:
        told = f"{wrong[0]['name']}: {wrong[0]['answered']!r} for {wrong[0]['expected']!r}"
        return Finding(False, told, tuple(wrong[:3]))
    if missing:
        return Finding(None, f"{len(missing)} examples were not sent: {sorted(missing)}")
    return Finding(True, f"{len(seen)} examples were answered as the specification has them")


def money_is_kept(statement: Iterable[Mapping[str, Any]], balances: Mapping[str, int]) -> Finding:
    """What is on each account is what was there at first and what all transfers made of it.

    `statement` is all transfers there ever were.
    """
    expected = dict(OPENING)
    transfers = list(statement)
    for made in transfers:
        expected[made["source"]] -= made["amount"]
        expected[made["target"]] += made["amount"]
    wrong = {name: (balances.get(name), expected[name]) for name in OPENING}
    wrong = {name: pair for name, pair in wrong.items() if pair[0] != pair[1]}
    told = f"{sum(balances.values())} in all after {len(transfers)} transfers, as at first"
    return Finding(not wrong, f"off: {wrong}" if wrong else told)


def answers_are_right(history: History) -> Finding:
    """Every result of `sum` and `subtract`, of whatever caller, is that of its own parameters."""
    checked = 0
    for op in operations(history, {"sum": "sum", "subtract": "subtract"}):
        if op.outcome != "ok" or not isinstance(op.value, list):
            continue
        first, *rest = op.value
        expected = first + sum(rest) if op.f == "sum" else first - sum(rest)
        if op.result != expected:
            return Finding(False, f"{op.f} {op.value} is not {op.result}", op.events)
        checked += 1
    if not checked:
        return Finding(None, "no sum or difference was asked for")
    return Finding(True, f"{checked} sums and differences are right")

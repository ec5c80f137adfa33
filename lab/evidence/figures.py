"""The figures of a history: operations by outcome, their latency, messages, faults."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from apps.kit.claims import Event

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
_OUTCOMES = ("ok", "fail", "unknown")
_COUNTED = {
    "send": "messages sent",
    "recv": "messages received",
    "inject": "faults injected",
    "lab_kill": "faults injected",
}


def figures(history: Iterable[Event]) -> dict[str, float]:
    """Give what can be counted and measured, by name.

    Latencies are in milliseconds, of operations that went well; both of its events are by the
    clock of the client's host. An operation without outcome counts as unknown.
    """
    asked: dict[str, Event] = {}
    outcomes: dict[str, Counter[str]] = {}
    latencies: dict[str, list[float]] = {}
    counted: Counter[str] = Counter()
    for event in history:
        name, op = event["event"], str(event.get("op"))
        if name == "invoke":
            asked[op] = event
        elif name in _OUTCOMES and op in asked:
            begun = asked.pop(op)
            outcomes.setdefault(_f(begun), Counter())[name] += 1
            if name == "ok":
                latencies.setdefault(_f(begun), []).append((event["t"] - begun["t"]) * 1e3)
        elif name in _COUNTED:
            counted[_COUNTED[name]] += 1
    for event in asked.values():
        outcomes.setdefault(_f(event), Counter())["unknown"] += 1
    found: dict[str, float] = {}
    for f in sorted(outcomes):
        found |= {f"{f} {outcome}": outcomes[f][outcome] for outcome in _OUTCOMES}
        found |= {f"{f} {q} ms": ms for q, ms in quantiles(latencies.get(f, [])).items()}
    return found | {name: counted[name] for name in dict.fromkeys(_COUNTED.values())}


def quantiles(values: Sequence[float]) -> Mapping[str, float]:
    """Give the quantiles of some values by nearest rank; none of none."""
    ranked = sorted(values)
    if not ranked:
        return {}
    last = len(ranked) - 1
    return {
        name: round(ranked[min(last, math.ceil(part * len(ranked)) - 1)], 3)
        for name, part in QUANTILES.items()
    }


def _f(event: Event) -> str:
    return str(event.get("f", "operation"))

"""What a server did, held against what its callers were told: for calls that are made at most once.

A server writes an event `executed` for each call that took effect; its field `call` is the caller's
operation. So every word of a caller can be checked: `ok` was executed once, `fail` never, `unknown`
(and what has no outcome) at most once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable

from apps.kit.claims import Event, Finding, History
from apps.kit.faults import injections
from apps.kit.history import left_out, operations

CUT = 1.0
"""Seconds before a cut of power from which a journal may not have kept what was written."""


def executed_as_told(history: History, fs: Container[str]) -> Finding:
    """Every call of these kinds was executed once, never, or perhaps, as its caller was told."""
    events = list(history)
    executed = _executions(events)
    calls = [op for op in operations(events) if op.f in fs]
    for op in calls:
        done = executed[op.op]
        if len(done) > 1:
            return Finding(False, f"{op.op} was executed {len(done)} times", (*op.events, *done))
        if done and op.outcome == "fail":
            return Finding(False, f"{op.op} failed, and was executed", (*op.events, *done))
    cuts = [cut["t"] for cut in injections(events, "power_off")]
    missing = [op for op in calls if op.outcome == "ok" and not executed[op.op]]
    for op in missing:
        if not any(t - CUT <= op.end <= t + CUT for t in cuts):
            if left_out(events):
                return Finding(None, "events were left out, for there were too many", op.events)
            return Finding(False, f"{op.op} was answered, and never executed", op.events)
    told = Counter(op.outcome for op in calls)
    if not told["ok"]:
        return Finding(None, "no call was answered")
    perhaps = sum(bool(executed[op.op]) for op in calls if op.outcome == "unknown")
    lost = f"; {len(missing)} more went with their host's journal" if missing else ""
    return Finding(
        True,
        f"{told['ok'] - len(missing)} answered calls were executed once, "
        f"{told['fail']} failed ones never, {perhaps} of {told['unknown']} unknown ones were{lost}",
    )


def _executions(events: Iterable[Event]) -> defaultdict[str, list[Event]]:
    """Give the executions by the operation that they belong to."""
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["event"] == "executed":
            found[event["call"]].append(event)
    return found


def unknown_calls(history: History, fs: Container[str]) -> Finding:
    """Some call was of unknown outcome; the server's log knows what its caller cannot."""
    events = list(history)
    executed = _executions(events)
    unknown = [op for op in operations(events) if op.f in fs and op.outcome == "unknown"]
    if not unknown:
        return Finding(None, "every outcome was known")
    done = [op for op in unknown if executed[op.op]]
    shown = (done or unknown)[0]
    told = f"{len(unknown)} calls; {len(done)} of them had been executed"
    return Finding(True, told, (*shown.events, *executed[shown.op]))

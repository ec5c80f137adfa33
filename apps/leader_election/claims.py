"""What the election promises, judged by what nodes believed and what the resource took.

Nodes tell `believes` and `believes_no_more`, with the token (`fence`) under which they lead. The
resource tells `accepted` and `refused`, with the token and its holder. Only the resource's account
counts for safety: nobody else can know what order writes had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from apps.kit.checkers import fenced, mutual_exclusion, single_leader
from apps.kit.claims import Event, Finding, History
from apps.kit.history import operations


def fence_holds(history: History) -> Finding:
    """The resource took no token after a higher one, and from nobody but the token's leader."""
    return fenced(history)


def tokens_have_one_leader(history: History) -> Finding:
    """No two nodes ever believed to lead, or wrote, under one token."""
    return single_leader(
        history,
        elected=("believes", "accepted"),
        epoch="fence",
        leader=lambda event: event.get("holder", event["node"]),
    )


def outcomes_are_true(history: History) -> Finding:
    """What a leader was told of a write is what the resource did with it.

    The resource numbers its writes. Journals are read host by host, so what it took before the
    first of its events here, or after the last, is no part of this.
    """
    events = list(history)
    taken = {e["op"]: e for e in events if e["event"] == "accepted"}
    numbers = [e["number"] for e in taken.values()]
    if not numbers:
        return Finding(None, "no write was taken")
    first, last = min(numbers), max(numbers)
    writes = operations(events, {"write": "write"})
    for op in writes:
        if op.outcome == "fail" and op.op in taken:
            return Finding(False, f"{op.op} failed, and was taken", (*op.events, taken[op.op]))
        if op.outcome == "ok" and op.op not in taken and first <= op.result["number"] <= last:
            return Finding(False, f"{op.op} was acknowledged, and never taken", op.events)
    done = sum(op.outcome == "ok" for op in writes)
    unknown = sum(op.outcome == "unknown" for op in writes)
    return Finding(True, f"{done} acknowledged writes were taken; {unknown} are of unknown outcome")


def successions(history: History, faults: Sequence[Event]) -> list[float]:
    """Give how long (seconds) after each fault the resource took the first write of a later token.

    Infinite if it never did.
    """
    taken = sorted((e for e in history if e["event"] == "accepted"), key=lambda e: e["t"])
    found = []
    for fault in faults:
        before = max((e["fence"] for e in taken if e["t"] <= fault["t"]), default=0)
        later = (e["t"] - fault["t"] for e in taken if e["fence"] > before and e["t"] > fault["t"])
        found.append(next(later, math.inf))
    return found


def succeeded_in_time(history: History, faults: Sequence[Event], bound: float) -> Finding:
    """After each of these faults a later leader's write was taken, within the bound (seconds)."""
    took = successions(history, faults)
    if not took:
        return Finding(None, "no leader was harmed")
    late = [fault for fault, seconds in zip(faults, took, strict=True) if seconds > bound]
    told = f"after {', '.join(f'{seconds:.1f}' for seconds in took)} s, of at most {bound:g}"
    return Finding(not late, told, tuple(late or faults[:1]))


def fence_refuses_who_still_believes(history: History) -> Finding:
    """Shown if a node wrote under a token that it had led under, and another had led since."""
    believed = {(e["fence"], e["node"]): e for e in history if e["event"] == "believes"}
    refused = [e for e in history if e["event"] == "refused" and e["fence"] < e["highest"]]
    for event in refused:
        belief = believed.get((event["fence"], event["holder"]))
        if belief is not None:
            told = f"{event['holder']} wrote under {event['fence']} when {event['highest']} led"
            return Finding(True, f"{told}; {len(refused)} such writes, none taken", (belief, event))
    return Finding(None, "nobody wrote under an old token of its own")


def two_believe_at_once(history: History) -> Finding:
    """Shown if two nodes believed to lead at the same time, by their clocks."""
    found = mutual_exclusion(history, enter="believes", leave=("believes_no_more", "ready"))
    told = found.detail.replace("entered", "believed").replace("was inside", "still did")
    return Finding(True if found.holds is False else None, told, found.witness)


def beliefs(history: History) -> str:
    """Tell who believed to lead, from when to when, and whose writes were taken: a timeline."""
    lines = ["time      who       token  what"]
    last: tuple[int, str] | None = None
    count = 0
    events = sorted(history, key=lambda e: e["t"])
    start = events[0]["t"] if events else 0.0
    for event in events:
        at = f"{event['t'] - start:8.3f}"
        match event["event"]:
            case "believes" | "believes_no_more":
                why = f": {event['why']}" if "why" in event else ""
                what = event["event"].replace("_", " ")
                lines.append(f"{at}  {event['node']:8}  {event['fence']}  {what}{why}")
            case "refused":
                lines.append(
                    f"{at}  {event['holder']:8}  {event['fence']}  is refused by the resource"
                )
            case "accepted":
                count += 1
                if last != (event["fence"], event["holder"]):
                    last, count = (event["fence"], event["holder"]), 1
                    lines.append(f"{at}  {event['holder']:8}  {event['fence']}  is accepted")
            case "inject":
                lines.append(f"{at}  {'lab':8}  {event['fault']['fault']} {event['hosts']}")
    return "\n".join([*lines, ""])

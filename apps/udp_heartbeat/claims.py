"""What the failure detectors promise, and where they err, judged over the monitor's transitions.

A suspicion was false if the same incarnation was heard again: the process had been alive all along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from apps.kit.claims import Event, Finding, History
from apps.kit.faults import injections

DETECTORS = ("fixed", "phi")
LATENESS = 0.5
"""Seconds that a busy machine may add to a bound: the monitor's own turn has to come."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A detector suspected a sender, and what came of it."""

    peer: str
    detector: str
    begun: Event
    ended: Event | None
    """When the sender was heard again; None if it was not."""

    @property
    def false(self) -> bool:
        """Whether the process turned out to have lived."""
        return self.ended is not None and self.ended["incarnation"] == self.begun["incarnation"]


def suspicions(history: History, peers: Iterable[str] | None = None) -> list[Suspicion]:
    """Give all suspicions of these senders, or of all, in order."""
    wanted = None if peers is None else set(peers)
    found: list[Suspicion] = []
    open_: dict[tuple[str, str], int] = {}
    for event in history:
        if event["event"] != "transition" or (wanted is not None and event["peer"] not in wanted):
            continue
        key = (event["peer"], event["detector"])
        if event["state"] == "suspected":
            open_[key] = len(found)
            found.append(Suspicion(*key, event, None))
        elif event["state"] == "alive" and key in open_:
            number = open_.pop(key)
            found[number] = Suspicion(*key, found[number].begun, event)
    return found


def suspected_in_time(history: History, peer: str, bounds: Mapping[str, float]) -> Finding:
    """After the sender was killed, each detector suspects it within its bound (seconds)."""
    events = list(history)
    killed = next((e for e in injections(events, "kill") if e["fault"]["host"] == peer), None)
    if killed is None:
        return Finding(None, f"{peer} was not killed")
    after = [s for s in suspicions(events, [peer]) if s.begun["t"] > killed["t"]]
    first = {s.detector: s.begun for s in reversed(after)}
    told = []
    for detector, bound in bounds.items():
        if detector not in first:
            return Finding(False, f"{detector} never suspected {peer}", (killed,))
        silence = first[detector]["silence"]
        if silence > bound + LATENESS:
            what = f"{detector} suspected {peer} after {silence:.2f} s; its bound is {bound:g} s"
            return Finding(False, what, (killed, first[detector]))
        told.append(f"{detector} after {silence:.2f} s of silence (bound {bound:g} s)")
    return Finding(True, f"{peer} was suspected: {', '.join(told)}", (killed, *first.values()))


def healthy_are_trusted(history: History, peers: Sequence[str]) -> Finding:
    """None of these senders, which nothing was done to, is suspected by any detector."""
    events = list(history)
    heard = {e["peer"] for e in events if e["event"] == "transition"} | _heard(events)
    if not heard.intersection(peers):
        return Finding(None, f"none of {', '.join(peers)} was heard")
    wrong = suspicions(events, peers)
    if wrong:
        first = wrong[0]
        silence = first.begun["silence"]
        what = f"{first.detector} suspected {first.peer} after {silence:.2f} s, and it was healthy"
        return Finding(False, what, tuple(s.begun for s in wrong[:3]))
    return Finding(True, f"{', '.join(peers)} were trusted throughout")


def readmitted(history: History, peer: str) -> Finding:
    """A sender that was suspected and came back as a new process is alive to every detector."""
    ended = {s.detector: s for s in suspicions(history, [peer])}
    if not ended:
        return Finding(None, f"{peer} was not suspected")
    for detector in DETECTORS:
        last = ended.get(detector)
        if last is None or last.ended is None:
            return Finding(False, f"{detector} did not take {peer} back")
        if last.false:
            return Finding(None, f"{peer} had not died: its incarnation is the same", (last.ended,))
    begun, back = ended[DETECTORS[0]].begun, ended[DETECTORS[0]].ended
    assert back is not None  # noqa: S101  looked at above
    what = f"{peer} is alive again, incarnation {begun['incarnation']} -> {back['incarnation']}"
    return Finding(True, what, (begun, back))


def pause_fools_both(history: History, peer: str) -> Finding:
    """Shown if a sender that was only held up was suspected by both detectors."""
    false = {s.detector: s for s in suspicions(history, [peer]) if s.false}
    if set(false) != set(DETECTORS):
        return Finding(None, f"{peer} was falsely suspected by: {', '.join(false) or 'nobody'}")
    silence = max(s.ended["silence"] for s in false.values() if s.ended)
    what = f"{peer} lived, was silent for {silence:.2f} s, and both detectors suspected it"
    return Finding(True, what, tuple(s.begun for s in false.values()))


def phi_errs_less(history: History, peer: str) -> Finding:
    """Shown if phi suspected a living but irregular sender less often than the fixed timeout."""
    events = list(history)
    false = [s for s in suspicions(events, [peer]) if s.false]
    counts = {name: sum(s.detector == name for s in false) for name in DETECTORS}
    told = f"false suspicions of {peer}: {counts['fixed']} by fixed, {counts['phi']} by phi"
    if not counts["fixed"]:
        return Finding(None, f"{told}; the pauses were too short to tell")
    if counts["phi"] >= counts["fixed"]:
        return Finding(False, f"{told}; phi was no better", tuple(s.begun for s in false[:3]))
    return Finding(True, told, tuple(s.begun for s in false[:3]))


def patience_is_slow(history: History, irregular: str, regular: str) -> Finding:
    """Shown if phi would now take longer to suspect the irregular sender, should it die."""
    shown = [e for e in history if e["event"] == "ok" and e.get("f") == "status"]
    rows = {row["node"]: row for row in shown[-1]["value"]} if shown else {}
    if irregular not in rows or regular not in rows:
        return Finding(None, "nobody asked the monitor for its table")
    slow, quick = (rows[peer]["phi"]["horizon"] for peer in (irregular, regular))
    what = (
        f"phi now suspects {irregular} after {slow:.1f} s of silence, {regular} after {quick:.1f}"
    )
    return Finding(slow > quick, what, (shown[-1],))


def _heard(events: Iterable[Event]) -> set[str]:
    """Give the senders whose heartbeats arrived: an id begins with the sender's name."""
    return {str(e["id"]).partition(".")[0] for e in events if e["event"] == "recv"}

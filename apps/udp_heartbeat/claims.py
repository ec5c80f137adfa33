"""What the failure detectors promise, and where they err, judged over the monitor's transitions.

A suspicion was false if the same incarnation was heard again: the process had been alive all along.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.kit.claims import Event, Finding, History
from apps.kit.faults import Fault, Link, Partition, PowerOff, Reset, from_json, injections
from apps.udp_heartbeat.tracking import ALIVE

DETECTORS = ("fixed", "phi")
LATENESS = 0.5
"""Seconds that a busy machine may add to a bound: the monitor's own turn has to come."""


MONITOR, SENDER = "udp_heartbeat_monitor", "udp_heartbeat_sender"
_ID = re.compile(r"(?P<node>.+)\.(?P<incarnation>\d+):(?P<seq>\d+)>.*")
"""A heartbeat's id on a host."""


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


def false_suspicions(history: History, peers: Iterable[str] | None = None) -> Counter[str]:
    """Count by detector how often one of these senders, or any, was suspected and lived."""
    counts = Counter(dict.fromkeys(DETECTORS, 0))
    counts.update(s.detector for s in suspicions(history, peers) if s.false)
    return counts


def signs_of_life(history: History) -> dict[str, list[Event]]:
    """Give the receipts that were signs of life, by sender: of a later heartbeat than any before.

    A heartbeat's id tells whose it is, and which; in a simulation, its sending does.
    """
    sent: dict[str, Mapping[str, Any]] = {}
    latest: dict[str, tuple[int, int]] = {}
    signs: dict[str, list[Event]] = {}
    for event in history:
        if event["event"] == "send" and "message" in event:
            sent[event["id"]] = event["message"]
        elif event["event"] == "recv" and (beat := sent.get(event["id"]) or _told_by(event)):
            node, place = beat["node"], (int(beat["incarnation"]), int(beat["seq"]))
            if place > latest.get(node, (0, 0)):
                latest[node] = place
                signs.setdefault(node, []).append(event)
    return signs


def left_alone(history: History, senders: Iterable[str], monitor: str) -> list[str]:
    """Give the senders that no fault concerned: neither them nor their way to the monitor."""
    faults = [from_json(e["fault"]) for e in history if e["event"] == "inject"]
    return [s for s in senders if not any(_concerns(fault, s, monitor) for fault in faults)]


def silent_are_suspected(history: History, monitor: str, bounds: Mapping[str, float]) -> Finding:
    """Whatever the reason, silence beyond a detector's bound (seconds) makes it suspect.

    Judged up to the first fault that befell the monitor itself.
    """
    events = list(history)
    ends = [e["t"] for e in events if e["event"] == "inject" and _disturbs(e["fault"], monitor)]
    seen = [event for event in events if event["t"] < min(ends, default=math.inf)]
    begun = {name: [s.begun for s in suspicions(seen) if s.detector == name] for name in bounds}
    now = max((e["t"] for e in seen if e["node"] == monitor), default=0.0)
    silences = 0
    for peer, last, until in _silences(seen, min(bounds.values()) + LATENESS, now):
        for name, bound in bounds.items():
            inside = any(e["peer"] == peer and last["t"] < e["t"] <= until for e in begun[name])
            if until - last["t"] > bound + LATENESS and not inside:
                what = f"{peer} was silent for {until - last['t']:.2f} s, and {name} trusted it"
                return Finding(False, what, (last,))
        silences += 1
    return Finding(True, f"{silences} silences beyond a bound, each suspected")


def all_are_alive(history: History, senders: Iterable[str]) -> Finding:
    """Everyone was heard, and what each detector last said of them is that they are alive."""
    events = list(history)
    last = {(e["peer"], e["detector"]): e for e in events if e["event"] == "transition"}
    heard = signs_of_life(events)
    missing = [sender for sender in senders if sender not in heard]
    if missing:
        return Finding(False, f"never heard: {', '.join(missing)}")
    away = [turn for turn in last.values() if turn["state"] != ALIVE]
    if away:
        return Finding(False, f"{away[0]['peer']} is {away[0]['state']}", tuple(away[:3]))
    return Finding(True, f"{', '.join(heard)} are alive to both")


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
    if not signs_of_life(events).keys() & set(peers):
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
    counts = false_suspicions(events, [peer])
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


def _told_by(event: Event) -> Mapping[str, str] | None:
    """Read off its id, as `sender` gives it, whose heartbeat it is; None if it is none."""
    told = _ID.fullmatch(event["id"]) if event.get("kind") == "heartbeat" else None
    return None if told is None else told.groupdict()


def _silences(
    events: Sequence[Event], least: float, now: float
) -> Iterator[tuple[str, Event, float]]:
    """Give whose each longer silence was, what was heard last, and until when it went on."""
    for peer, signs in signs_of_life(events).items():
        times = [sign["t"] for sign in signs]
        for sign, until in zip(signs, [*times[1:], now], strict=True):
            if until - sign["t"] > least:
                yield peer, sign, until


def _concerns(fault: Fault, sender: str, monitor: str) -> bool:
    """Whether it befalls the sender, or what the sender sends to the monitor."""
    match fault:
        case Partition():
            return (sender, monitor) in fault.cut()
        case Link(on, to):
            return sender in on and (not to or monitor in to)
        case Reset():
            return False  # datagrams have no connections
        case PowerOff(host):
            return host == sender
    return sender in fault.where() and getattr(fault, "component", SENDER) == SENDER


def _disturbs(fault: Mapping[str, Any], monitor: str) -> bool:
    """Whether it befalls the monitor, and not only what it hears."""
    return fault.get("host") == monitor and fault.get("component", MONITOR) == MONITOR

"""The faults of a history as spells: what, where, since when and until when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from apps.kit.claims import Event
from apps.kit.faults import BadFault, from_json
from lab.evidence.report.timeline import Lane, of_controller


@dataclass(slots=True)
class Spell:
    """A fault from its beginning to its end."""

    id: str
    kind: str
    what: str
    """As a person says it."""
    hosts: tuple[str, ...]
    component: str
    """The component's group, or its name; empty if the fault is the whole host's."""
    since: float
    until: float | None
    """None if it was over at once."""
    ended: str = ""
    """What ended it."""

    def lanes(self, lanes: Sequence[Lane], pattern: str) -> list[int]:
        """Give the lanes that it hit."""
        there = [i for i, lane in enumerate(lanes) if lane.host in self.hosts]
        names = {self.component, self.component.removeprefix(f"{pattern}_")}
        return [i for i in there if lanes[i].component in names] or there


def spells(history: Iterable[Event], end: float) -> list[Spell]:
    """Give the spells of a history that ended at `end`, in order of their beginning."""
    found: list[Spell] = []
    open_: dict[str, Spell] = {}
    for event in filter(of_controller, history):
        key = _key(event)
        match event["event"]:
            case "inject" | "lab_stop":
                spell = _begun(event, key, end)
                found.append(spell)
                if spell.until is not None:
                    open_[key] = spell
            case "heal" | "lab_restart" if key in open_:
                healed = open_.pop(key)
                healed.until = float(event["t"])
                healed.ended = "healed" if event["event"] == "heal" else "restarted"
            case "lab_kill" | "lab_restart":
                found.append(_begun(event, key, end))
            case _:
                continue
    return found


def _key(event: Event) -> str:
    return str(event.get("id") or f"{event['node']}/{event['component']}")


def _begun(event: Event, key: str, end: float) -> Spell:
    since = float(event["t"])
    if event["event"] != "inject":
        kind = event["event"].removeprefix("lab_")
        until = max(end, since) if kind == "stop" else None
        return Spell(
            key,
            kind,
            f"{kind} {event['component']}",
            (str(event["node"]),),
            str(event["component"]),
            since,
            until,
            "" if until is None else "not restarted",
        )
    fault = event.get("fault")
    described: dict[str, Any] = fault if isinstance(fault, dict) else {"fault": str(fault)}
    what, lasts = _told(described)
    seconds = event.get("seconds")
    bound = since + seconds if isinstance(seconds, int | float) else math.inf
    until = max(since, min(end, bound)) if lasts else None
    hosts = event.get("hosts")
    return Spell(
        key,
        str(described.get("fault")),
        what,
        tuple(map(str, hosts)) if isinstance(hosts, list) else (),
        str(described.get("component") or ""),
        since,
        until,
        "" if until is None else "by its own timer" if bound <= end else "not before the end",
    )


def _told(fault: dict[str, Any]) -> tuple[str, bool]:
    """Give what a fault is called, and whether it lasts."""
    try:
        known = from_json(fault)
    except BadFault:  # of another version, or no fault at all
        rest = (f"{key}={value}" for key, value in fault.items() if key != "fault")
        return " ".join([str(fault.get("fault")), *rest]), True
    return str(known), known.lasts

"""A history as a ShiViz log: a space-time diagram that anyone can pan and read.

ShiViz (Beschastnikh et al., "Debugging Distributed Systems", CACM 59(8), 2016) reads a file whose
first line is a regular expression, whose second divides executions (empty here: there is one), and
whose rest is the log. It wants each host's own count to begin at 1 and to grow by 1, and no count
of an event that is not in the log. A history may lack events (it begins in the middle of a run, or
a journal was cut), so counts are renumbered over the events that are there; a complete history
keeps its counts. Every life of a node is a host of its own.
"""

from __future__ import annotations

import json
from bisect import bisect_right

from apps.kit.claims import Event, History
from apps.lamport_clock.clocks import process_of

PARSER = r"(?<event>.*)\n(?<host>\S*) (?<clock>{.*})"
"""How ShiViz is to read the log; it is its default, too."""


def shiviz(history: History) -> str:
    """Render the stamped events of a history; paste the text into ShiViz, or open it as a file."""
    events = [event for event in history if "vector" in event]
    counts: dict[str, list[int]] = {}
    for event in events:
        counts.setdefault(process_of(event), []).append(event["vector"][process_of(event)])
    for known in counts.values():
        known.sort()
    lines = [PARSER, ""]
    for event in events:
        vector = {
            process: number
            for process, count in event["vector"].items()
            if (number := bisect_right(counts.get(process, []), count))
        }
        lines += [_describe(event), f"{process_of(event)} {json.dumps(vector)}"]
    return "\n".join(lines) + "\n"


def _describe(event: Event) -> str:
    """One line for a person: what happened, with whom, and its number."""
    match event["event"]:
        case "say":
            what = f"{event['kind']} to {event['peer']}"
        case "hear":
            what = f"{event['kind']} from {event['peer']}"
        case other:
            what = str(other)
    about = next((event[key] for key in ("text", "name", "fence") if key in event), None)
    return f"{what}{'' if about is None else f' {json.dumps(about)}'} @{event['lamport']}"

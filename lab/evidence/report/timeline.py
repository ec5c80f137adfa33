"""A history as a spacetime diagram: processes in space, events in time, and what led to what.

A lane is a process: a component of a node. Each event but the first of a lane follows the one
before it there, and an arrival follows its sending: that is the "happened before" of Lamport's
"Time, Clocks, and the Ordering of Events" (1978), and all that the page needs to find an event's
causal past.

A message's id names it at both ends. Its first `send` (or `say`, a message handed to a link that
repeats) is the sending, and every other event with the id is an arrival of it: `recv`, `hear`,
`duplicated`. An operation's end likewise follows its `invoke`, by `op`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from apps.kit.claims import Event

SENDINGS = frozenset({"send", "say"})
ENDS = frozenset({"ok", "fail", "unknown"})
_END_OF_TIME = 253402300800
"""The year 10000, which no clock here means."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A process, and the host that it ran on."""

    host: str
    node: str
    component: str


class Timeline:
    """The events of a history in their lanes, and the causes among them."""

    def __init__(self, history: Iterable[Event], hosts: Mapping[str, str]) -> None:
        """`history` is in order of time; `hosts` goes from the lab's host names to addresses."""
        self._hosts = hosts
        self.events = [event for event in history if not of_controller(event)]
        keys = [(str(event["node"]), str(event["component"])) for event in self.events]
        self.lanes = self._lanes(dict.fromkeys(keys))
        place = {(lane.node, lane.component): number for number, lane in enumerate(self.lanes)}
        self.lane = [place[key] for key in keys]
        """The lane of each event."""
        self.cause = self._causes()
        """The event before each that it follows from, another lane's or its operation's; or -1."""

    @cached_property
    def lost(self) -> dict[int, int]:
        """Sendings of which no arrival is known, and the lane each was meant for; or -1."""
        arrived = set(self.cause)
        usual = self._usual_lanes()
        return {
            i: usual.get(str(event.get("peer")), self._lane_of_peer(str(event.get("peer"))))
            for i, event in enumerate(self.events)
            if event["event"] in SENDINGS and "id" in event and i not in arrived
        }

    def find(self, wanted: Sequence[Event]) -> list[int]:
        """Give the places of these events; what is not in the history is left out."""
        names = map(_name, wanted)
        return [self._places[name] for name in names if name in self._places]

    @cached_property
    def _places(self) -> dict[tuple[str, ...], int]:
        return {_name(event): i for i, event in reversed(list(enumerate(self.events)))}

    def _lanes(self, keys: Iterable[tuple[str, str]]) -> list[Lane]:
        order = {host: place for place, host in enumerate(self._hosts)}
        lanes = [Lane(self._host(node), node, component) for node, component in keys]
        return sorted(lanes, key=lambda lane: (order.get(lane.host, len(order)), lane.host))

    def _host(self, node: str) -> str:
        """Give a node's host: a client may call itself `n1-slow` where it runs on n1."""
        hosts = [
            h for h in self._hosts if node == h or node.startswith((f"{h}-", f"{h}.", f"{h}/"))
        ]
        return max(hosts, key=len, default=node)

    def _causes(self) -> list[int]:
        causes = [-1] * len(self.events)
        sendings: dict[Any, int] = {}
        invokes: dict[Any, int] = {}
        for i, event in enumerate(self.events):
            if event["event"] in SENDINGS and _named(event, "id"):
                sendings.setdefault(event["id"], i)
            elif event["event"] == "invoke" and _named(event, "op"):
                invokes.setdefault(event["op"], i)
        for i, event in enumerate(self.events):
            if event["event"] in ENDS and _named(event, "op"):
                causes[i] = invokes.get(event["op"], -1)
            elif event["event"] not in SENDINGS and _named(event, "id"):
                causes[i] = sendings.get(event["id"], -1)
        return causes

    def _usual_lanes(self) -> dict[str, int]:
        """Give where messages to each peer arrive, as a rule."""
        seen: dict[str, Counter[int]] = {}
        for i, cause in enumerate(self.cause):
            if cause >= 0 and "peer" in self.events[cause]:
                peer = str(self.events[cause]["peer"])
                seen.setdefault(peer, Counter())[self.lane[i]] += 1
        return {peer: lanes.most_common(1)[0][0] for peer, lanes in seen.items()}

    def _lane_of_peer(self, peer: str) -> int:
        """Give the first lane of the host that a peer's name or address is of."""
        name = peer.rpartition(":")[0] or peer
        hosts = {address: host for host, address in self._hosts.items()}
        host = hosts.get(name, name)
        return next((i for i, lane in enumerate(self.lanes) if host in (lane.host, lane.node)), -1)


def in_time(history: Iterable[Event]) -> list[Event]:
    """Give the events by time, those of one time as they came; all with `node` and `component`.

    What has no finite time is left out: peers may have had a part in what a history holds.
    """
    timed = (event for event in history if _finite(event["t"]))
    return sorted(({"node": "", "component": "", **e} for e in timed), key=lambda e: float(e["t"]))


def of_controller(event: Event) -> bool:
    """Whether the controller wrote it: a fault, or what else it did to a host."""
    return event["component"] == "lab" or str(event["event"]).startswith("lab_")


def _finite(t: object) -> bool:
    try:
        return isinstance(t, int | float) and math.isfinite(t) and 0 <= t < _END_OF_TIME
    except OverflowError:  # an integer that no float can be
        return False


def _named(event: Event, key: str) -> bool:
    return isinstance(event.get(key), str | int)


def _name(event: Event) -> tuple[str, ...]:
    keys = ("t", "event", "node", "component", "id", "op", "lamport")
    return tuple(str(event.get(key)) for key in keys)

"""What a run of the hash table is judged by.

A key is set by one caller alone, to numbers that grow, so what a get should give is known. Of each
set the history has who kept the value then (`holders`), by address. A node that began anew since
has forgotten it: values are in memory. So a value is *safe* while one of its holders lives on, and
that is what is promised: a safe value is found from every node, and none older than it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from apps.kit.claims import Event, Finding, History
from apps.kit.history import Operation, operations

SLACK = 2.0
"""Seconds that a lease may seem to last longer: on its way, and on a busy machine."""
SEARCH = 12.0
"""Seconds after which a registration that nobody confirmed has no effect any more."""


@dataclass(slots=True)
class Sets:
    """What was set under one key, in order; and what of it is safe."""

    all: list[Operation] = field(default_factory=list)

    def safe_from(self, deaths: Mapping[str, list[float]], at: Mapping[str, str]) -> int | None:
        """Give the number of the last set that is safe; None if none is."""
        for number, one in reversed(list(enumerate(self.all))):
            if one.outcome == "ok" and any(
                max(deaths.get(at[holder], [0.0])) < one.start for holder in one.result["holders"]
            ):
                return number
        return None

    def good_from(self, first: int) -> list[Any]:
        """Give what a get may give if this set is safe: later ones, and those of unknown outcome.

        A node that was paused with a set in its hands makes it when it goes on.
        """
        earlier = [one for one in self.all[:first] if one.outcome == "unknown"]
        later = [one for one in self.all[first:] if one.outcome != "fail"]
        return [one.value for one in (*later, *earlier)]


def found_everywhere(
    history: History, at: Mapping[str, str], since: float, nodes: Collection[str]
) -> Finding:
    """From each of these nodes each safe value was found, or one that was set later.

    `at` gives the node that lives at an address; gets from `since` on count.
    """
    events = list(history)
    deaths = died(events)
    gets = _by(operations(events, {"get": "get"}, key="key"), since)
    safe = lost = 0
    for key, sets in _sets(events).items():
        first = sets.safe_from(deaths, at)
        if first is None:
            lost += 1
            continue
        safe += 1
        good = sets.good_from(first)
        for node in nodes:
            told = [get for get in gets[key] if at[get.invoked["via"]] == node]
            if not told:
                return Finding(None, f"{key} was not asked of {node}", sets.all[first].events)
            if (wrong := _wrong(told[-1], good)) is not None:
                witness = (*sets.all[first].events, *told[-1].events)
                return Finding(False, f"{key} from {node}: {wrong}", witness)
    if not safe:
        return Finding(None, "nothing that is safe was set in this history")
    told_lost = f"; {lost} were with nodes alone that have all begun anew" if lost else ""
    return Finding(True, f"{safe} keys, each found from {len(nodes)} nodes{told_lost}")


def _wrong(get: Operation, good: Sequence[Any]) -> str | None:
    if get.outcome != "ok":
        return f"not found: {(get.completed or {}).get('error', 'no answer')}"
    if get.result["value"] not in good:
        return f"it gave {get.result['value']!r}, which is older than what is safe, {good[0]!r}"
    return None


def told_truly(history: History, at: Mapping[str, str], since: float) -> Finding:
    """Who a set said keeps its value keeps it, or a later one, when asked for it.

    Sets from `since` on count: of earlier ones the holders may be away.
    """
    events = list(history)
    looked: dict[str, dict[str, Operation]] = defaultdict(dict)
    for one in operations(events, {"holds": "holds"}, key="key"):
        looked[str(one.key)][at[one.invoked["via"]]] = one
    judged = []
    for key, sets in _sets(events).items():
        last = sets.all[-1]
        if key not in looked or last.outcome != "ok" or last.start < since:
            continue
        judged.append(f"{last.result['stored']} of {last.result['of']}")
        for holder in last.result["holders"]:
            seen = looked[key].get(at[holder])
            if seen is None or seen.outcome != "ok" or not _keeps(seen, last):
                what = f"{at[holder]} was said to keep {key}, and does not"
                return Finding(False, what, (*last.events, *(seen.events if seen else ())))
    if not judged:
        return Finding(None, "of no key was it looked who keeps it")
    return Finding(True, f"{len(judged)} sets told it truly: {', '.join(judged[:5])} nodes")


def _keeps(seen: Operation, of: Operation) -> bool:
    version = seen.result["version"]
    return version is not None and bool(version >= of.result["version"])


def over_by(history: History, lease: float) -> dict[str, float]:
    """Give by when each publisher's last lease (seconds) is over at the latest."""
    return {name: _over(one, lease) for name, one in _registered(history).items()}


def leases_end(history: History, lease: float) -> Finding:
    """Who no longer registers is found no longer than its lease (seconds) lasts."""
    events = list(history)
    registered = _registered(events)
    ended = set()
    for look in operations(events, {"lookup": "lookup"}):
        if look.outcome != "ok":
            continue
        for publisher, one in registered.items():
            late = look.start - _over(one, lease)
            if late <= 0:
                continue
            ended.add(publisher)
            if publisher in look.result["publishers"]:
                what = f"{publisher} was found {late:.1f} s after its lease of {lease:g} s was over"
                return Finding(False, what, (*one.events, *look.events))
    if not ended:
        return Finding(None, "nobody searched after a lease had ended")
    return Finding(True, f"{', '.join(sorted(ended))}: found by nobody once the lease had ended")


def _registered(history: History) -> dict[str, Operation]:
    """Give each publisher's last registration."""
    found = operations(history, {"register": "register"}, key="publisher")
    return {str(one.key): one for one in found}


def _over(registered: Operation, lease: float) -> float:
    unsure = registered.completed is None
    known = registered.start + SEARCH if unsure else registered.end
    return known + lease + SLACK


def delivered(history: History, subscribers: Collection[str], publishers: int) -> Finding:
    """Each subscriber heard so many publishers, and of each all updates from the first it heard."""
    heard: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in history:
        if event["event"] == "recv" and event["component"] == "subscribe":
            heard[event["node"], str(event["id"]).partition("/")[0]].append(event)
    for subscriber in subscribers:
        runs = [run for node, run in heard if node == subscriber]
        if len(runs) < publishers:
            return Finding(False, f"{subscriber} heard {len(runs)} of {publishers} publishers")
    for (node, run), events in heard.items():
        for one, other in pairwise(events):
            if _number(other) != _number(one) + 1:
                what = f"{node} heard #{_number(other)} of {run} after #{_number(one)}"
                return Finding(False, what, (one, other))
    count = sum(map(len, heard.values()))
    return Finding(True, f"{count} updates, none missing, from {publishers} to {len(subscribers)}")


def few_copies_are_lost(history: History, key: str) -> Finding:
    """Shown if a key that was stored is found no more, and everybody says so."""
    sets = _sets(history).get(key)
    if sets is None or sets.all[-1].outcome != "ok":
        return Finding(None, f"{key} was not stored")
    gets = [g for g in operations(history, {"get": "get"}, key="key") if g.key == key]
    last = gets[-1] if gets else None
    if last is None or last.outcome != "fail" or last.completed is None:
        return Finding(None, f"{key} is not known to be lost")
    stored = sets.all[-1]
    what = f"{key} was on {stored.result['stored']} nodes, and went with them"
    return Finding(True, what, (*stored.events, *last.events))


def died(history: History) -> dict[str, list[float]]:
    """Give when each node began anew, by its name."""
    begun: dict[str, list[float]] = defaultdict(list)
    for event in history:
        if event["event"] == "ready" and event["component"] == "node":
            begun[event["node"]].append(event["t"])
    return begun


def hops(history: History) -> list[int]:
    """Give how many hops each get took that found something."""
    gets = operations(history, {"get": "get"})
    return [get.result["hops"] for get in gets if get.outcome == "ok"]


def _sets(history: History) -> dict[str, Sets]:
    found: dict[str, Sets] = defaultdict(Sets)
    for one in operations(history, {"set": "set"}, key="key"):
        found[str(one.key)].all.append(one)
    return found


def _by(gets: list[Operation], since: float) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = defaultdict(list)
    for get in gets:
        if get.start >= since:
            found[str(get.key)].append(get)
    return found


def _number(event: Event) -> int:
    return int(str(event["id"]).rpartition("#")[2])

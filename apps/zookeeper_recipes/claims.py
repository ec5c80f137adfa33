"""What each recipe promises, over a history of all participants' events.

Times are the wall clocks of the hosts: of the local lab's hosts they are one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from apps.kit.checkers import mutual_exclusion
from apps.kit.claims import Event, Finding, History
from apps.kit.history import Operation, operations

_LEAVES = {"exit", "crash"}
_LOCKS = {"enter", *_LEAVES}


def lock_excludes(history: History) -> Finding:
    """No two hold one lock at once."""
    events = [e for e in history if e["event"] in _LOCKS and e["kind"] == "lock"]
    return mutual_exclusion(events, leave=_LEAVES, holder="name", resource="path")


def locked_writes_are_not_lost(history: History) -> Finding:
    """Who raised the number inside of the lock found it as the one before had left it."""
    raised = [event for event in history if event["event"] == "raised"]
    seen: dict[tuple[str, int], Event] = {}
    for event in raised:
        other = seen.setdefault((event["path"], event["value"]), event)
        if other is not event:
            return Finding(False, f"two raised it to {event['value']}", (other, event))
    return Finding(True if raised else None, f"it was raised {len(raised)} times, each by one")


def writers_are_alone(history: History) -> Finding:
    """Nobody reads while somebody writes, and no two write."""
    events = [e for e in history if e["event"] in _LOCKS and e["kind"] in {"read", "write"}]
    for writing, others in _overlaps(events):
        for other in others:
            if "write" in {writing["kind"], other["kind"]}:
                told = f"{other['name']} was inside with {writing['name']}"
                return Finding(False, told, (other, writing))
    kinds = Counter(e["kind"] for e in events if e["event"] == "enter")
    told = f"{kinds['write']} wrote alone, {kinds['read']} read"
    return Finding(True if len(kinds) == 2 else None, told)


def readers_share(history: History) -> Finding:
    """Two read at once."""
    events = [e for e in history if e["event"] in _LOCKS and e["kind"] == "read"]
    for entering, others in _overlaps(events):
        if others:
            return Finding(True, "two were inside at once", (others[0], entering))
    return Finding(False, "no two read at once")


def semaphore_bounds(history: History) -> Finding:
    """No more are inside than there are leases."""
    events = [e for e in history if e["event"] in _LOCKS and e["kind"] == "lease"]
    most = 0
    for entering, others in _overlaps(events):
        most = max(most, len(others) + 1)
        if len(others) >= entering["leases"]:
            told = f"{len(others) + 1} were inside, and there are {entering['leases']} leases"
            return Finding(False, told, (*others, entering))
    return Finding(True if most else None, f"{len(events) // 2} stays, at most {most} at once")


def nobody_goes_first(history: History) -> Finding:
    """Who goes through a barrier does so with as many as it is for, all of whom had arrived.

    Who leaves a double one does so when these have begun to leave; who died is not waited for.
    """
    events = list(history)
    begun = {
        name: {event["who"]: event for event in events if event["event"] == name}
        for name in ("arrive", "leaving")
    }
    passed = [event for event in events if event["event"] == "pass"]
    left = [event for event in events if event["event"] == "left"]
    for event in passed:
        cohort = [begun["arrive"].get(name[:-10]) for name in event["cohort"]]
        if len(set(event["cohort"])) != event["parties"] or None in cohort:
            return Finding(False, f"{event['who']} went on with too few", (event,))
        late = [other for other in cohort if other and other["t"] > event["t"]]
        if late:
            return Finding(False, f"{event['who']} went on first", (event, late[0]))
    for event in left:
        cohort = [begun["leaving"].get(name[:-10]) for name in event["cohort"]]
        late = [other for other in cohort if other and other["t"] > event["t"]]
        if late:
            return Finding(False, f"{event['who']} left first", (event, late[0]))
    if not passed:
        return Finding(None, "nobody went through a barrier")
    return Finding(True, f"{len(passed)} went through, {len(left)} left, always all together")


def counted_exactly(history: History, final: int | None, before: int = 0) -> Finding:
    """Each addition had a result of its own, and in the end all are in it, once.

    `final` is what the counter was in the end, `before` what an earlier run had left. An addition
    of unknown outcome may be in it.
    """
    added = operations(history, {"add": "add"})
    known = [op for op in added if op.outcome == "ok"]
    doubtful = sum(op.outcome == "unknown" for op in added)
    results: dict[int, Operation] = {}
    for op in known:
        other = results.setdefault(int(op.result), op)
        if other is not op:
            return Finding(False, f"two additions made {op.result}", (*other.events, *op.events))
    if final is None or not known:
        return Finding(None, "nobody told what it was in the end")
    least = before + len(known)
    told = f"{len(known)} additions, {doubtful} in doubt: from {before} to {final}"
    return Finding(least <= final <= least + doubtful, told, _edge(known))


def acknowledged_once(history: History, waiting: Collection[str] | None) -> Finding:
    """Each item that was put was done, and acknowledged once; none is left, and none came up."""
    events = list(history)
    put = {op.result: op for op in operations(events, {"put": "put"}) if op.outcome == "ok"}
    acks: dict[str, list[Operation]] = defaultdict(list)
    for op in operations(events, {"ack": "ack"}):
        if op.outcome != "fail":
            acks[op.invoked["item"]].append(op)
    for item, found in acks.items():
        known = [op for op in found if op.outcome == "ok"]
        if len(known) > 1:
            witness = (*known[0].events, *known[1].events)
            return Finding(False, f"{item} was acknowledged twice", witness)
    done = {event["item"] for event in events if event["event"] == "done"}
    if waiting is None:
        return Finding(None, "nobody told what waits in the end")
    for item, op in put.items():
        if item not in waiting and (item not in done or item not in acks):
            return Finding(False, f"{item} was put, and is gone without being done", op.events)
    if left := [item for item in put if item in waiting]:
        return Finding(False, f"{len(left)} items are not done", put[left[0]].events)
    if not put:
        return Finding(None, "nothing was put")
    again = sum(event["event"] == "taken" for event in events) - len(acks)
    return Finding(True, f"{len(put)} items, each acknowledged once; {max(0, again)} taken again")


def watched_in_order(history: History) -> Finding:
    """Who watches sees versions that rise."""
    events = list(history)
    seen: dict[str, Event] = {}
    count = 0
    for event in events:
        if event["event"] != "seen":
            continue
        before = seen.get(event["watcher"])
        if before is not None and event["version"] <= before["version"]:
            return Finding(False, f"{event['node']} saw an older version", (before, event))
        seen[event["watcher"]] = event
        count += 1
    if not seen:
        return Finding(None, "nobody watched")
    return Finding(True, f"{len(seen)} watched and saw {count} versions, always newer ones")


def versions_are_skipped(history: History) -> Finding:
    """Who watched has not seen every version."""
    seen: dict[str, Event] = {}
    for event in history:
        if event["event"] == "seen":
            before = seen.get(event["watcher"])
            if before is not None and event["version"] > before["version"] + 1:
                told = f"from version {before['version']} to {event['version']} at once"
                return Finding(True, told, (before, event))
            seen[event["watcher"]] = event
    return Finding(False, "every version was seen")


def walked(history: History) -> Finding:
    """A session's node was there, told its change, and was gone with the session."""
    steps = [event["step"] for event in history if event["event"] == "step"]
    wanted = ["connected", "created", "read", "watched", "set", "told", "ending", "gone"]
    return Finding(steps == wanted, ", ".join(steps) or "nobody walked")


def party_is_whole(history: History, wanted: Sequence[str]) -> Finding:
    """The last who looked saw these members, and nobody else."""
    looks = [event for event in history if event["event"] == "members"]
    if not looks:
        return Finding(None, "nobody looked")
    found = looks[-1]["members"]
    return Finding(
        found == sorted(wanted), f"{', '.join(found) or 'nobody'} is there", (looks[-1],)
    )


def _overlaps(events: Sequence[Event]) -> list[tuple[Event, list[Event]]]:
    """Give each entering, and who was inside then. Who was never seen to leave stays."""
    inside: dict[tuple[str, str], Event] = {}
    found = []
    for event in sorted(events, key=lambda event: (event["t"], event["event"] == "enter")):
        key = (event["path"], event["name"])
        if event["event"] in _LEAVES:
            inside.pop(key, None)
        else:
            others = [other for other in inside.values() if other["path"] == event["path"]]
            found.append((event, others))
            inside[key] = event
    return found


def _edge(known: Sequence[Operation]) -> tuple[Event, ...]:
    return max(known, key=lambda op: int(op.result)).events

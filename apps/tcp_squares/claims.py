"""What squares promise, as judged over a history of clients' and the server's events."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from apps.kit.claims import Event, Finding, History
from apps.kit.faults import injections

CALLS = ("square", "submit")
"""What clients ask for; what workers do (`work`) may end with the worker."""


def results_are_right(history: History) -> Finding:
    """Every result that a client or a worker reported is the square of what was asked."""
    asked: dict[str, Event] = {}
    judged = 0
    for event in history:
        if event["event"] == "invoke":
            asked[event["op"]] = event
        elif event["event"] == "ok" and event["f"] in (*CALLS, "work"):
            invoked = asked.get(event["op"])
            if invoked is None:
                return Finding(None, f"operation {event['op']} has no beginning", (event,))
            given, got = _numbers(invoked["value"]), _numbers(event["value"])
            if got != [number**2 for number in given]:
                return Finding(False, f"asked for {given}, answered {got}", (invoked, event))
            judged += len(got)
    if not judged:
        return Finding(None, "nothing was squared")
    return Finding(True, f"{judged} squares, each right")


def counted_once(history: History) -> Finding:
    """Each task of a request that finished was counted exactly once, whoever worked on it.

    A bag lives as long as its server: what one bag counted, another may count anew.
    """
    named: defaultdict[str, list[Event]] = defaultdict(list)
    for event in history:
        named[event["event"]].append(event)
    counted: defaultdict[tuple[str, str, int], list[Event]] = defaultdict(list)
    for event in named["counted"]:
        counted[event["bag"], event["request"], event["task"]].append(event)
    for (_, request, task), events in counted.items():
        if len(events) > 1:
            what = f"task {task} of {request} was counted {len(events)} times"
            return Finding(False, what, tuple(events))
    for end in named["finished"]:
        for task in range(end["tasks"]):
            if (end["bag"], end["request"], task) not in counted:
                what = f"{end['request']} was finished, and its task {task} never counted"
                return Finding(False, what, (end,))
    if not named["finished"]:
        return Finding(None, "no request was finished")
    tasks = sum(end["tasks"] for end in named["finished"])
    return Finding(
        True,
        f"{len(named['finished'])} requests of {tasks} tasks, each counted once; "
        f"{len(named['lease_lost'])} leases were lost and leased again, "
        f"{len(named['dropped'])} late results dropped",
        (*named["lease_lost"][:3], *named["dropped"][:3]),
    )


def lost_work_is_redone(history: History) -> Finding:
    """Every task whose lease was lost was counted in the end, or its request given up.

    If the server died meanwhile, that may be in another bag: a request that was submitted again
    keeps its id. One that nobody submitted again went with its bag, which is in memory.
    """
    events = list(history)
    lost = [event for event in events if event["event"] == "lease_lost"]
    counted = {(e["request"], e["task"]) for e in events if e["event"] == "counted"}
    given_up = {e["request"] for e in events if e["event"] == "gave_up"}
    last = next((event["bag"] for event in reversed(events) if "bag" in event), None)
    inside = {e["request"] for e in events if e["event"] == "submitted" and e["bag"] == last}
    gone = 0
    for loss in lost:
        request, task = loss["request"], loss["task"]
        if request in given_up or (request, task) in counted:
            continue
        if loss["bag"] == last or request in inside:
            return Finding(False, f"task {task} of {request} was lost with its lease", (loss,))
        gone += 1
    if not lost:
        return Finding(None, "no lease was lost")
    whys = ", ".join(f"{loss['worker']}: {loss['why']}" for loss in lost[:3])
    told = f"{len(lost)} lost leases ({whys}), and every task done"
    return Finding(True, told + (f" but {gone}, gone with their bag" if gone else ""), (*lost[:3],))


def worked_twice(history: History) -> Finding:
    """Some task was worked by two workers, each with a lease of its own; one result counted."""
    leased: dict[str, tuple[str, str, int]] = {}
    worked: defaultdict[tuple[str, str, int], list[Event]] = defaultdict(list)
    events = list(history)
    for event in events:
        if event["event"] == "leased":
            leased[event["lease"]] = event["bag"], event["request"], event["task"]
    for event in events:
        if event["event"] == "invoke" and event["f"] == "work" and event["lease"] in leased:
            worked[leased[event["lease"]]].append(event)
    twice = [found for found in worked.values() if len(found) > 1]
    if not twice:
        return Finding(None, "no task was worked twice")
    return Finding(True, f"{len(twice)} of {len(worked)} tasks were", tuple(twice[0]))


def outcomes_are_true(history: History) -> Finding:
    """Every call has one outcome, and it is so: refused ones left no trace, done ones were done.

    What is `unknown` may have happened or not, so it is never wrong; it is only counted. So is a
    call without outcome, whose client ended with its host.
    """
    events = list(history)
    submitted = {event["request"] for event in events if event["event"] == "submitted"}
    finished = {event["request"] for event in events if event["event"] == "finished"}
    told: Counter[str] = Counter()
    for invoked, ends in _outcomes(events):
        if len(ends) > 1:
            what = f"operation {invoked['op']} has {len(ends)} outcomes"
            return Finding(False, what, (invoked, *ends))
        if not ends:
            told["without an end"] += 1
            continue
        end = ends[0]
        told[end.get("how", end["event"])] += 1
        if end["f"] != "submit":
            continue
        if end.get("how") == "refused" and end["request"] in submitted:
            return Finding(False, "a refused request is in the bag", (invoked, end))
        done = end["request"] in finished or end["event"] != "ok"
        if not done and not _journal_broke_off(events, end["t"]):
            return Finding(False, "a request was answered and not finished", (invoked, end))
    if not told:
        return Finding(None, "nothing was asked")
    counts = ", ".join(f"{number} {how}" for how, number in sorted(told.items()))
    return Finding(True, f"{told.total()} calls, each with one outcome at most, and true: {counts}")


def _journal_broke_off(events: Sequence[Event], t: float) -> bool:
    """Whether a cut of power came so soon that the journal may not have what was written then."""
    return any(cut["t"] - 1 <= t <= cut["t"] + 1 for cut in injections(events, "power_off"))


def _outcomes(events: Sequence[Event]) -> Iterable[tuple[Event, list[Event]]]:
    ends: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["event"] in ("ok", "fail", "unknown") and event.get("f") in CALLS:
            ends[event["op"]].append(event)
    for event in events:
        if event["event"] == "invoke" and event["f"] in CALLS:
            yield event, ends[event["op"]]


def _numbers(value: str | Sequence[str]) -> list[int]:
    return [int(value)] if isinstance(value, str) else [int(number) for number in value]

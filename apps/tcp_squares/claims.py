"""What squares promise, as judged over a history of clients' and the server's events."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from apps.kit.claims import Event, Finding, History

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

    If the server died meanwhile, that may be in another bag: the request keeps its id.
    """
    lost: list[Event] = []
    settled: set[tuple[str, int | None]] = set()
    for event in history:
        if event["event"] == "lease_lost":
            lost.append(event)
        elif event["event"] == "counted":
            settled.add((event["request"], event["task"]))
        elif event["event"] == "gave_up":
            settled.add((event["request"], None))
    for loss in lost:
        request, task = loss["request"], loss["task"]
        if not settled & {(request, task), (request, None)}:
            return Finding(False, f"task {task} of {request} was lost with its lease", (loss,))
    if not lost:
        return Finding(None, "no lease was lost")
    whys = ", ".join(f"{loss['worker']}: {loss['why']}" for loss in lost[:3])
    return Finding(True, f"{len(lost)} lost leases ({whys}), and every task done", tuple(lost[:3]))


def outcomes_are_true(history: History) -> Finding:
    """Every call has one outcome, and it is so: refused ones left no trace, done ones were done.

    What is `unknown` may have happened or not, so it is never wrong; it is only counted.
    """
    events = list(history)
    outcomes = _outcomes(events)
    submitted = {event["request"] for event in events if event["event"] == "submitted"}
    finished = {event["request"] for event in events if event["event"] == "finished"}
    told: Counter[str] = Counter()
    for invoked, ends in outcomes:
        if len(ends) != 1:
            verdict = False if ends else None
            what = f"operation {invoked['op']} has {len(ends)} outcomes"
            return Finding(verdict, what, (invoked, *ends))
        end = ends[0]
        told[end.get("how", end["event"])] += 1
        if end["f"] != "submit":
            continue
        if end.get("how") == "refused" and end["request"] in submitted:
            return Finding(False, "a refused request is in the bag", (invoked, end))
        if end["event"] == "ok" and end["request"] not in finished:
            return Finding(False, "a request was answered and not finished", (invoked, end))
    if not told:
        return Finding(None, "nothing was asked")
    counts = ", ".join(f"{number} {how}" for how, number in sorted(told.items()))
    return Finding(True, f"{told.total()} calls, each with one outcome, and true: {counts}")


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

"""What ZeroMQ's patterns promise, and what they are silent about, judged over a history.

The library drops without a word: at a high-water mark, with a connection, with a process. So
updates and tasks are numbered, and receivers count (`core.py`); losses are found in their counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from apps.kit.checkers import at_most_once
from apps.kit.claims import Event, Finding, History
from apps.kit.history import Operation, operations
from apps.zeromq.core import sum_of_squares

ANSWERING = ("server", "replier")


def own_answers(history: History) -> Finding:
    """Every answer is that of its own request: no two texts are alike."""
    asked = operations(history, {"ask": "ask"})
    answered = [op for op in asked if op.outcome == "ok"]
    for op in answered:
        if op.result != op.value:
            return Finding(False, f"asked {op.value!r}, answered {op.result!r}", op.events)
    if not answered:
        return Finding(None, "nothing was answered")
    askers = {op.node for op in answered}
    told = f"{len(answered)} of {len(asked)} requests answered, from {len(askers)} hosts"
    return Finding(True, f"{told}, each with its own text")


def taken_once(history: History) -> Finding:
    """No request is taken by two repliers, nor twice by one."""
    taken = [
        event for event in history if event["event"] == "recv" and event["component"] in ANSWERING
    ]
    return at_most_once(taken, at=lambda _: "anywhere")


def totals_are_right(history: History) -> Finding:
    """What the sink told of a complete batch is the sum of its squares, each counted once."""
    given = [op for op in operations(history, {"ventilate": "batch"}) if op.outcome == "ok"]
    for op in given:
        count, total = op.value["count"], op.result["total"]
        if (op.result["tasks"], total) != (count, sum_of_squares(count)):
            told = f"{op.result['tasks']} tasks made {total}: {sum_of_squares(count)} it should be"
            return Finding(False, told, op.events)
        if op.result["copies"]:
            return Finding(False, f"{op.result['copies']} results came twice", op.events)
    if not given:
        return Finding(None, "no batch came through whole")
    tasks = sum(op.result["tasks"] for op in given)
    return Finding(True, f"{len(given)} batches of {tasks} tasks, each task counted once")


def results_come_once(history: History) -> Finding:
    """No task's result reached the sink twice."""
    return at_most_once(
        (event for event in history if event["component"] == "sink"), at=lambda _: "the sink"
    )


def began_together(history: History) -> Finding:
    """Who was waited for has every update of its broadcast."""
    events = list(history)
    heard = tallies(events)
    begun = [event for event in events if event["event"] == "together" and event["subscribers"]]
    told = []
    for start in begun:
        published = _published(events, start["stream"])
        if published is None:
            return Finding(None, "a broadcast did not end", (start,))
        for name in start["subscribers"]:
            of = [t for t in heard if (t["node"], t["stream"]) == (name, start["stream"])]
            if not of:
                return Finding(None, f"{name} did not tell what it heard", (start, published))
            if of[0]["received"] != published["published"]:
                what = f"{name} has {of[0]['received']} of {published['published']}"
                return Finding(False, what, (start, published, of[0]))
        told.append(f"{len(start['subscribers'])} subscribers have all {published['published']}")
    if not told:
        return Finding(None, "no broadcast waited for its subscribers")
    return Finding(True, "; ".join(told))


def in_order(history: History) -> Finding:
    """No subscriber had an update that was published before one it had already."""
    heard = tallies(history)
    for tally in heard:
        if tally["late"]:
            what = f"{tally['node']} had {tally['late']} updates behind later ones"
            return Finding(False, what, (tally,))
    if not heard:
        return Finding(None, "no update was heard")
    lost = sum(tally["lost"] for tally in heard)
    received = sum(tally["received"] for tally in heard)
    return Finding(True, f"{received} updates in order, {lost} never came")


def slow_joiner(history: History) -> Finding:
    """Some subscriber missed the beginning of a stream that it was there for in time to join."""
    missed = [tally for tally in tallies(history) if tally["missed"] and not tally["lost"]]
    if not missed:
        return Finding(None, "nobody missed a beginning")
    told = ", ".join(f"{t['node']} the first {t['missed']} of {t['last']}" for t in missed[:3])
    return Finding(True, f"missed: {told}", tuple(missed[:3]))


def slow_subscriber(history: History, slow: str) -> Finding:
    """The slow one lost updates in the middle of a stream."""
    heard = tallies(history)
    losses = [tally for tally in heard if tally["node"] == slow and tally["lost"]]
    if not losses:
        return Finding(None, f"{slow} lost nothing")
    worst = max(losses, key=lambda tally: int(tally["lost"]))
    others = [t for t in heard if t["stream"] == worst["stream"] and t["node"] != slow]
    kept = ", ".join(f"{t['node']} lost {t['lost']}" for t in others)
    told = f"of {worst['last']} {slow} has {worst['received']} and lost {worst['lost']}; {kept}"
    return Finding(True, told, (worst, *others[:2]))


def stuck(history: History) -> Finding:
    """A request was never answered, while others that were asked later were."""
    asked = operations(history, {"ask": "ask"})
    waiting = [op for op in asked if op.outcome == "unknown"]
    for op in waiting:
        later = [o for o in asked if o.outcome == "ok" and op.start < o.start and o.end < _end(op)]
        if later:
            waited = _end(op) - op.start
            told = f"unanswered for {waited:.1f} s; of those asked meanwhile {len(later)} were"
            return Finding(True, told, (*op.events, *later[0].events))
    return Finding(None, "every request was answered, or nobody asked beside it")


def lost_with_worker(history: History) -> Finding:
    """A batch lacks the tasks that a worker had when it was killed."""
    lacking = [op for op in operations(history, {"ventilate": "batch"}) if op.outcome == "unknown"]
    if not lacking:
        return Finding(None, "every batch came through whole")
    told = str(lacking[0].completed["error"]) if lacking[0].completed else "it was given up"
    return Finding(True, told, lacking[0].events)


def tallies(history: History) -> list[Event]:
    """Give what each subscriber had last counted of each topic of each stream."""
    latest = {
        (e["component"], e["node"], e["stream"], e["topic"]): e
        for e in history
        if e["event"] == "tally"
    }
    return list(latest.values())


def figures(history: History) -> dict[str, float]:
    """Give what was lost: requests without an answer, tasks of batches, updates of streams."""
    events = list(history)
    unanswered = sum(op.outcome != "ok" for op in operations(events, {"ask": "ask"}))
    lacking = sum(op.outcome != "ok" for op in operations(events, {"ventilate": "batch"}))
    lost = sum(tally["lost"] for tally in tallies(events))
    return {"lost": unanswered + lacking + lost}


def _published(events: Iterable[Event], stream: str) -> Event | None:
    named = (e for e in events if e["event"] == "summary" and e.get("stream") == stream)
    return next((event for event in named if "published" in event), None)


def _end(op: Operation) -> float:
    """When it was given up, or for ever."""
    return float(op.completed["t"]) if op.completed is not None else op.end

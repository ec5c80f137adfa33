"""What the greeter promises, judged over a history of clients' and the server's events."""

from __future__ import annotations

from apps.kit.claims import Event, Finding, History
from apps.kit.executions import executed_as_told, unknown_calls
from apps.kit.history import left_out, operations

GREET = ("greet",)


def greeted_as_told(history: History) -> Finding:
    """Who was answered was greeted once, who failed never, who does not know at most once."""
    return executed_as_told(history, GREET)


def unknown_greetings(history: History) -> Finding:
    """Some call was of unknown outcome: it was sent, and not answered in time."""
    return unknown_calls(history, GREET)


def answers_are_theirs(history: History) -> Finding:
    """Every guest was answered with a greeting of its own name, the one that was made for it."""
    events = list(history)
    made = {event["call"]: event for event in events if event["event"] == "executed"}
    judged = 0
    for op in operations(events, {name: name for name in GREET}):
        if op.outcome != "ok":
            continue
        judged += 1
        if op.value["name"] not in op.result:
            what = f"{op.value['name']!r} was told {op.result!r}"
            return Finding(False, what, op.events)
        if op.op in made and made[op.op]["text"] != op.result:
            what = f"{op.result!r} was told, and {made[op.op]['text']!r} was made"
            return Finding(False, what, (*op.events, made[op.op]))
    if not judged:
        return Finding(None, "nobody was greeted")
    return Finding(True, f"{judged} answers, each its own call's")


def ears_hear_all_in_order(history: History) -> Finding:
    """While its connection lives, an ear hears every greeting once, in order."""
    events = list(history)
    last: dict[str, Event] = {}
    heard = 0
    for event in events:
        if event["event"] != "heard":
            continue
        heard += 1
        ear = str(event["by"])
        before = last.get(ear)
        if before is not None and event["number"] != before["number"] + 1:
            if left_out(events):
                return Finding(None, "some events were left out, for there were too many")
            what = f"{ear} heard {event['number']} after {before['number']}"
            return Finding(False, what, (before, event))
        last[ear] = event
    if not heard:
        return Finding(None, "no ear heard anything")
    return Finding(True, f"{len(last)} ears heard {heard} greetings, none missing in between")

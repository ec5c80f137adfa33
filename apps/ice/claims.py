"""What the greeter promises, judged over a history of clients' and the server's events."""

from __future__ import annotations

from apps.kit.claims import Event, Finding, History
from apps.kit.executions import executed_as_told, unknown_calls
from apps.kit.history import left_out

GREET = ("greet",)


def greeted_as_told(history: History) -> Finding:
    """Who was answered was greeted once, who failed never, who does not know at most once."""
    return executed_as_told(history, GREET)


def unknown_greetings(history: History) -> Finding:
    """Some call was of unknown outcome: it was sent, and not answered in time."""
    return unknown_calls(history, GREET)


def answers_are_theirs(history: History) -> Finding:
    """Every guest was answered with the very greeting that was made for that call."""
    made = {e["call"]: e for e in history if e["event"] == "executed"}
    judged = 0
    for event in history:
        if event["event"] != "ok" or event["f"] not in GREET or event["op"] not in made:
            continue
        judged += 1
        if made[event["op"]]["text"] != event["value"]:
            what = f"{event['op']} was told {event['value']!r}"
            return Finding(False, what, (made[event["op"]], event))
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

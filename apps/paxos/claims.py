"""What a run of Paxos is judged by.

Promised, whatever befalls anybody (the paper's section 2.1): of a decree at most one value is
chosen; it was proposed; and nobody says that another one was, or that none was once it was told.
Promised too, for it is what the proof stands on (section 2.2): an acceptor keeps its promises, over
its restarts (P1a), and a number stands for one value. What a majority of the acceptors accepted by
one number is chosen, whether anybody learnt of it or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TypeAlias

from apps.kit.claims import Event, Finding, History
from apps.kit.history import operations
from apps.paxos.core import majority

Key: TypeAlias = tuple[str, tuple[int, ...]]
"""A decree and a number."""


def one_value_chosen(history: History, acceptors: int) -> Finding:
    """No two values of a decree were each accepted by a majority, by one number, of so many."""
    quorum = majority(acceptors)
    votes: dict[Key, dict[str, Event]] = defaultdict(dict)
    chosen: dict[str, tuple[Event, ...]] = {}
    for event in history:
        if event["event"] != "accepted":
            continue
        cast = votes[event["decree"], tuple(event["number"])]
        cast[event["node"]] = event
        if len(cast) < quorum:
            continue
        before = chosen.setdefault(event["decree"], tuple(cast.values()))
        if before[0]["value"] != event["value"]:
            told = f"{event['decree']}: {before[0]['value']!r} and {event['value']!r} were chosen"
            return Finding(False, told, (*before, *cast.values()))
    if not chosen:
        return Finding(None, "nothing was chosen in this history")
    return Finding(True, f"{len(chosen)} decrees, of each one value was chosen")


def one_story(history: History) -> Finding:
    """Whoever tells what was chosen for a decree tells the same: proposers, learners, clients."""
    told: dict[str, Event] = {}
    count = 0
    for event in history:
        for decree, value in _words(event):
            count += 1
            first = told.setdefault(decree, event)
            (_, known), *_ = _words(first)
            if known != value:
                return Finding(False, f"{decree} is {known!r} and {value!r}", (first, event))
    if not told:
        return Finding(None, "nobody was told of anything chosen in this history")
    return Finding(True, f"{count} times it was told what {len(told)} decrees are, always alike")


def none_is_untold(history: History, skew: float = 0.0) -> Finding:
    """Nobody hears that nothing is chosen who asked after somebody was told what is.

    `skew` is the most by which the clients' clocks differ, in seconds.
    """
    done = [operation for operation in operations(history) if operation.outcome == "ok"]
    known = [operation for operation in done if operation.result.get("value") is not None]
    first = {o.result["decree"]: o for o in sorted(known, key=lambda o: -o.end)}
    asked = [operation for operation in done if operation.f == "chosen"]
    for operation in asked:
        before = first.get(operation.result.get("decree", ""))
        untold = operation.result.get("value", "") is None
        if untold and before is not None and before.end + skew < operation.start:
            told = f"nothing was chosen for {operation.result['decree']}, after something was"
            return Finding(False, told, (*before.events, *operation.events))
    return Finding(True, f"{len(asked)} questions, none answered by less than was known before")


def chosen_was_proposed(history: History) -> Finding:
    """What was told to be chosen for a decree, a client had proposed for it."""
    proposed: set[tuple[str, str]] = set()
    told: dict[tuple[str, str], Event] = {}
    for event in history:
        if event["event"] == "invoke" and event["f"] == "propose":
            proposed.add((event["value"]["decree"], event["value"]["value"]))
        for word in _words(event):
            told.setdefault(word, event)
    for word, event in told.items():
        if word not in proposed:
            return Finding(False, f"nobody proposed {word[1]!r} for {word[0]}", (event,))
    if not told:
        return Finding(None, "nobody was told of anything chosen in this history")
    return Finding(True, f"{len(told)} values were chosen, all of them proposed by clients")


def promises_kept(history: History) -> Finding:
    """No acceptor promised or accepted a number below one that it had promised (P1a)."""
    highest: dict[tuple[str, str], Event] = {}
    count = 0
    for event in history:
        if event["event"] not in ("promised", "accepted"):
            continue
        count += 1
        place = (event["node"], event["decree"])
        before = highest.setdefault(place, event)
        if event["number"] < before["number"]:
            said = f"{event['node']} {event['event']} {event['number']} after {before['number']}"
            return Finding(False, f"{event['decree']}: {said}", (before, event))
        highest[place] = event
    if not count:
        return Finding(None, "no acceptor promised anything in this history")
    return Finding(True, f"{count} times acceptors promised or accepted, each as it had promised")


def numbers_used_once(history: History) -> Finding:
    """No two attempts have the same number, over restarts too, and none stands for two values."""
    used: dict[Key, Event] = {}
    stands: dict[Key, Event] = {}
    for event in history:
        if event["event"] not in ("prepare", "accepted"):
            continue
        key = (event["decree"], tuple(event["number"]))
        if event["event"] == "prepare":
            if key in used:
                told = f"{event['decree']}: {event['number']} was used twice"
                return Finding(False, told, (used[key], event))
            used[key] = event
        elif stands.setdefault(key, event)["value"] != event["value"]:
            told = f"{event['decree']}: {event['number']} stands for two values"
            return Finding(False, told, (stands[key], event))
    if not used:
        return Finding(None, "nobody proposed anything in this history")
    return Finding(True, f"{len(used)} attempts, each with a number of its own")


def duel(history: History, decree: str, rounds: int) -> Finding:
    """Shown if proposers outbid each other so often, each of them, and nothing was chosen."""
    bids = [e for e in history if e["event"] == "prepare" and e.get("decree") == decree]
    ends = [e for e in history if e["event"] == "chosen" and e.get("decree") == decree]
    each = [sum(bid["node"] == node for bid in bids) for node in {bid["node"] for bid in bids}]
    shown = len(each) > 1 and min(each) >= rounds and not ends
    what = "something" if ends else "nothing"
    told = f"{len(bids)} rounds of {len(each)} proposers, and {what} was chosen"
    return Finding(shown, told, tuple(bids[-4:]))


def unbroken(promise: Finding) -> Finding:
    """Take a promise for kept of which a history shows nothing."""
    if promise.holds is None:
        return Finding(True, f"{promise.detail}, so nothing broke it")
    return promise


def _words(event: Event) -> Iterator[tuple[str, str]]:
    """Give the decree and the value that an event says is chosen, if it says so."""
    if event["event"] == "chosen":
        yield event["decree"], event["value"]
    elif event["event"] == "ok" and event["f"] in ("propose", "chosen"):
        told = event["value"]
        if told.get("value") is not None:
            yield told["decree"], told["value"]

"""What upcalls promise, as judged over the events of publishers, of clients and of the server.

A client writes `called` when its callback begins; `told`, in the answer to a publisher, names the
subscriptions whose callback has returned.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from apps.kit.checkers import exactly_once, fifo
from apps.kit.claims import Event, Finding, History
from apps.kit.faults import injections
from apps.kit.history import Operation, operations

PUBLISH = {"publish": "publish", "nested": "publish"}
"""A callback's publishing is `nested`: it is answered before anybody is told."""
TARDY = 1.0
"""Seconds by which a busy host may look at a deadline too late."""


def delivered_once(history: History) -> Finding:
    """Each event was delivered once to each subscription that its publisher heard was told.

    Nothing else was delivered but events of unknown outcome, or to subscriptions that were ended
    before they answered; once these, too. What failed was delivered to nobody. A host that lost
    its power lost the last lines of its journal, so what it does not show proves nothing.
    """
    events = list(history)
    published = {op.op: op for op in operations(events, PUBLISH)}
    dark = {host for event in injections(events, "power_off") for host in event["hosts"]}
    told = list(_as_messages(events, published, dark))
    return exactly_once(told, at="subscription")


def _as_messages(
    events: list[Event], published: dict[str, Operation], dark: Container[str]
) -> Iterator[Event]:
    """Give what is owed as messages sent, and what was called as messages received."""
    owed = {
        f"{op.op}@{subscription}": op
        for op in published.values()
        for subscription in (op.result or {}).get("told", ())
        if subscription.partition("/")[0] not in dark
    }
    for id_, op in owed.items():
        ends = op.completed or op.invoked
        yield {**ends, "event": "send", "id": id_, "subscription": id_.partition("@")[2]}
    for event in events:
        if event["event"] == "left_out":
            yield event
        if event["event"] != "called":
            continue
        id_ = f"{event['id']}@{event['subscription']}"
        op_ = published.get(event["id"])
        if id_ not in owed and op_ is not None and op_.outcome != "fail":
            yield {**op_.invoked, "event": "send", "id": id_, "subscription": event["subscription"]}
            owed[id_] = op_
        yield {**event, "event": "recv", "id": id_}


def in_order(history: History) -> Finding:
    """Each subscription is called with 1, 2, 3, and so on, in the order of the server.

    One that is older than the history goes on from where it is.
    """
    events = list(history)
    last: dict[str, int] = {}
    count = 0
    for event in events:
        if event["event"] == "registered":
            last[event["subscription"]] = 0
        elif event["event"] == "called":
            which, seq = event["subscription"], event["seq"]
            if seq != last.get(which, seq - 1) + 1:
                told = f"{which} was called with {seq} after {last[which]}"
                return Finding(False, told, (event,))
            last[which] = seq
            count += 1
    if not count:
        return Finding(None, "nobody was called")
    ordered = fifo(events, sent="accepted", delivered="called", at="subscription")
    if ordered.holds is not True:
        return ordered
    return Finding(True, f"{count} upcalls to {len(last)} subscriptions, in order")


def evicted_in_time(history: History) -> Finding:
    """Who was silent, or did not answer, was evicted within the bound."""
    found = [e for e in history if e["event"] == "evicted" and "bound" in e]
    if not found:
        return Finding(None, "nobody had to be evicted")
    for event in found:
        if event["waited"] > event["bound"] + TARDY:
            told = f"{event['subscription']} was evicted after {event['waited']:.1f} s"
            return Finding(False, f"{told}, the bound is {event['bound']:g} s", (event,))
    longest = max(event["waited"] for event in found)
    told = f"{len(found)} evicted ({', '.join(sorted({e['why'] for e in found}))})"
    return Finding(True, f"{told}, after {longest:.2f} s at most", tuple(found[:3]))


def others_undisturbed(history: History, troubled: set[str], since: float, until: float) -> Finding:
    """Nobody but these hosts was evicted meanwhile, and the others were called."""
    during = [event for event in history if since <= event["t"] <= until]
    for event in during:
        name = event.get("subscription", "").partition("/")[0]
        if event["event"] == "evicted" and name not in troubled:
            return Finding(False, f"{name} was evicted, too: {event['why']}", (event,))
    called = [e for e in during if e["event"] == "called" and e["node"] not in troubled]
    if not called:
        return Finding(False, "nobody else was called meanwhile")
    return Finding(True, f"{len(called)} upcalls to others meanwhile, none of them evicted")


def called_back_in(history: History) -> Finding:
    """Callbacks called the server, were answered, and returned: their publishers were told."""
    events = list(history)
    nested = operations(events, {"nested": "nested"})
    if not nested:
        return Finding(None, "no callback called in")
    for op in nested:
        if op.outcome != "ok":
            return Finding(
                False, f"a call from a callback was not answered: {op.outcome}", op.events
            )
    told = {
        (op.op, subscription)
        for op in operations(events, {"publish": "publish"})
        for subscription in (op.result or {}).get("told", ())
    }
    outer = {(op.invoked["within"], op.invoked["subscription"]) for op in nested}
    if not outer & told:
        return Finding(False, "no callback that called in has returned, as far as publishers know")
    return Finding(True, f"{len(nested)} calls from callbacks, {len(outer & told)} returned")


def evicted_miss(history: History) -> Finding:
    """Some event was told to others, and missed by who was evicted over it."""
    found = [op for op in operations(history, PUBLISH) if (op.result or {}).get("missed")]
    if not found:
        return Finding(None, "nobody missed anything")
    who = sorted({name for op in found for name in op.result["missed"]})
    told = f"{len(found)} events were missed by {', '.join(who[:3])}, and their publishers know"
    return Finding(True, told, found[0].events)


def told_to_all(history: History, names: set[str]) -> Finding:
    """The last event that was published was told to the clients of all these names."""
    published = operations(history, {"publish": "publish"})
    if not published:
        return Finding(None, "nothing was published")
    result = published[-1].result or {"told": [], "missed": []}
    told = {name.partition("/")[0] for name in result["told"]}
    detail = f"told: {', '.join(sorted(told)) or 'nobody'}; missed: {len(result['missed'])}"
    return Finding(names <= told and not result["missed"], detail, published[-1].events)

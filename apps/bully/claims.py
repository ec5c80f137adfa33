"""What a run of the election is judged by.

Promised, whatever befalls the nodes: an epoch has one coordinator; no node goes back to an earlier
epoch; none obeys an order of an epoch that it has left. Promised once all is calm, as the paper
has it: the highest live node leads, and all live nodes follow it. A known limit: two coordinators
at once, where the network was parted or a node paused.

All nodes of one history are of one election; `settled` judges the history up to its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from apps.kit.claims import Event, Finding, History

TURNS = ("election", "halt", "halted", "follow", "lead")
"""Events that say what a node now takes part in; the last one says what it does."""
EPOCHS = (*TURNS, "obey")


def one_coordinator_an_epoch(history: History) -> Finding:
    """No epoch is led twice, by two nodes or by two lives of one."""
    led: dict[tuple[int, ...], Event] = {}
    for event in history:
        if event["event"] == "lead":
            epoch = tuple(event["epoch"])
            if epoch in led:
                return Finding(False, f"epoch {list(epoch)} was led twice", (led[epoch], event))
            led[epoch] = event
    if not led:
        return Finding(None, "nobody led in this history")
    return Finding(True, f"{len(led)} epochs, each led once")


def epochs_grow(history: History) -> Finding:
    """No node goes back to an earlier epoch, over its restarts too: they are durable."""
    return _grow(history, TURNS, "took part in", "went back to an earlier epoch")


def deposed_are_refused(history: History) -> Finding:
    """No node obeys an order of an earlier epoch than one that it took part in."""
    return _grow(history, EPOCHS, "obeyed orders of", "obeyed a deposed coordinator", "obey")


def settled(history: History, live: Sequence[str]) -> Finding:
    """The highest of the live nodes leads, and all others follow it, in one epoch.

    `live` are their names, the lowest first. What a node said last counts: by its own events, or
    to a client that asked who leads.
    """
    last: dict[str, Event] = {}
    for event in history:
        if event["event"] in TURNS:
            last[event["node"]] = event
        elif event["event"] == "ok" and event.get("f") in ("who", "leader"):
            last[event["value"]["node"]] = event
    highest = live[-1]
    for node in reversed(live):
        said = last.get(node)
        if said is None or _follows(said) != highest:
            what = "lead" if node == highest else f"follow {highest}"
            return Finding(False, f"{node} does not {what}", _witness(said, last.get(highest)))
        if _epoch(said) != _epoch(last[highest]):
            what = f"{node} follows {highest} in another epoch"
            return Finding(False, what, _witness(said, last[highest]))
    told = f"{highest} leads {', '.join(live[:-1])}" if live[:-1] else f"{highest} leads"
    return Finding(True, told, (last[highest],))


def _follows(said: Event) -> str | None:
    """Give whom a node follows, itself perhaps, by what it said."""
    if said["event"] == "lead":
        return str(said["node"])
    told = said["value"] if said["event"] == "ok" else said
    return told.get("leader") if told.get("status", "normal") == "normal" else None


def _epoch(said: Event) -> object:
    return said["value"]["epoch"] if said["event"] == "ok" else said["epoch"]


def unbroken(promise: Finding) -> Finding:
    """Take a promise for kept of which a history shows nothing, as one without any election."""
    if promise.holds is None:
        return Finding(True, f"{promise.detail}, so nothing broke it")
    return promise


def two_coordinators(history: History, since: float = 0.0) -> Finding:
    """Shown if a node still believed to lead when another one began to, later than `since`.

    That it believed so still is told by what it does next; a node that recovers was dead.
    """
    leading: dict[str, tuple[Event, list[Event]]] = {}
    for event in history:
        if event["event"] not in TURNS:
            continue
        lead, others = leading.pop(event["node"], (None, []))
        if lead is not None and others and event.get("why") != "recovery":
            told = f"{lead['node']} and {others[0]['node']} coordinated at once"
            return Finding(True, told, (lead, others[0], event))
        if event["event"] == "lead":
            for _, later in leading.values():
                later.extend([event] if event["t"] > since else [])
            leading[event["node"]] = (event, [])
    return Finding(None, "no two coordinated at once in this history")


def _grow(
    history: History, names: Sequence[str], did: str, wrong: str, wanted: str = ""
) -> Finding:
    latest: dict[str, Event] = {}
    count = 0
    for event in history:
        if event["event"] not in names:
            continue
        before = latest.setdefault(event["node"], event)
        if event["epoch"] < before["epoch"] and wanted in ("", event["event"]):
            return Finding(False, f"{event['node']} {wrong}", (before, event))
        if event["epoch"] > before["epoch"]:
            latest[event["node"]] = event
        count += event["event"] == wanted or not wanted
    if not count:
        return Finding(None, f"no node {did} any epoch in this history")
    return Finding(True, f"{len(latest)} nodes {did} growing epochs alone, {count} times")


def _witness(*events: Event | None) -> tuple[Event, ...]:
    return tuple(event for event in events if event is not None)

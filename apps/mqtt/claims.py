"""What each quality of service promises, as judged over publishers' and subscribers' events.

A publisher's `publish1` and `publish2` are `ok` when the broker has confirmed them. A subscriber
numbers its deliveries; `recorded`, which it writes when it starts, tells the last of them again, so
that no delivery is missing because a power cut took the end of a journal.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from apps.kit.checkers import at_least_once, at_most_once, fifo
from apps.kit.claims import Event, Finding, History
from apps.kit.faults import injections
from apps.kit.history import Operation, operations

BROKER, SUBSCRIBER = "mqtt_broker", "mqtt_subscriber"
READINGS, JOBS, MARKS = "readings/", "jobs/", "readings/mark/"
NOTHING = Finding(None, "nothing was published")


def nothing_lost(history: History, qos: int, subscribers: Collection[str]) -> Finding:
    """What was confirmed to its publisher was delivered to every subscriber."""
    return at_least_once(_traffic(history, READINGS, qos), to=subscribers)


def exactly_once(history: History, subscribers: Collection[str]) -> Finding:
    """What was confirmed at QoS 2 was delivered to every subscriber, once; what is unknown, once.

    What definitely failed was delivered to nobody.
    """
    events = list(_traffic(history, READINGS, 2))
    for finding in (at_most_once(events), _nothing_failed(events)):
        if finding.holds is False:
            return finding
    found = at_least_once(events, to=subscribers)
    return Finding(True, f"{found.detail}, once") if found.holds else found


def in_order(history: History) -> Finding:
    """What one publisher sent first at one QoS was delivered first, wherever both were."""
    events = list(history)
    sent = [e for e in events if e["event"] == "send" and e.get("topic", "").startswith(READINGS)]
    done = [e for e in deliveries(events) if e["topic"].startswith(READINGS)]
    # A recorded delivery that no journal has may stand too late, but in its order.
    done.sort(key=lambda e: (e["node"], e["number"]))
    return fifo([*sent, *done], sender=lambda e: (e["node"], e["topic"]))


def one_of_the_group(history: History) -> Finding:
    """Each job was delivered once, to one of the group, and all had a share."""
    events = list(_traffic(history, JOBS, 2))
    finding = at_most_once(events, at=lambda _: "the group")
    if finding.holds is not False:
        finding = at_least_once(events)
    if not finding.holds:
        return finding
    shares: dict[str, int] = {}
    for event in events:
        if event["event"] == "recv":
            shares[event["node"]] = shares.get(event["node"], 0) + 1
    told = ", ".join(f"{node} {count}" for node, count in sorted(shares.items()))
    return Finding(len(shares) > 1, f"{finding.detail} to one of the group: {told}")


def will_fired(history: History, client: str, host: str) -> Finding:
    """When the client's host was cut off, others were told that it is gone, before it returned."""
    events = list(history)
    cuts = [e for e in injections(events, "partition") if host == e["fault"]["hosts"][0]]
    if not cuts:
        return Finding(None, f"{host} was never cut off")
    cut = cuts[-1]
    back = [e["t"] for e in events if e["event"] == "heal" and e["id"] == cut["id"]]
    for event in events:
        told = event["event"] == "presence" and event["client"] == client
        if told and event["state"] == "offline" and event["t"] > cut["t"]:
            after = event["t"] - cut["t"]
            if back and event["t"] > back[0]:
                break
            return Finding(True, f"{event['node']} was told after {after:.1f} s", (cut, event))
    return Finding(False, f"nobody was told that {client} is gone", (cut,))


def retained(heard: History, clients: Collection[str]) -> Finding:
    """Who subscribed late was given the last state of each of these clients at once."""
    told = [e for e in heard if e["event"] == "recv" and e["retain"]]
    had = {e["topic"].removeprefix("state/"): e["text"] for e in told}
    missing = sorted(set(clients) - had.keys())
    if missing:
        return Finding(False, f"nothing is retained of {', '.join(missing)}", tuple(told[:3]))
    states = ", ".join(f"{client} {had[client]}" for client in sorted(clients))
    return Finding(True, states, tuple(told[:3]))


def served(history: History, subscribers: Collection[str]) -> Finding:
    """What was published last, when all was well again, was delivered to every subscriber."""
    return at_least_once(_traffic(history, MARKS, 2), to=subscribers)


# Limits


def lost_at_qos0(history: History, subscribers: Collection[str]) -> Finding:
    """Something that was sent at QoS 0 never arrived."""
    events = list(history)
    sent = [e for e in events if e["event"] == "send" and e.get("qos") == 0]
    begun = _begun(events)
    sent = [e for e in sent if e["topic"].startswith(READINGS) and e["t"] >= begun]
    had = {(e["node"], e["id"]) for e in deliveries(events)}
    lost = [e for e in sent if any((node, e["id"]) not in had for node in subscribers)]
    if not sent:
        return NOTHING
    told = f"{len(lost)} of {len(sent)} sent did not reach everybody"
    return Finding(bool(lost), told, tuple(lost[:2]))


def repeated_at_qos1(history: History) -> Finding:
    """Something that was published once at QoS 1 was delivered twice to one subscriber."""
    events = list(_traffic(history, READINGS, 1))
    found = at_most_once(events)
    if found.holds is not False:
        return Finding(found.holds and False, found.detail)
    return Finding(True, f"{copies(history, 1)} second deliveries", found.witness)


def lost_by_kill(history: History, subscribers: Collection[str]) -> Finding:
    """Something that the broker had confirmed before it was killed never arrived."""
    found = nothing_lost(history, 1, subscribers)
    return Finding(None if found.holds is None else not found.holds, found.detail, found.witness)


def forgetful(history: History) -> str:
    """Say why the broker may have forgotten what it had confirmed; nothing if it cannot have.

    It saves everything when it ends in good order, and then says so; a history begins with it up.
    """
    said_goodbye = False
    for event in history:
        if event["event"] == "inject":
            fault = event["fault"]
            if fault["fault"] in {"disk", "clock"} and fault["component"] == BROKER:
                return f"on a bad {fault['fault']}"
        elif event["component"] == "broker" and event["event"] == "ready":
            if not said_goodbye:
                return "ended without a goodbye"
            said_goodbye = False
        elif event["component"] == "broker" and event["event"] == "stopped":
            said_goodbye = True
    return ""


# What was delivered


def deliveries(history: History) -> list[Event]:
    """Give the deliveries of all subscribers, each once, whether a journal or a record has it."""
    events = list(history)
    had: dict[tuple[str, int], Event] = {}
    for event in events:
        if event["event"] == "recv" and "number" in event:
            had.setdefault((event["node"], event["number"]), event)
    topics = {e["id"]: e["topic"] for e in events if e["event"] == "send" and "topic" in e}
    for event in events:
        if event["event"] != "recorded":
            continue
        for number, id_ in event["deliveries"]:
            if id_ in topics and (event["node"], number) not in had:
                told = {"event": "recv", "id": id_, "number": number, "topic": topics[id_]}
                had[event["node"], number] = {**event, **told}
    return list(had.values())


def copies(history: History, qos: int) -> int:
    """Count the deliveries of readings at a QoS beyond each one's first at its place."""
    had = [(e["node"], e["id"]) for e in _traffic(history, READINGS, qos) if e["event"] == "recv"]
    return len(had) - len(set(had))


def _traffic(history: History, topics: str, qos: int) -> Iterator[Event]:
    """Give what is owed as `send` (it was confirmed), and what was delivered of it as `recv`."""
    events = list(history)
    published = _published(events, topics, qos)
    for op in published.values():
        if op.outcome == "ok" and op.completed is not None:
            yield {**op.completed, "event": "send", "id": op.op}
    for event in deliveries(events):
        op_ = published.get(event["id"])
        if op_ is not None:
            yield {**event, "outcome": op_.outcome}
    yield from (e for e in events if e["event"] == "left_out")


def _published(events: list[Event], topics: str, qos: int) -> dict[str, Operation]:
    begun = _begun(events)
    found = operations(events, {f"publish{qos}": "publish"})
    ours = [op for op in found if str(op.invoked["topic"]).startswith(topics)]
    return {op.op: op for op in ours if op.start >= begun}


def _begun(events: list[Event]) -> float:
    """Give when the first client began: by then every host's journal was listened to.

    What the sensors published while that was being set up may be in one journal and not in another.
    """
    return min((e["t"] for e in events if e["component"] == "publish"), default=-math.inf)


def _nothing_failed(events: list[Event]) -> Finding:
    for event in events:
        if event["event"] == "recv" and event["outcome"] == "fail":
            return Finding(False, f"{event['id']} failed, and was delivered", (event,))
    return Finding(True, "nothing that failed was delivered")

"""What publisher and subscribers promise, over a history of both ends' events.

A `send` has the message's name, the schema it was written with, a checksum of what it says, and
`hostile` if it was spoilt on its way. A `recv` or `refused` has the same name and its `reader`, a
life of a subscriber; a reader's `counts` are of one stream, from the first number that it saw.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from apps.flatbuffers_zmq.codec import QUALITY
from apps.kit.checkers.deliveries import at_most_once, fifo
from apps.kit.claims import Event, Finding, History
from apps.kit.history import left_out


def delivered_is_what_was_sent(history: History) -> Finding:
    """What a reader was given says what was published, by its checksum; once, and in order."""
    events = list(history)
    sent = {event["id"]: event for event in events if _is_sent(event)}
    both = [event for event in events if _is_read(event) and event["id"] in sent]
    for event in both:
        if event["crc"] != sent[event["id"]]["crc"]:
            told = f"{event['id']} says something else than what was published"
            return Finding(False, told, (sent[event["id"]], event))
    if not both:
        return Finding(None, "no message was seen at both ends")
    for found in (
        at_most_once(events, delivered=_is_read, at="reader"),
        fifo(events, sent=_is_sent, delivered=_is_read, sender=_stream, at="reader"),
    ):
        if found.holds is False:
            return found
    readers = {event["reader"] for event in both}
    return Finding(True, f"{len(both)} deliveries to {len(readers)} readers, each as it was sent")


def hostile_is_refused(history: History) -> Finding:
    """What must not be read was refused by each reader that it reached, and nothing else was."""
    events = list(history)
    sent = {event["id"]: event for event in events if _is_sent(event)}
    hostile = {name for name, event in sent.items() if "hostile" in event}
    refused = [event for event in events if event["event"] == "refused" and "reader" in event]
    for event in events:
        if _is_read(event) and event["id"] in hostile:
            told = f"{event['id']} was delivered: {sent[event['id']]['hostile']}"
            return Finding(False, told, (sent[event["id"]], event))
    for event in refused:
        if event.get("id") in sent and event["id"] not in hostile:
            return Finding(
                False, f"{event['id']} was good, and refused", (sent[event["id"]], event)
            )
    readers = {event["reader"] for event in refused if event.get("id") in hostile}
    if not readers:
        return Finding(None, "no reader met a hostile buffer")
    kinds = {event["hostile"] for event in sent.values() if "hostile" in event}
    told = (
        f"{len(hostile)} hostile buffers of {len(kinds)} kinds, refused by {len(readers)} readers"
    )
    return Finding(True, f"{told}, {len(refused)} times in all")


def loss_is_counted(history: History) -> Finding:
    """What a reader counts as received, refused and lost is what it told one by one.

    Between its first and its last word on a stream: the history may begin in the middle of it.
    """
    events = list(history)
    if unseen := left_out(events):
        return Finding(None, f"{unseen} messages were not told one by one")
    streams = lost = 0
    for came, counts in _told(events):
        first, last = counts[0], counts[-1]
        span = range(first["highest"] + 1, last["highest"] + 1)
        seen = {name: sum(number in span for number in came[name]) for name in came}
        expected = {**seen, "lost": len(span) - seen["received"] - seen["refused"]}
        for name, count in expected.items():
            if last[name] - first[name] != count:
                told = f"it counts {last[name] - first[name]} {name}, and {count} were"
                return Finding(False, f"{last['stream']}: {told}", (first, last))
        streams += 1
        lost += expected["lost"]
    if not streams:
        return Finding(None, "no reader reported twice of a stream")
    return Finding(True, f"{streams} streams at their readers, {lost} messages lost, all counted")


def schemas_agree(history: History) -> Finding:
    """Old and new readers read what old and new writers wrote: what they know, else the default."""
    events = list(history)
    sent = {event["id"]: event for event in events if _is_sent(event)}
    met: dict[tuple[str, str], Event] = {}
    for event in events:
        if not _is_read(event) or event["id"] not in sent:
            continue
        sending = sent[event["id"]]
        written, read = sending["schema"], event["read_with"]
        known = sending if written == read == "new" else {"unit": "", "quality": QUALITY}
        wrong = [name for name in ("unit", "quality") if event[name] != known[name]]
        if wrong or event["crc"] != sending["crc"]:
            told = f"{event['id']}, written with the {written} schema, read with the {read}"
            return Finding(False, f"{told}: wrong {(wrong or ['content'])[0]}", (sending, event))
        met.setdefault((written, read), event)
    told = ", ".join(f"{written} by {read}" for written, read in sorted(met))
    return Finding(True if len(met) == 4 else None, f"read: {told}", tuple(met.values()))


def loss_was_seen(history: History) -> Finding:
    """Some reader lost messages, and knows how many."""
    lossy = [last for last in _latest(history) if last["lost"]]
    if not lossy:
        return Finding(False, "no reader lost anything")
    lost = sum(last["lost"] for last in lossy)
    nodes = sorted({last["node"] for last in lossy})
    return Finding(True, f"{lost} lost at {', '.join(nodes)}", tuple(lossy[:2]))


def beginning_was_missed(history: History) -> Finding:
    """Some reader joined when the first messages were gone."""
    late = [last for last in _latest(history) if last["first"] > 1]
    if not late:
        return Finding(False, "every reader heard every stream from its begin")
    worst = max(late, key=lambda last: int(last["first"]))
    return Finding(
        True, f"{worst['node']} joined {worst['stream']} at number {worst['first']}", (worst,)
    )


def heard(history: History, publishers: frozenset[str], subscribers: frozenset[str]) -> Finding:
    """Each of the subscribers' hosts was given something by each of the publishers'."""
    reached = {(event["node"], event["peer"]) for event in history if _is_read(event)}
    wanted = {(node, peer) for node in subscribers for peer in publishers}
    if missing := sorted(wanted - reached):
        return Finding(
            False, "; ".join(f"{node} hears nothing of {peer}" for node, peer in missing)
        )
    return Finding(True, f"{len(wanted)} pairs of hosts")


def _told(events: list[Event]) -> Iterator[tuple[dict[str, list[int]], list[Event]]]:
    """Give for each reader and stream the numbers that came of it, and its counts."""
    came: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(
        lambda: {"received": [], "refused": []}
    )
    counts: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event["event"] == "counts":
            counts[event["reader"], event["stream"]].append(event)
        elif "reader" in event and "id" in event:
            fate = "received" if _is_read(event) else "refused"
            came[event["reader"], _stream(event)][fate].append(_number(event))
    for who, reports in counts.items():
        if len(reports) > 1:
            yield came[who], reports


def _latest(history: History) -> list[Event]:
    latest = {(e["reader"], e["stream"]): e for e in history if e["event"] == "counts"}
    return list(latest.values())


def _is_sent(event: Event) -> bool:
    return bool(event["event"] == "send" and "schema" in event)


def _is_read(event: Event) -> bool:
    return bool(event["event"] == "recv" and "reader" in event)


def _stream(event: Event) -> str:
    return str(event["id"]).rpartition("#")[0]


def _number(event: Event) -> int:
    return int(str(event["id"]).rpartition("#")[2])

"""What one-way datagrams promise, and what they do not, over a history of both ends' events.

The sender's `summary` says what it sent, the receiver's latest `counts` of the same stream what
came of it. `send` and `recv` events are bounded in rate, so of a fast run they are a sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from apps.kit.claims import Event, Finding, History
from apps.kit.history import messages
from apps.udp_oneway.wire import FAREWELLS

RECEIVER = "receiver"
FATES = ("received", "duplicated", "stale")
"""What becomes of a datagram that came, and is told one by one."""


def counts_add_up(history: History) -> Finding:
    """For every stream that ended, received and lost are together what was sent.

    The receiver cannot count beyond what it was told: of a stream whose end it never heard, it
    knows no more than the highest number, and the sum is that.
    """
    runs = sent_in_all = received = lost = 0
    for sent, counted in _both_ends(history):
        if counted is None:
            return Finding(None, f"the receiver knows nothing of {sent['stream']}", (sent,))
        known = sent["sent"] if counted["ended"] else counted["highest"]
        if counted["received"] + counted["lost"] != known or known > sent["sent"]:
            return Finding(False, f"they do not add up: {_figures(sent, counted)}", (sent, counted))
        if counted["received"] > sent["sent"] - sent["corrupted"]:
            return Finding(
                False, f"more came than went: {_figures(sent, counted)}", (sent, counted)
            )
        runs += 1
        sent_in_all += sent["sent"]
        received += counted["received"]
        lost += counted["lost"]
    if not runs:
        return Finding(None, "no run was finished")
    beyond = sent_in_all - received - lost
    told = f"{runs} runs: of {sent_in_all} sent, {received} were received and {lost} lost"
    return Finding(True, told + (f", and {beyond} beyond what was heard of" if beyond else ""))


def counts_are_what_came(history: History) -> Finding:
    """Each time that it reports a stream, the receiver has counted exactly what it said came.

    Of streams that ended in this history; a restarted receiver counts anew. None if it said of some
    datagrams only how many they were.
    """
    events = list(history)
    streams = {sent["stream"] for sent, _ in _both_ends(events)}
    came: dict[str, Counter[str]] = {}
    reports = 0
    for event in events:
        if event.get("component") != RECEIVER:
            continue
        fate = "received" if _is_delivered(event) else event["event"]
        if _is_restart(event):
            came.clear()
        elif fate == "left_out":
            return Finding(None, f"{event['events']} datagrams were not told one by one", (event,))
        elif fate in FATES:
            came.setdefault(event["id"].partition("#")[0], Counter())[fate] += 1
        elif fate == "counts" and event["stream"] in streams:
            told = came.get(event["stream"], Counter())
            wrong = [name for name in FATES if event[name] != told[name]]
            if wrong:
                what = f"it counts {event[wrong[0]]} {wrong[0]}, and {told[wrong[0]]} were"
                return Finding(False, what, (event,))
            reports += 1
    return Finding(True if reports else None, f"{reports} reports, each exactly what came")


def figures(history: History) -> dict[str, int]:
    """Count what became of all that was sent: lost, delivered or come twice, out of order.

    What was sent to a receiver that was down, or cut off, is lost too.
    """
    events = list(history)
    every = messages(events, sent=_is_sent, received=_is_delivered)
    late: dict[tuple[str, int], int] = {}
    life = 0
    for event in events:
        life += _is_restart(event)
        if event["event"] == "counts":
            late[event["stream"], life] = event["reordered"]
    copies = sum(event["event"] == "duplicated" for event in events)
    return {
        "sent": sum(bool(message.sends) for message in every),
        "lost": sum(message.lost for message in every),
        "duplicated": copies + sum(message.copies for message in every),
        "reordered": sum(late.values()),
    }


def nothing_corrupt_was_delivered(history: History) -> Finding:
    """Every datagram that was delivered has the payload with which it was sent, and comes once.

    A receiver that was restarted has forgotten what it had, and may deliver a copy.
    """
    events = list(history)
    twice = _delivered_twice(events)
    if twice:
        return Finding(False, f"{twice[0]['id']} was delivered twice", twice)
    sent = {event["id"]: event for event in events if _is_sent(event)}
    delivered = {event["id"]: event for event in events if _is_delivered(event)}
    both = sent.keys() & delivered.keys()
    for name in sorted(both):
        if sent[name]["crc"] != delivered[name]["crc"]:
            what = f"{name} was delivered with another payload"
            return Finding(False, what, (sent[name], delivered[name]))
    if not both:
        return Finding(None, "no datagram was seen at both ends")
    damaged = sum(e.get("corrupted", 0) for e in events if e["event"] == "summary")
    refused = sum(e["event"] == "corrupt" for e in events)
    return Finding(
        True, f"{len(both)} compared at both ends; {damaged} damaged ones sent, {refused} refused"
    )


def loss_was_seen(history: History) -> Finding:
    """Some stream lost datagrams; what the receiver's full buffer dropped is among them."""
    events = list(history)
    lossy = [(s, c) for s, c in _both_ends(events) if c and c["lost"] > s["corrupted"]]
    if not lossy:
        return Finding(False, "nothing was lost")
    lost = sum(counted["lost"] - sent["corrupted"] for sent, counted in lossy)
    told = "; ".join(_figures(sent, counted) for sent, counted in lossy)
    return Finding(
        True,
        f"{lost} lost{_at_the_receiver(events)}: {told}",
        tuple(counted for _, counted in lossy),
    )


def reordering_was_seen(history: History) -> Finding:
    """Some stream came out of order, or in copies."""
    mixed = [(s, c) for s, c in _both_ends(history) if c and c["reordered"] + c["duplicated"]]
    if not mixed:
        return Finding(False, "all came in order, and once")
    told = (
        f"{sent['stream']}: {counted['reordered']} came late ({sent['late']} were sent so), by "
        f"{counted['farthest']} numbers at most; {counted['duplicated']} copies came "
        f"({sent['copies']} were sent)"
        for sent, counted in mixed
    )
    return Finding(True, "; ".join(told), tuple(counted for _, counted in mixed))


def _delivered_twice(events: Sequence[Event]) -> tuple[Event, ...]:
    """Give the first two deliveries of one datagram by one life of the receiver, if there are."""
    delivered: dict[str, Event] = {}
    for event in events:
        if _is_restart(event):
            delivered.clear()
        elif _is_delivered(event):
            if event["id"] in delivered:
                return delivered[event["id"]], event
            delivered[event["id"]] = event
    return ()


def _is_sent(event: Event) -> bool:
    return bool(event["event"] == "send" and "crc" in event)


def _is_delivered(event: Event) -> bool:
    return bool(event["event"] == "recv" and "crc" in event)


def _is_restart(event: Event) -> bool:
    return bool(event["event"] == "start" and event.get("component") == RECEIVER)


def _both_ends(history: History) -> Iterator[tuple[Event, Event | None]]:
    """Give each run's summary, and what the receiver last counted of it."""
    summaries: dict[str, Event] = {}
    counts: dict[str, Event] = {}
    for event in history:
        if event["event"] == "summary" and "stream" in event:
            summaries[event["stream"]] = event
        elif event["event"] == "counts":
            counts[event["stream"]] = event
    for stream, summary in summaries.items():
        yield summary, counts.get(stream)


def _at_the_receiver(events: Sequence[Event]) -> str:
    """Tell what its kernel dropped between its first and its last word on it, if it said two."""
    totals = [event for event in events if event["event"] == "totals"]
    if len(totals) < 2:
        return ""
    dropped = totals[-1]["dropped"] - totals[0]["dropped"]
    heard = totals[-1]["ended"] - totals[0]["ended"]
    ends = FAREWELLS * sum(1 for _ in _both_ends(events)) - heard
    return f" and {ends} ends of runs; the receiver's full buffer dropped {dropped}"


def _figures(sent: Event, counted: Event) -> str:
    figures = ("received", "lost", "duplicated", "reordered")
    told = ", ".join(f"{counted[name]} {name}" for name in figures)
    return f"{sent['stream']}: {sent['sent']} sent, {told}"

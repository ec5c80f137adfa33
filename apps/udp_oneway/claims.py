"""What one-way datagrams promise, and what they do not, over a history of both ends' events.

The sender's `summary` says what it sent, the receiver's latest `counts` of the same stream what
came of it. `send` and `recv` events are bounded in rate, so of a fast run they are a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apps.kit.claims import Event, Finding, History
from apps.udp_oneway.wire import FAREWELLS


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


def nothing_corrupt_was_delivered(history: History) -> Finding:
    """Every datagram that was delivered has the payload with which it was sent."""
    sent: dict[str, Event] = {}
    delivered: dict[str, Event] = {}
    refused = damaged = 0
    for event in history:
        if event["event"] == "send" and "crc" in event:
            sent[event["id"]] = event
        elif event["event"] == "recv" and "crc" in event:
            if event["id"] in delivered:
                return Finding(False, f"{event['id']} was delivered twice", (event,))
            delivered[event["id"]] = event
        elif event["event"] == "corrupt":
            refused += 1
        elif event["event"] == "summary":
            damaged += event.get("corrupted", 0)
    both = sent.keys() & delivered.keys()
    for name in sorted(both):
        if sent[name]["crc"] != delivered[name]["crc"]:
            what = f"{name} was delivered with another payload"
            return Finding(False, what, (sent[name], delivered[name]))
    if not both:
        return Finding(None, "no datagram was seen at both ends")
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

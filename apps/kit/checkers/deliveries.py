"""How often what was sent is delivered, and in whose order: channels and broadcasts.

The definitions are those of Hadzilacos and Toueg ("A Modular Approach to Fault-Tolerant Broadcasts
and Related Problems", 1994). Messages have an id of their own (`id_`); what is sent and what is
delivered may be any events. Processes bound the rate at which they write message events: where a
history says that some were left out, what is missing in it proves nothing, and the finding is None.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from apps.kit.claims import Event, Finding, History
from apps.kit.history import Message, Pick, Which, chooser, frozen, left_out, messages, picker


@dataclass(frozen=True, slots=True)
class Traffic:
    """What became of the messages of a history."""

    sent: int
    """Messages, however often each was sent."""
    received: int
    """Of those, the ones that arrived at all."""
    lost: int
    duplicated: int
    """Receipts beyond the first of a message."""
    unsent: int
    """Messages that were received and not seen to be sent."""
    finding: Finding
    """Holds if all were received, once; the witness shows some that were not."""


def traffic(
    history: History, *, sent: Which = "send", received: Which = "recv", id_: Pick = "id"
) -> Traffic:
    """Count what was lost and duplicated, for all messages of a history."""
    events = list(history)
    found = messages(events, sent=sent, received=received, id_=id_)
    lost = [message for message in found if message.lost]
    copied = [message for message in found if message.copies]
    unsent = [message for message in found if message.unsent]
    copies = sum(message.copies for message in copied)
    sendings = len(found) - len(unsent)
    told = f"{sendings} sent, {len(lost)} lost, {copies} copies, {len(unsent)} of unknown origin"
    odd = (*_shown(lost[:1]), *_shown(copied[:1]), *_shown(unsent[:1]))
    holds = not odd if found and not left_out(events) else None
    finding = Finding(holds, told, odd)
    return Traffic(sendings, sendings - len(lost), len(lost), copies, len(unsent), finding)


def at_most_once(
    history: History, *, delivered: Which = "recv", id_: Pick = "id", at: Pick = "node"
) -> Finding:
    """No message is delivered twice at one place: integrity, without its origin."""
    first: dict[Hashable, Event] = {}
    name, place = picker(id_), picker(at)
    for message in messages(history, sent=(), received=delivered, id_=id_):
        for event in message.receipts:
            delivery = message.id, frozen(place(event))
            if delivery in first:
                told = f"{name(event)} was delivered twice"
                return Finding(False, told, (first[delivery], event))
            first[delivery] = event
    if not first:
        return Finding(None, "nothing was delivered")
    return Finding(True, f"{len(first)} deliveries, none of them twice")


def at_least_once(
    history: History,
    *,
    sent: Which = "send",
    delivered: Which = "recv",
    id_: Pick = "id",
    to: Iterable[Hashable] | None = None,
    at: Pick = "node",
) -> Finding:
    """Every message sent is delivered: validity. With `to`, at each of these places.

    Promised only of a history that went on until all was quiet.
    """
    events, place = list(history), picker(at)
    wanted = set(to or ())
    lost, missing = [], set[Hashable]()
    count = 0
    for message in messages(events, sent=sent, received=delivered, id_=id_):
        if not message.unsent:
            count += 1
            without = wanted - {frozen(place(event)) for event in message.receipts}
            if message.lost or without:
                lost.append(message)
                missing |= without
    if not count:
        return Finding(None, "nothing was sent")
    if not lost:
        return Finding(True, f"{count} sent, each delivered")
    at_whom = " to " + ", ".join(sorted(map(str, missing))) if missing else ""
    told = f"{len(lost)} of {count} sent were not delivered{at_whom}"
    if unseen := left_out(events):
        return Finding(None, f"{told}, and {unseen} events were left out", _shown(lost[:1]))
    return Finding(False, told, _shown(lost[:1]))


def exactly_once(
    history: History,
    *,
    sent: Which = "send",
    delivered: Which = "recv",
    id_: Pick = "id",
    to: Iterable[Hashable] | None = None,
    at: Pick = "node",
) -> Finding:
    """Every message sent is delivered once (at each of `to`), and nothing else is."""
    events = list(history)
    once = at_most_once(events, delivered=delivered, id_=id_, at=at)
    if once.holds is False:
        return once
    for message in messages(events, sent=sent, received=delivered, id_=id_):
        if message.unsent and not left_out(events):
            told = f"{message.id} was delivered, and nobody sent it"
            return Finding(False, told, _shown([message]))
    all_ = at_least_once(events, sent=sent, delivered=delivered, id_=id_, to=to, at=at)
    return all_ if not all_.holds else Finding(True, f"{all_.detail} once")


def fifo(
    history: History,
    *,
    sent: Which = "send",
    delivered: Which = "recv",
    id_: Pick = "id",
    sender: Pick = "node",
    at: Pick = "node",
) -> Finding:
    """What one sender sent first is delivered first, wherever both are: FIFO order.

    Only the first delivery of a message counts, and what is lost is not looked for.
    """
    events = list(history)
    is_sent, is_delivered = chooser(sent), chooser(delivered)
    name, who, where = picker(id_), picker(sender), picker(at)
    sendings: dict[Hashable, tuple[Hashable, int, Event]] = {}
    for number, event in enumerate(events):
        if is_sent(event):
            sendings.setdefault(frozen(name(event)), (frozen(who(event)), number, event))
    seen: set[tuple[Hashable, Hashable]] = set()
    latest: dict[tuple[Hashable, Hashable], tuple[int, Event, Event]] = {}
    for event in events:
        if not is_delivered(event):
            continue
        message, place = frozen(name(event)), frozen(where(event))
        if message not in sendings or (message, place) in seen:
            continue
        seen.add((message, place))
        source, number, sending = sendings[message]
        before = latest.get((source, place))
        if before is not None and before[0] > number:
            told = f"of two that {source} sent, the later was delivered first at {place}"
            return Finding(False, told, (sending, before[1], before[2], event))
        latest[source, place] = (number, sending, event)
    if not seen:
        return Finding(None, "nothing that was sent was delivered")
    return Finding(True, f"{len(seen)} deliveries on {len(latest)} ways, each way in its order")


def _shown(found: Iterable[Message]) -> tuple[Event, ...]:
    return tuple(event for one in found for event in (*one.sends[:1], *one.receipts[:2]))

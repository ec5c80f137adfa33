"""The registry: who is to be called up, for what, and what each has answered.

The problem: a server that calls its clients has all the troubles of a client. A callback may be
slow, the callee dead, the answer lost; the callback may call the server in its turn. None of that
may hold up the others, and each event is to arrive once, in order.

The rules. Each subscription numbers its upcalls from 1, and keeps what is not acknowledged; an
upcall that is not acknowledged in time is repeated with all that follow it (go-back-n), and the
client drops what it has had. So nothing is lost, doubled or overtaken while a subscription lives.
It lives as long as its client is heard (heartbeats) and answers its upcalls, each within a bound;
a queue that is full, or one of these bounds, ends it (eviction), and a client that returns gets a
new one. Nothing here waits: an upcall is a message and its answer another, so a callback can call
in, and one that never returns costs its own subscription alone.

A publisher is answered when each subscription that the event was for has acknowledged it (`told`)
or was ended (`missed`): what it is told, it knows, and no disk is needed for that (Saltzer, Reed
and Clark, "End-to-end arguments in system design", 1984). One that publishes from within a callback
is answered at once: it would wait for itself, or for another who waits for it.

Upcalls: D. Clark, "The structuring of systems using upcalls", SOSP 1985.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from apps.kit.effects import Effect, Effects, Emit, Message, Reject, Reply, Send, SetTimer
from apps.upcall.subscription import Bounds, Event, Subscription

TICK = 0.25
"""Seconds between two looks at the deadlines."""
EVICTIONS = ("silent", "no answer", "too slow")
"""Why the server ends a subscription of itself; else its client left, or came back anew."""
_TIMER = "tick"


@dataclass(slots=True)
class _Publication:
    """An event whose publisher waits."""

    call: str
    event: Event
    waits_for: set[str]
    told: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


class BadRequest(ValueError):
    """Nothing was done; the text says what is wrong."""


class Registry:
    """The server's core (`apps.kit.effects.Core`); it lives in memory, and so do subscriptions."""

    def __init__(self, bounds: Bounds, rng: random.Random) -> None:
        """`rng` gives this life a name, so that no subscription is taken for an earlier one's."""
        self._bounds = bounds
        self._life = f"{rng.getrandbits(32):08x}"
        self._numbers = itertools.count(1)
        self._events = itertools.count(1)
        self._subscriptions: dict[str, Subscription] = {}
        self._by_name: dict[str, Subscription] = {}
        self._publications: dict[str, _Publication] = {}
        """By the id of the event."""
        self._ticked = 0.0

    def start(self, now: float) -> Effects:
        """See `Core`."""
        self._ticked = now
        yield SetTimer(_TIMER, TICK)

    def receive(self, now: float, sender: str, message: Message) -> Effects:
        """Take a client's word; `sender` is its name."""
        kind = message.get("kind")
        if kind == "register":
            yield from self._register(now, sender, message)
            return
        if kind not in ("ack", "pong", "gone", "leave"):
            yield Emit("malformed", {"peer": sender, "error": f"no such kind: {kind!r:.40}"})
            return
        subscription = self._subscriptions.get(str(message.get("subscription")))
        if subscription is None or subscription.name != sender:
            ended = {"kind": "ended", "subscription": str(message.get("subscription"))[:200]}
            if kind not in {"gone", "leave"}:
                yield Send(sender, ended)
            return
        subscription.heard = now
        if kind == "ack":
            yield from self._acknowledge(now, subscription, message.get("seq"))
        elif kind != "pong":
            yield from self._end(subscription, "left" if kind == "leave" else "gone")

    def request(self, now: float, request: str, body: Message) -> Effects:
        """Publish an event, or tell who is subscribed; Reject says what is wrong."""
        try:
            match body.get("f"):
                case "publish":
                    yield from self._publish(now, request, body)
                case "status":
                    yield Reply(request, {"subscriptions": self._status(now)})
                case f:
                    raise BadRequest(f"f is publish or status, not {f!r:.40}")
        except BadRequest as error:
            yield Reject(request, str(error))

    def timer(self, now: float, name: str) -> Effects:
        """Look at every deadline."""
        late = now - self._ticked - TICK
        self._ticked = now
        for subscription in list(self._subscriptions.values()):
            if late > self._bounds.beat:  # this process was held up: that is nobody's silence
                subscription.heard += late
                subscription.waiting_since += late
            yield from self._look_at(now, subscription)
        yield SetTimer(name, TICK)

    # Subscriptions

    def _register(self, now: float, sender: str, message: Message) -> Iterator[Effect]:
        try:
            session, topic = _text(message, "session", 100), _text(message, "topic", 100)
            attempt = message.get("attempt")
            if type(attempt) is not int:
                raise BadRequest("attempt is a number")
        except BadRequest as error:
            yield Emit("malformed", {"peer": sender, "error": str(error)})
            return
        known = self._by_name.get(sender)
        if known is not None and (known.session, known.topic) != (session, topic):
            yield from self._end(known, "replaced")
            known = None
        if known is None:
            if len(self._subscriptions) >= self._bounds.subscriptions:
                why = f"{self._bounds.subscriptions} are subscribed"
                yield Send(sender, {"kind": "refused", "attempt": attempt, "why": why})
                return
            id_ = f"{sender}/{self._life}.{next(self._numbers)}"
            known = Subscription(id_, sender, session, topic, attempt, now)
            self._subscriptions[id_] = self._by_name[sender] = known
            yield Emit("subscribed", {"subscription": id_, "topic": topic})
        known.heard, known.attempt = now, max(known.attempt, attempt)
        registered = {"kind": "registered", "subscription": known.id, "attempt": known.attempt}
        yield Send(sender, {**registered, "silence": self._bounds.silence})
        yield from self._repeat(now, known)

    def _acknowledge(self, now: float, subscription: Subscription, seq: Any) -> Iterator[Effect]:
        """All upcalls up to `seq` have returned."""
        if type(seq) is not int or seq > subscription.acked + subscription.flight:
            yield Emit("malformed", {"peer": subscription.name, "error": f"ack of {seq!r:.40}"})
            return
        while subscription.acked < seq:
            event = subscription.queue.popleft()
            subscription.acked += 1
            subscription.flight -= 1
            subscription.waiting_since = now
            yield from self._settle(event.id, subscription.id, told=True)
        yield from self._fill(now, subscription)

    def _look_at(self, now: float, subscription: Subscription) -> Iterator[Effect]:
        bounds = self._bounds
        silent, waited = now - subscription.heard, now - subscription.waiting_since
        if silent > bounds.silence:
            yield from self._end(subscription, "silent", silent, bounds.silence)
        elif subscription.flight and waited > bounds.answer:
            yield from self._end(subscription, "no answer", waited, bounds.answer)
        else:
            if subscription.flight and now - subscription.sent_at > bounds.again:
                yield from self._repeat(now, subscription)
            if silent >= bounds.beat:  # its callback may be slow: that it is there, it can say
                yield Send(subscription.name, {"kind": "ping", "subscription": subscription.id})

    def _end(
        self,
        subscription: Subscription,
        why: str,
        waited: float = 0.0,
        bound: float = 0.0,
    ) -> Iterator[Effect]:
        """End a subscription: what it is still owed, its client misses."""
        del self._subscriptions[subscription.id]
        del self._by_name[subscription.name]
        told = {"subscription": subscription.id, "why": why, "owed": len(subscription.queue)}
        if bound:
            told |= {"waited": round(waited, 3), "bound": bound + TICK}
        yield Emit("evicted" if why in EVICTIONS else "unsubscribed", told)
        ended = {"kind": "ended", "subscription": subscription.id, "why": why}
        yield Send(subscription.name, ended)
        for event in subscription.queue:
            yield from self._settle(event.id, subscription.id, told=False)

    # Events

    def _publish(self, now: float, call: str, body: Message) -> Iterator[Effect]:
        id_, topic = _text(body, "id", 200), _text(body, "topic", 100)
        value = _text(body, "value", self._bounds.text, least=0)
        if id_ in self._publications:
            raise BadRequest(f"an event with the id {id_} is under way")
        event = Event(id_, next(self._events), topic, value)
        goes_to: list[Subscription] = []
        for subscription in [s for s in self._subscriptions.values() if s.topic == topic]:
            if len(subscription.queue) >= self._bounds.queue:
                yield from self._end(subscription, "too slow")
            else:
                goes_to.append(subscription)
        names = [subscription.id for subscription in goes_to]
        yield Emit("accepted", {"id": id_, "topic": topic, "number": event.number, "to": names})
        if body.get("nested") or not goes_to:
            told = {"number": event.number, "queued": names, "told": [], "missed": []}
            yield Reply(call, told)
        else:
            self._publications[id_] = _Publication(call, event, set(names))
        for subscription in goes_to:
            subscription.queue.append(event)
            yield from self._fill(now, subscription)

    def _fill(self, now: float, subscription: Subscription) -> Iterator[Effect]:
        """Send what the window has room for."""
        while subscription.flight < min(self._bounds.window, len(subscription.queue)):
            if not subscription.flight:
                subscription.waiting_since = now
            subscription.flight += 1
            yield self._upcall(now, subscription, subscription.flight)

    def _repeat(self, now: float, subscription: Subscription) -> Iterator[Effect]:
        for place in range(1, subscription.flight + 1):
            yield self._upcall(now, subscription, place)

    def _upcall(self, now: float, subscription: Subscription, place: int) -> Effect:
        event = subscription.queue[place - 1]
        subscription.sent_at = now
        which = {"subscription": subscription.id, "seq": subscription.acked + place}
        what = {"id": event.id, "topic": event.topic, "value": event.value}
        return Send(subscription.name, {"kind": "upcall", **which, **what})

    def _settle(self, id_: str, subscription: str, *, told: bool) -> Iterator[Effect]:
        """A subscription has acknowledged an event, or never will; the last settles it."""
        publication = self._publications.get(id_)
        if publication is None or subscription not in publication.waits_for:
            return
        publication.waits_for.remove(subscription)
        (publication.told if told else publication.missed).append(subscription)
        if not publication.waits_for:
            del self._publications[id_]
            result = {"number": publication.event.number, "queued": []}
            result |= {"told": publication.told, "missed": publication.missed}
            yield Reply(publication.call, result)

    def _status(self, now: float) -> list[dict[str, Any]]:
        return [
            {
                "subscription": subscription.id,
                "topic": subscription.topic,
                "acknowledged": subscription.acked,
                "queued": len(subscription.queue),
                "silent": round(now - subscription.heard, 3),
            }
            for subscription in self._subscriptions.values()
        ]


def _text(body: Message, key: str, most: int, least: int = 1) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise BadRequest(f"{key} is a text of {least} to {most} characters")
    return value

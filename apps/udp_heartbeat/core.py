"""The monitor: it hears heartbeats, judges their senders, and tells who asks.

The problem: to turn datagrams that may be lost, late, doubled, reordered or forged into a judgement
on every sender, with no more state than is bounded. How one sender is judged is `tracking`'s; when
silence is too long is `detectors`'. This is the rest: who is known, and who is told.

When a sender is next to be judged is a timer of its name; nothing polls. A full table makes room by
forgetting who has been dead for longest; while nobody is dead, new names are ignored.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, TypeGuard

from apps.kit.effects import (
    CancelTimer,
    Effect,
    Effects,
    Emit,
    Message,
    Reject,
    Reply,
    SetTimer,
)
from apps.udp_heartbeat.tracking import Rules, Track, Turn

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
NUMBER_MOST = 1 << 53
"""Of incarnations and numbers: what every reader of JSON keeps exact (RFC 8259, section 6)."""
PAGE = 100
"""Senders, or transitions, in one answer."""
KEPT = 1000
"""Transitions that are remembered for those who watch."""
WATCHERS = 1000
"""Requests that may wait for news at once."""
WAIT_MOST = 60.0
USAGE = (
    '{"f": "status", "after": NAME} or {"f": "watch", "after": NUMBER, "wait": SECONDS},'
    f" at most {WAIT_MOST:g}"
)

_REPORT = ":ignored"  # a timer, as are names and requests; neither begins with a colon
_REPORT_EVERY = 1.0


class Monitor:
    """Judges senders. See `apps.kit.effects.Core`."""

    def __init__(self, rules: Rules, *, senders: int = 1000) -> None:
        """Know nobody yet, and at most so many `senders` ever at once."""
        self._rules = rules
        self._senders = senders
        self._tracks: dict[str, Track] = {}
        self._ignored: Counter[str] = Counter()
        self._transitions: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._number = 0
        self._watching: dict[str, int] = {}

    def start(self, _now: float) -> Effects:
        """Nothing is due before the first heartbeat."""
        return ()

    def receive(self, now: float, _sender: str, message: Message) -> Effects:
        """Take a heartbeat, or what pretends to be one. Who sent it is what it says."""
        name, incarnation, seq = (message.get(k) for k in ("node", "incarnation", "seq"))
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            return self._ignore("malformed: node is no name")
        if not (_is_number(incarnation) and _is_number(seq)):
            return self._ignore("malformed: incarnation or seq is no number")
        track = self._tracks.get(name)
        if track is None:
            return self._meet(now, name, incarnation, seq)
        return self._hear(now, name, track, incarnation, seq)

    def request(self, now: float, request: str, body: Message) -> Effects:
        """Answer `status` at once, and `watch` when there is something new or time is up."""
        after, wait = body.get("after"), body.get("wait", 20.0)
        match body.get("f"):
            case "status" if after is None or isinstance(after, str):
                return (Reply(request, self._status(now, after or "")),)
            case "watch" if (after is None or _is_number(after)) and _is_wait(wait):
                return self._watch(request, self._number if after is None else after, wait)
        return (Reject(request, f"not understood; ask {USAGE}"),)

    def timer(self, now: float, name: str) -> Effects:
        """Judge a sender that was not heard in time; report; or let a watcher go."""
        if name == _REPORT:
            counts, self._ignored = dict(self._ignored), Counter()
            return (Emit("ignored", {"counts": counts}),)
        if name in self._watching:
            return (Reply(name, self._news(self._watching.pop(name))),)
        track = self._tracks[name]
        return self._tell(now, name, track, track.check(now))

    def _meet(self, now: float, name: str, incarnation: int, seq: int) -> Iterator[Effect]:
        if len(self._tracks) >= self._senders:
            dropped = self._longest_dead()
            if dropped is None:
                yield from self._ignore("full: too many senders")
                return
            del self._tracks[dropped]
            yield CancelTimer(dropped)
        self._tracks[name] = track = Track(now, incarnation, seq, self._rules)
        yield from self._tell(now, name, track, track.first_turns())

    def _hear(
        self, now: float, name: str, track: Track, incarnation: int, seq: int
    ) -> Iterator[Effect]:
        before = track.incarnation
        turns = track.hear(now, incarnation, seq)
        if turns is None:
            yield from self._ignore("stale")
            return
        if incarnation > before:
            yield Emit("restarted", {"peer": name, "incarnation": incarnation, "was": before})
        yield from self._tell(now, name, track, turns)

    def _tell(self, now: float, name: str, track: Track, turns: list[Turn]) -> Iterator[Effect]:
        """Record transitions, tell who watches, and set the time of the next judgement."""
        for turn in turns:
            self._number += 1
            transition = {"n": self._number, "peer": name, "incarnation": track.incarnation}
            transition |= asdict(turn)
            self._transitions.append(transition)
            yield Emit("transition", transition)
        if turns:
            watching, self._watching = self._watching, {}
            for request, after in watching.items():
                yield CancelTimer(request)
                yield Reply(request, self._news(after))
        if track.due is not None:
            yield SetTimer(name, track.due - now)

    def _longest_dead(self) -> str | None:
        dead = [
            (track.dead_since, name)
            for name, track in self._tracks.items()
            if track.dead_since is not None
        ]
        return min(dead)[1] if dead else None

    def _ignore(self, why: str) -> Effects:
        """Count what is ignored; the counts are an event, at most one a second."""
        first = not self._ignored
        self._ignored[why] += 1
        return (SetTimer(_REPORT, _REPORT_EVERY),) if first else ()

    def _status(self, now: float, after: str) -> dict[str, Any]:
        names = sorted(name for name in self._tracks if name > after)
        page = [{"node": name, **self._tracks[name].row(now)} for name in names[:PAGE]]
        return {"senders": page} | ({"next": names[PAGE - 1]} if len(names) > PAGE else {})

    def _watch(self, request: str, after: int, wait: float) -> Effects:
        if after < self._number:
            return (Reply(request, self._news(after)),)
        if len(self._watching) >= WATCHERS:
            return (Reject(request, f"busy: {WATCHERS} requests wait for news already"),)
        self._watching[request] = after
        return (SetTimer(request, wait),)

    def _news(self, after: int) -> dict[str, Any]:
        news = [transition for transition in self._transitions if transition["n"] > after][:PAGE]
        return {"transitions": news, "next": news[-1]["n"] if news else self._number}


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= NUMBER_MOST


def _is_wait(value: Any) -> TypeGuard[float]:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and 0 <= value <= WAIT_MOST

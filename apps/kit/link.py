"""A reliable FIFO link between two processes, over a network that loses, repeats and reorders.

The problem: a core whose proof says "messages arrive in the order in which they were sent" runs on
a network that promises nothing, between processes that crash and return with an empty memory.

The rule: as TCP does it. Every message has a sequence number; the receiver delivers the next one
only, keeps early ones, drops old ones, and acknowledges all up to a number; the sender repeats what
is not acknowledged, at growing intervals. That gives no loss, no duplication and FIFO order
(Cachin, Guerraoui and Rodrigues, "Introduction to Reliable and Secure Distributed Programming",
2011, modules 2.3 "perfect links" and 3.11 "FIFO"; RFC 9293 section 3.8; RFC 6298 section 5).

Restarts: every start of a process is an incarnation with a number of its own, greater than all
before (its owner makes it durable before it says a word). A frame names the incarnation that speaks
and the one it speaks to. A receiver takes a message only if both are the living ones, so nothing
said to a dead incarnation, or by it, ever reaches a new one. When a peer turns out to have
restarted, numbering begins anew, and what the dead incarnation had not acknowledged is dropped: it
may have been delivered or not, and only the owner knows what to say to a process that has forgotten
all. So a message is delivered at most once to one incarnation of the peer, and exactly once if
neither side restarts.

Meeting: a frame says hello until the peer was heard to speak to this very incarnation, and a hello
is always answered. To know the peer is not enough: an old frame may have told of it, and the peer
would wait for ever for a process whose restart it never heard of.

Use: feed it (`open`, `send`, `receive`, `timer`), then once, last of all, `flush` it and do the
effects that it returns. One flush for a whole batch lets acknowledgements ride on messages.

Bounds: `Pace.window` messages in flight and as many early ones kept, `Pace.queue` in all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from apps.kit.effects import CancelTimer, Effect, Message, Send, SetTimer


@dataclass(frozen=True, slots=True)
class Pace:
    """The bounds of a link. Times are seconds; the rest are messages."""

    first: float = 0.2
    """What is not acknowledged after this time is sent again; each further time it is doubled."""
    longest: float = 5.0
    """… up to this. Any word from the peer brings the time back to `first`."""
    window: int = 64
    """Messages in flight, not acknowledged. Both ends must have the same window."""
    queue: int = 1024
    """Messages accepted and not yet acknowledged, in flight or waiting."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The peer's next message."""

    body: Message


@dataclass(frozen=True, slots=True)
class PeerUp:
    """An incarnation of the peer that was not known before.

    `restarted` is true if another was known: then it is dead, all that it knew is forgotten, and
    `dropped` messages for it were given up.
    """

    incarnation: int
    restarted: bool
    dropped: int


News: TypeAlias = Arrived | PeerUp


class BadFrame(ValueError):
    """What came from the network is no frame of this link: it was ignored."""


class LinkFull(Exception):
    """The queue holds `Pace.queue` messages: the peer is away, or too slow. Nothing was sent."""


class _Frame(NamedTuple):
    """`seq` 0 means that there is no message in it; `to` 0 that the speaker knows no number yet."""

    by: int
    to: int
    ack: int
    hello: bool
    seq: int
    body: Message


class Link:
    """One end of the link to `peer`. See the module for how to use it."""

    def __init__(self, peer: str, incarnation: int, pace: Pace | None = None) -> None:
        """`incarnation`, from 1, is greater than at every earlier start of this process."""
        self.peer = peer
        self.timer_name = f"link:{peer}"
        self._mine = incarnation
        self._theirs = 0
        self._known = False  # whether the peer's living incarnation knows ours
        self._pace = pace or Pace()
        self._waiting: deque[Message] = deque()
        self._flight: deque[tuple[int, Message]] = deque()
        self._sent = 0  # the last sequence number given
        self._delivered = 0  # the last of the peer's that was delivered
        self._early: dict[int, Message] = {}
        self._interval = self._pace.first
        self._must_answer = False
        self._must_repeat = False
        self._must_rearm = False
        self._timer_runs = False

    @property
    def peer_incarnation(self) -> int:
        """The living incarnation of the peer, as far as is known; 0 before the first word of it."""
        return self._theirs

    @property
    def room(self) -> int:
        """How many messages `send` accepts now."""
        return self._pace.queue - len(self._waiting) - len(self._flight)

    def open(self) -> None:
        """Say hello, and go on until the peer answers."""
        self._must_answer = True

    def send(self, body: Message) -> None:
        """Accept a message for the peer; LinkFull if there is no room."""
        if self.room <= 0:
            raise LinkFull(f"{self._pace.queue} messages wait for {self.peer}: is it up?")
        self._waiting.append(body)

    def timer(self) -> None:
        """Take note that the timer `timer_name` fired."""
        self._timer_runs = False
        self._interval = min(self._pace.longest, self._interval * 2)
        self._must_repeat = True

    def receive(self, frame: Message) -> list[News]:
        """Take a frame of the peer; return what it brings, in order. BadFrame if it is none."""
        by, to, ack, hello, seq, body = self._read(frame)
        if by < self._theirs:
            self._must_answer = True  # a dead incarnation speaks, or one that lost its number
            return []
        news: list[News] = []
        if by > self._theirs:
            news.append(self._meet(by))
        if to != self._mine:
            self._must_answer = True  # it does not know us, yet or any more
            return news
        self._known = True
        if self._interval > self._pace.first:
            self._interval, self._must_rearm = self._pace.first, True
        self._settle(ack)
        self._must_answer = self._must_answer or hello or seq > 0
        if seq:
            self._take(seq, body, news)
        return news

    def flush(self) -> list[Effect]:
        """Return what is to be done now; nothing that was sent before is sent twice by it."""
        effects: list[Effect] = []
        if self._theirs:
            frames = list(self._flight) if self._must_repeat else []
            while self._waiting and len(self._flight) < self._pace.window:
                self._sent += 1
                self._flight.append((self._sent, self._waiting.popleft()))
                frames.append(self._flight[-1])
            effects += [self._frame(seq, body) for seq, body in frames]
        if not effects and (self._must_answer or (self._must_repeat and not self._known)):
            effects.append(self._frame(0, {}))
        self._must_answer = self._must_repeat = False
        self._keep_time(effects)
        return effects

    def _keep_time(self, effects: list[Effect]) -> None:
        """The timer runs while an answer is awaited, to a message or to a hello."""
        awaiting = bool(self._flight) or not self._known
        if awaiting and (self._must_rearm or not self._timer_runs):
            effects.append(SetTimer(self.timer_name, self._interval))
        elif self._timer_runs and not awaiting:
            effects.append(CancelTimer(self.timer_name))
        self._timer_runs, self._must_rearm = awaiting, False

    def _frame(self, seq: int, body: Message) -> Send:
        frame: dict[str, Any] = {"by": self._mine, "to": self._theirs, "ack": self._delivered}
        if not self._known:
            frame["hello"] = True
        if seq:
            frame |= {"seq": seq, "body": body}
        return Send(self.peer, frame)

    def _meet(self, incarnation: int) -> PeerUp:
        """A new incarnation of the peer: numbering begins anew, a dead one's mail is dropped."""
        restarted = self._theirs > 0
        dropped = len(self._flight) + len(self._waiting) if restarted else 0
        if restarted:
            self._flight.clear()
            self._waiting.clear()
        self._theirs, self._known = incarnation, False
        self._sent = self._delivered = 0
        self._early.clear()
        self._interval, self._must_rearm = self._pace.first, True
        return PeerUp(incarnation, restarted, dropped)

    def _settle(self, ack: int) -> None:
        """All messages up to `ack` were delivered."""
        while self._flight and self._flight[0][0] <= ack:
            self._flight.popleft()
            self._must_rearm = True

    def _take(self, seq: int, body: Message, news: list[News]) -> None:
        """Deliver what is next; keep what is early, within the window."""
        if self._delivered < seq <= self._delivered + self._pace.window:
            self._early[seq] = body
        while self._delivered + 1 in self._early:
            self._delivered += 1
            news.append(Arrived(self._early.pop(self._delivered)))

    def _read(self, frame: Message) -> _Frame:
        """Check all that a frame says before any of it changes anything."""
        by, to, ack = (_count(frame, key) for key in ("by", "to", "ack"))
        seq = _count(frame, "seq") if "seq" in frame else 0
        hello, body = frame.get("hello", False), frame.get("body", {})
        if by == 0 or type(hello) is not bool or not isinstance(body, Mapping):
            raise BadFrame(f"{self.peer} sent a frame without its incarnation, or no JSON object")
        if to > self._mine:
            raise BadFrame(
                f"{self.peer} speaks to incarnation {to} of this process, which is only at "
                f"{self._mine}: was its state directory lost? Restart {self.peer} as well"
            )
        if (by, to) == (self._theirs, self._mine) and ack > self._sent:
            raise BadFrame(f"{self.peer} acknowledges {ack}, but only {self._sent} were sent")
        return _Frame(by, to, ack, hello, seq, body)


def _count(frame: Mapping[str, Any], key: str) -> int:
    value = frame.get(key)
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise BadFrame(f"{key!r} of a frame must be a count, not {value!r:.60}")
    return value

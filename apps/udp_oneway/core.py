"""Counting what arrives of numbered datagrams: received, lost, doubled, out of order.

The problem: UDP says nothing about what it loses, doubles or reorders. The sender numbers what it
sends, and the receiver, which sees only what arrives, works out the rest, in bounded memory.

The definitions, for the datagrams of one run of a sender, numbered 1, 2, 3, …:

- *received*: a number seen for the first time.
- *lost*: a number up to the highest seen (or up to the last, once the sender has said which it was)
  that was not received. RFC 7680 gives a packet up after a waiting time; here it counts as lost
  until it arrives after all, so `received + lost` is always how many are known to be sent.
- *duplicated*: a copy of a received one (RFC 5560). The first is the original, the others count.
- *reordered*: received, and lower than one that was received before (RFC 4737, section 3.3: its
  number is below `NextExp`). `farthest` is how far below the highest, at most (a displacement, as
  in RFC 5236). A gap alone reorders nothing, and a copy is never reordered.
- *stale*: so far below the highest that nobody remembers whether it is a copy. Neither received nor
  duplicated: its number stays as it was, received or lost.

What is remembered is a window of the last numbers, a ring in which number n has slot n mod W, as
receivers of IPsec do against replay (RFC 4303, section 3.4.3; RFC 6479). Streams are bounded in
number: the one that was silent longest makes room, and the report says how many did.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Any

from apps.udp_oneway.quantiles import Quantiles
from apps.udp_oneway.wire import Datagram, Numbered, Text

MOST_REPORTED = 50
"""Streams that are reported at one time."""


class Fate(Enum):
    """What a datagram turned out to be, for the receiver."""

    RECEIVED = "received"
    DUPLICATED = "duplicated"
    STALE = "stale"
    ENDED = "ended"
    UNNUMBERED = "unnumbered"
    CORRUPT = "corrupt"


class Stream:
    """What became of the datagrams of one run of a sender."""

    def __init__(self, window: int) -> None:
        """`window` is how many numbers, up to the highest, are remembered."""
        self.received = self.duplicated = self.reordered = self.stale = 0
        self.highest = self.farthest = 0
        self.last: int | None = None
        """The number of the last datagram that was sent, once the sender has said so."""
        self.delay = Quantiles()
        """One-way delays (RFC 7679): they hold the difference of the two hosts' clocks."""
        self.variation = Quantiles()
        """Their differences between neighbours (RFC 3393): that difference cancels out in them."""
        self._seen = bytearray(window)
        self._latest = (0, 0.0)

    @property
    def lost(self) -> int:
        """How many that are known to be sent were not received."""
        return max(self.highest, self.last or 0) - self.received

    def arrive(self, number: int, delay: float) -> Fate:
        """Count a datagram with this number, which took `delay` seconds by the two clocks."""
        window = len(self._seen)
        if number > self.highest:
            self._advance(number)
        behind = self.highest - number
        if behind >= window:
            self.stale += 1
            return Fate.STALE
        if self._seen[number % window]:
            self.duplicated += 1
            return Fate.DUPLICATED
        self._seen[number % window] = True
        self.received += 1
        if behind:
            self.reordered += 1
            self.farthest = max(self.farthest, behind)
        self._measure(number, delay)
        return Fate.RECEIVED

    def end(self, last: int) -> Fate:
        """Take note that this was the last number; the sender says so several times."""
        self.last = max(last, self.last or 0)
        return Fate.ENDED

    def report(self) -> dict[str, Any]:
        """Give the figures; times in milliseconds."""
        counts = {name: getattr(self, name) for name in COUNTS}
        return {
            **counts,
            "highest": self.highest,
            "farthest": self.farthest,
            "ended": self.last is not None,
            "p50_ms": self.delay.quantile(0.50),
            "p99_ms": self.delay.quantile(0.99),
            "variation_p50_ms": self.variation.quantile(0.50),
            "variation_p99_ms": self.variation.quantile(0.99),
        }

    def _advance(self, number: int) -> None:
        """Move the window up: what it takes in was not seen yet."""
        window, rise = len(self._seen), number - self.highest
        first = (self.highest + 1) % window
        if rise >= window:
            self._seen = bytearray(window)
        elif first + rise <= window:
            self._seen[first : first + rise] = bytes(rise)
        else:
            around = first + rise - window
            self._seen[first:] = bytes(rise - around)
            self._seen[:around] = bytes(around)
        self.highest = number

    def _measure(self, number: int, delay: float) -> None:
        before, its_delay = self._latest
        self._latest = number, delay
        self.delay.add(delay * 1e3)
        if number == before + 1:
            self.variation.add(abs(delay - its_delay) * 1e3)


COUNTS = ("received", "lost", "duplicated", "reordered", "stale")
"""What a stream's report counts, in the order in which it is read."""


class Receiver:
    """What became of all datagrams, by stream."""

    def __init__(self, senders: int, window: int) -> None:
        """Keep at most so many streams, each with a window of so many numbers."""
        self._senders = senders
        self._window = window
        self._streams: OrderedDict[str, Stream] = OrderedDict()
        self._changed: dict[str, None] = {}
        self.forgotten = 0
        self.fates = dict.fromkeys(Fate, 0)
        """How many datagrams had each fate, of all streams that ever were."""

    def take(self, datagram: Datagram, now: int) -> Fate:
        """Count a datagram that arrived now (ns since 1970), and give its fate."""
        fate = self._fate(datagram, now)
        self.fates[fate] += 1
        return fate

    def totals(self) -> dict[str, int]:
        """Give how many datagrams had each fate, and how many streams there are."""
        return {
            **{fate.value: number for fate, number in self.fates.items()},
            "streams": len(self._streams),
            "forgotten": self.forgotten,
        }

    def report(self, sender: str | None = None) -> list[dict[str, Any]]:
        """Give each stream's figures, of one sender if named; the one heard last comes last."""
        return [
            {"stream": name, **stream.report()}
            for name, stream in self._streams.items()
            if sender is None or name.rpartition("/")[0] == sender
        ]

    def changes(self, most: int = MOST_REPORTED) -> list[dict[str, Any]]:
        """Give the figures of the streams that changed since they were last given, so many."""
        names = list(self._changed)[:most]
        for name in names:
            del self._changed[name]
        return [{"stream": name, **self._streams[name].report()} for name in names]

    def _fate(self, datagram: Datagram, now: int) -> Fate:
        match datagram:
            case Numbered(number=number, end=True):
                return self._stream(datagram.stream).end(number)
            case Numbered(number=number, sent=sent):
                return self._stream(datagram.stream).arrive(number, (now - sent) / 1e9)
            case Text():
                return Fate.UNNUMBERED
            case _:
                return Fate.CORRUPT

    def _stream(self, name: str) -> Stream:
        stream = self._streams.get(name)
        if stream is None:
            if len(self._streams) >= self._senders:
                oldest, _ = self._streams.popitem(last=False)
                self._changed.pop(oldest, None)
                self.forgotten += 1
            stream = self._streams[name] = Stream(self._window)
        self._streams.move_to_end(name)
        self._changed[name] = None
        return stream

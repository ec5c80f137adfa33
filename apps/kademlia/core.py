"""What a node keeps, and how two copies of it become one: versions, leases, bounds. Pure.

A DHT's `set` overwrites, and its copies travel: they are stored again every so often, handed to who
joins, and put where they are missing. If copies are told apart by nothing, an old one that returns
overwrites the newer ones, and every trip makes it young again; both befall the library's users
(bmuller/kademlia issues 107 and 104). Here each entry has a version and says for how long it is
still good, and the travelling changes neither.

**Under one key there are several entries, by name.** A value has one, whose name is empty. A topic
has one for each publisher. Two publishers that register for one topic at the same moment, at nodes
that know nothing of each other, write two entries, and the nodes that keep the topic keep both: a
set that were read, changed and written would lose one. What a node keeps of a key is a map from
names to the highest entry seen of each, a join of semilattices (Shapiro and others, "Conflict-Free
Replicated Data Types", 2011): in whatever order copies meet, and however often, the result is one.

**An entry's version** is the last one seen and one more, or the clock's milliseconds if those are
higher (Kulkarni and others, "Logical Physical Clocks", 2014). So a later set wins over an earlier
one that it knew of whatever the clocks say, and over one that it did not know of if the clocks are
fair. Equal versions are settled by the writer's name.

**A lease** is the time for which an entry is good. It is told as what remains of it, so clocks need
not agree; of two copies of one version the one that ends earlier is right, for the other one lost
time on its way. What was withdrawn leaves an empty entry behind for the rest of its lease: a copy
that comes back late must not raise it from the dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

Value: TypeAlias = str | bytes | int | float | bool

PLAIN = ""
"""The name of the one entry of a value."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody said of a key: a value, or where a publisher is."""

    name: str
    version: int
    writer: str
    value: Value | None
    """None: it was withdrawn."""
    expires: float
    """By the clock of whoever holds it, in seconds."""
    copies: int
    """On how many nodes it shall be."""

    @property
    def _rank(self) -> tuple[int, str, str, int, float]:
        return self.version, self.writer, repr(self.value), self.copies, -self.expires

    def join(self, other: Entry) -> Entry:
        """Give the one of the two that counts."""
        return max(self, other, key=lambda entry: entry._rank)

    def supersedes(self, other: Entry | None) -> bool:
        """Whether whoever has `other` should be told of this one: it is of a later version."""
        return other is None or self._rank[:4] > other._rank[:4]


Entries: TypeAlias = Mapping[str, Entry]
"""Of one key, by name."""


def joined(copies: Iterable[Entries]) -> dict[str, Entry]:
    """Give what several copies of a key come to."""
    result: dict[str, Entry] = {}
    for entries in copies:
        for name, entry in entries.items():
            result[name] = entry.join(result[name]) if name in result else entry
    return result


def standing(entries: Entries) -> dict[str, Entry]:
    """Give those that were not withdrawn."""
    return {name: entry for name, entry in entries.items() if entry.value is not None}


def next_version(seen: Entries, name: str, clock: float) -> int:
    """Give the version of what is written now; `clock` is the wall's, in seconds."""
    last = seen[name].version if name in seen else 0
    return max(last + 1, int(clock * 1000))


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a node keeps at most; more is refused, and who asked is told so."""

    keys: int = 10_000
    names: int = 64
    """Of one key."""
    bytes: int = 5_000
    """Of one key's entries: all of them are told in one datagram, and contacts beside them."""


class Shelf:
    """What one node keeps. The time is handed in, in seconds of any clock that never goes back."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        """An empty one."""
        self._bounds = bounds or Bounds()
        self._kept: dict[bytes, dict[str, Entry]] = {}
        self._told: dict[bytes, float] = {}
        """When a key was last stored here, by anybody."""

    @property
    def count(self) -> int:
        """How many keys are kept; what has expired may be among them until the next sweep."""
        return len(self._kept)

    def keep(self, now: float, key: bytes, entry: Entry) -> bool:
        """Take an entry; whether it, or a later one, is kept now."""
        kept = self.get(now, key)
        if entry.expires <= now:
            return False
        after = joined([kept, {entry.name: entry}])
        fits = self._fits(key, after)
        if fits:
            self._kept[key] = after
            self._told[key] = now
        return fits

    def _fits(self, key: bytes, after: Entries) -> bool:
        if key not in self._kept and len(self._kept) >= self._bounds.keys:
            return False
        size = sum(map(_size, after.values()))
        return len(after) <= self._bounds.names and size <= self._bounds.bytes

    def get(self, now: float, key: bytes) -> dict[str, Entry]:
        """Give what is kept of a key, the withdrawn too."""
        kept = self._kept.get(key)
        if kept is None:
            return {}
        good = {name: entry for name, entry in kept.items() if entry.expires > now}
        if not good:
            self.drop(key)
        elif len(good) < len(kept):
            self._kept[key] = good
        return dict(good)

    def drop(self, key: bytes) -> None:
        """Keep a key no longer."""
        self._kept.pop(key, None)
        self._told.pop(key, None)

    def __contains__(self, key: bytes) -> bool:
        return key in self._kept

    @property
    def keys(self) -> list[bytes]:
        """Give all keys; of some, what was kept may have expired."""
        return list(self._kept)

    def items(self, now: float) -> Iterator[tuple[bytes, dict[str, Entry]]]:
        """Yield what is kept; keys may come and go meanwhile. What has expired goes."""
        for key in list(self._kept):
            if entries := self.get(now, key):
                yield key, entries

    def due(self, now: float, age: float) -> list[bytes]:
        """Give the keys that nobody has stored here for so long: nobody else cares for them.

        Who stores one stores it on all its nodes, so the others need not for a while (the paper's
        section 2.5).
        """
        return [key for key, _ in self.items(now) if now - self._told[key] >= age]


def remaining(entry: Entry, now: float) -> Entry:
    """Give an entry as it is told to another node: with what remains of its lease."""
    return replace(entry, expires=entry.expires - now)


def received(entry: Entry, now: float) -> Entry:
    """Give an entry as it is kept, of one that was told."""
    return replace(entry, expires=now + entry.expires)


def _size(entry: Entry) -> int:
    """Give about how many bytes it has in a datagram; never fewer."""
    texts = (entry.name, entry.writer, entry.value)
    raw = [one.encode() if isinstance(one, str) else one for one in texts]
    return 48 + sum(len(one) for one in raw if isinstance(one, bytes))

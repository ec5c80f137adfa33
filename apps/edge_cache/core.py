"""What an edge keeps: images, bounded by their bytes, the least recently used ones go first.

The problem: memory is bounded, and what is asked for most must stay; and an image may be changed
where it comes from, so what is kept is only fresh for a time (RFC 9111, section 4.2).

The rule: an image is kept with the moment until which it is fresh. A fresh one answers at once. A
stale one is asked about anew, by its validator; if nobody can be asked, it is better than nothing
(stale-if-error: RFC 5861). Whoever was asked for last goes last.

Who elects and who leads is no matter of this core: that is `apps.bully.core`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

from apps.edge_cache.wire import Picture


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture that is kept; `fresh_until` is in seconds of a clock that never goes back."""

    picture: Picture
    fresh_until: float

    def fresh(self, now: float) -> bool:
        """Whether it may answer without asking."""
        return now < self.fresh_until

    def age(self, now: float) -> int:
        """Seconds since the canonical server gave it, for the header `Age`."""
        return max(0, int(self.picture.max_age - (self.fresh_until - now)))


class Cache:
    """Pictures by id. Times are arguments."""

    def __init__(self, capacity: int) -> None:
        """`capacity` is in bytes of the images."""
        self.size = 0
        self.counts: Counter[str] = Counter()
        """What became of requests, and what was evicted: shown at /stats."""
        self._capacity = capacity
        self._entries: OrderedDict[int, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, image: int) -> Entry | None:
        """Give what is kept of an image, fresh or not; it was used now."""
        entry = self._entries.get(image)
        if entry is not None:
            self._entries.move_to_end(image)
        return entry

    def put(self, image: int, entry: Entry) -> list[int]:
        """Keep it, and give the ids that had to go. What is larger than all room is not kept."""
        self.drop(image)
        length = len(entry.picture.body)
        if length > self._capacity:
            return []
        gone = []
        while self.size + length > self._capacity:
            oldest = next(iter(self._entries))
            self.drop(oldest)
            gone.append(oldest)
        self._entries[image] = entry
        self.size += length
        self.counts["evicted"] += len(gone)
        return gone

    def drop(self, image: int) -> None:
        """Keep it no longer."""
        entry = self._entries.pop(image, None)
        if entry is not None:
            self.size -= len(entry.picture.body)

"""Which request of each client is in the log, and where: what makes a request safe to repeat.

A client numbers its requests upwards, and has one under way at a time. So its last one is all that
has to be known of it (the client table of Liskov and Cowling, "Viewstamped Replication Revisited",
2012, section 4): that one, if it comes again, is where it was; an earlier one is a copy that went
astray, and nobody waits for it any more.
"""

from __future__ import annotations

from apps.replicated_log.entries import Entry


class Outdated(Exception):
    """The client has made a later request since; this one was not appended now."""


class ClientTable:
    """The last request of each client, of so many clients at most: those that wrote last."""

    def __init__(self, most: int = 100_000) -> None:
        """Nobody is known; `add` is given the log's entries in their order."""
        self._most = most
        self._last: dict[str, tuple[int, int]] = {}

    def add(self, offset: int, entry: Entry) -> None:
        """Take note of an entry of the log."""
        if not entry.client:
            return
        self._last.pop(entry.client, None)
        self._last[entry.client] = (entry.seq, offset)
        if len(self._last) > self._most:
            del self._last[next(iter(self._last))]

    def remove(self, entry: Entry) -> None:
        """Forget a client, if this is its last request."""
        if self._last.get(entry.client, (-1, -1))[0] == entry.seq:
            del self._last[entry.client]

    def find(self, entry: Entry) -> int | None:
        """Give where a request is in the log; None if it is new; Outdated."""
        seq, offset = self._last.get(entry.client, (-1, -1))
        if entry.seq < seq:
            raise Outdated
        return offset if entry.seq == seq else None

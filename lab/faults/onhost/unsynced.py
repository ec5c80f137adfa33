"""What was written to a file and not synced: kept beside the file, merged into what is read of it.

Pure: the file itself is the caller's business. Pieces are sorted, and no two of them overlap.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator


class Unsynced:
    """The unsynced pieces of one file."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._starts: list[int] = []
        self._pieces: list[bytearray] = []

    @property
    def end(self) -> int:
        """Where the last piece ends; 0 without any."""
        return self._starts[-1] + len(self._pieces[-1]) if self._starts else 0

    def __len__(self) -> int:
        """Give the bytes that are kept."""
        return sum(map(len, self._pieces))

    def write(self, offset: int, data: bytes) -> None:
        """Keep data; it replaces what is kept of the same place."""
        if not data:
            return
        end = offset + len(data)
        at = bisect.bisect_right(self._starts, offset) - 1
        if at >= 0 and self._starts[at] + len(self._pieces[at]) >= offset:
            # Into a piece, or right after it: a file that is appended to stays one piece.
            start = self._starts[at]
            self._pieces[at][offset - start : end - start] = data
        else:
            at += 1
            self._starts.insert(at, offset)
            self._pieces.insert(at, bytearray(data))
        self._cut_following(at + 1, end)

    def merged(self, offset: int, length: int, below: bytes) -> bytes:
        """Give the file's bytes from an offset on, at most so many; `below` is what it has synced.

        `below` may be short, where the synced file ends.
        """
        view = bytearray(below[:length])
        hole = min(length, self.end - offset) - len(view)
        view.extend(bytes(max(0, hole)))
        for start, piece in self._within(offset, offset + length):
            left, right = max(start, offset), min(start + len(piece), offset + length)
            view[left - offset : right - offset] = piece[left - start : right - start]
        return bytes(view)

    def truncate(self, size: int) -> None:
        """Forget what is beyond a size."""
        at = bisect.bisect_left(self._starts, size)
        del self._starts[at:], self._pieces[at:]
        if self._starts:
            del self._pieces[-1][size - self._starts[-1] :]

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Give the pieces, by offset: what a sync writes."""
        return (
            (start, bytes(piece)) for start, piece in zip(self._starts, self._pieces, strict=True)
        )

    def _within(self, offset: int, end: int) -> Iterator[tuple[int, bytearray]]:
        at = max(0, bisect.bisect_right(self._starts, offset) - 1)
        while at < len(self._starts) and self._starts[at] < end:
            if self._starts[at] + len(self._pieces[at]) > offset:
                yield self._starts[at], self._pieces[at]
            at += 1

    def _cut_following(self, at: int, end: int) -> None:
        while at < len(self._starts) and self._starts[at] < end:
            beyond = self._pieces[at][end - self._starts[at] :]
            if beyond:
                self._starts[at], self._pieces[at] = end, beyond
                return
            del self._starts[at], self._pieces[at]

"""The room that is left on a disk, counted in blocks as file systems do."""

from __future__ import annotations

import errno
import math
import os

BLOCK = 4096


class Space:
    """A disk with room for so many more bytes, in whole blocks; endless if it is infinity.

    A file takes the blocks that its size needs, holes too, and its name takes one more. What is
    given back can be taken again.
    """

    def __init__(self, free: float) -> None:
        """`free` is in bytes."""
        self._blocks = free if free == math.inf else int(free // BLOCK)

    @property
    def left(self) -> float:
        """Bytes."""
        return max(0, self._blocks * BLOCK)

    def reach(self, size: int) -> float:
        """Give the size up to which a file of this size can grow."""
        return (_blocks(size) + max(0, self._blocks)) * BLOCK

    def resize(self, before: int, after: int) -> None:
        """Let a file have another size; OSError (ENOSPC) if there is no room."""
        self._take(_blocks(after) - _blocks(before))

    def add_name(self) -> None:
        """Let there be a file or directory more; OSError (ENOSPC) if there is no room."""
        self._take(1)

    def remove_name(self, size: int) -> None:
        """Take back what a file, or a directory of size 0, took."""
        self._blocks += 1 + _blocks(size)

    def _take(self, blocks: int) -> None:
        if blocks > max(0, self._blocks):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._blocks -= blocks


def _blocks(size: int) -> int:
    return -(-size // BLOCK)

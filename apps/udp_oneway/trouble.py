"""Trouble made on purpose at the sender, in exact numbers, so that a receiver's can be compared.

A network that damages, doubles and overtakes is hard to come by on a quiet bench. This one is made
by the sender, of real datagrams, and says how often it did what.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Trouble:
    """Passes datagrams on, some of them damaged, doubled or late; each at most one of these.

    The three shares are probabilities, together at most 1.
    """

    rng: random.Random
    corrupt: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupted: int = 0
    """How many had one bit turned over: each must be refused, so its number is lost."""
    copies: int = 0
    """How many were sent once more."""
    late: int = 0
    """How many came after the one that followed them."""
    _held: bytes | None = None

    def pass_on(self, datagram: bytes) -> Iterator[bytes]:
        """Give what is to be sent now for this datagram: nothing, itself, or more."""
        chance = self.rng.random()
        if chance < self.corrupt:
            self.corrupted += 1
            yield self._damaged(datagram)
            return
        if chance < self.corrupt + self.duplicate:
            self.copies += 1
            yield datagram
        elif chance < self.corrupt + self.duplicate + self.reorder and self._held is None:
            self._held = datagram
            return
        yield datagram
        if self._held is not None:
            self.late += 1
            yield from self.rest()

    def rest(self) -> Iterator[bytes]:
        """Give what was held back."""
        if self._held is not None:
            held, self._held = self._held, None
            yield held

    def _damaged(self, datagram: bytes) -> bytes:
        bit = self.rng.randrange(8 * len(datagram))
        damaged = bytearray(datagram)
        damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)

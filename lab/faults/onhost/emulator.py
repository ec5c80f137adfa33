"""A link with faults, as a pure object: frames in at a time, frames out at theirs.

It does what tc-netem(8) does, for kernels that lack it, and in the same order: a frame may become
two or none, may be damaged, waits until the frames before it are sent at the link's rate, and then
as long as the delay says, unless it overtakes. No socket and no clock is here: the time comes in,
chance is a `random.Random` that is handed in.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from socket import inet_aton

from lab.faults.onhost.ways import EVERYTHING, MULTICAST, Effects, Way

HEADER = 14
"""Bytes of Ethernet's header; they are never damaged, so that a frame stays on its way."""
_TO = slice(30, 34)
_CLASS_D = 224


class Lane:
    """A way, and what is on it."""

    def __init__(self) -> None:
        """Nothing is on it, and nothing befalls it."""
        self.effects = Effects()
        self.free_at = 0.0
        """When the last frame will have been sent at the way's rate."""
        self.held = 0
        self.overflowed = 0
        """Frames dropped because `held` was at the limit."""


class Emulator:
    """The ways out of one device."""

    def __init__(self, ways: Iterable[Way], chance: random.Random) -> None:
        """`chance` decides what is lost, doubled, damaged, late."""
        self._draw = chance.random
        self._within = chance.randrange
        self._ways: dict[int, Lane] = {}
        self._lanes: dict[bytes, Lane] = {}
        self._wide: Lane | None = None
        self._rest: Lane | None = None
        self._held: list[tuple[float, int, bytes, Lane | None]] = []
        self._taken = 0
        self.change(ways)

    def change(self, ways: Iterable[Way]) -> None:
        """Have other ways from now on; what is held back leaves when it would have left."""
        before, self._ways = self._ways, {}
        self._lanes, self._wide, self._rest = {}, None, None
        for way in ways:
            lane = self._ways[way.number] = before.get(way.number, Lane())
            lane.effects = way.effects
            for to in way.to:
                if to == MULTICAST:
                    self._wide = lane
                elif to == EVERYTHING:
                    self._rest = lane
                else:
                    self._lanes[inet_aton(to)] = lane

    def take(self, now: float, frame: bytes) -> None:
        """A frame of IPv4 wants to go out. One for an address on no way leaves at once."""
        lane = self._lanes.get(frame[_TO])
        if lane is None and len(frame) > _TO.start and frame[_TO.start] >= _CLASS_D:
            lane = self._wide
        lane = lane or self._rest
        if lane is None:
            self._hold(now, frame, None)
            return
        effects = lane.effects
        copies = 1
        if effects.duplicate and self._draw() < effects.duplicate:
            copies = 2
        if effects.loss and self._draw() < effects.loss:
            copies -= 1
        if copies:
            self._send(now, frame, lane)
        if copies == 2 and not (effects.loss and self._draw() < effects.loss):
            self._send(now, frame, lane)

    def release(self, now: float) -> list[bytes]:
        """Give the frames whose time has come, in the order of their times."""
        held, gone = self._held, []
        while held and held[0][0] <= now:
            _, _, frame, lane = heapq.heappop(held)
            if lane is not None:
                lane.held -= 1
            gone.append(frame)
        return gone

    def release_all(self) -> list[bytes]:
        """Give all frames that are held back, in the order of their times."""
        return self.release(float("inf"))

    @property
    def wakes(self) -> float | None:
        """When the next frame leaves; None if none is held back."""
        return self._held[0][0] if self._held else None

    @property
    def overflowed(self) -> int:
        """Frames that were dropped on the ways of now because too many were held back."""
        return sum(lane.overflowed for lane in self._ways.values())

    def _send(self, now: float, frame: bytes, lane: Lane) -> None:
        effects = lane.effects
        if lane.held >= effects.limit:
            lane.overflowed += 1
            return
        if effects.corrupt and self._draw() < effects.corrupt:
            frame = self._damaged(frame)
        due = now
        if effects.rate:
            due = lane.free_at = max(now, lane.free_at) + len(frame) * 8 / effects.rate
        if not (effects.reorder and self._draw() < effects.reorder):
            due += effects.delay + effects.jitter * (2 * self._draw() - 1)
        lane.held += 1
        self._hold(due, frame, lane)

    def _hold(self, due: float, frame: bytes, lane: Lane | None) -> None:
        self._taken += 1  # of two that are due together, the first to come leaves first
        heapq.heappush(self._held, (due, self._taken, frame, lane))

    def _damaged(self, frame: bytes) -> bytes:
        """Flip one bit behind Ethernet's header."""
        bit = self._within(8 * (len(frame) - HEADER))
        damaged = bytearray(frame)
        damaged[HEADER + bit // 8] ^= 1 << bit % 8
        return bytes(damaged)

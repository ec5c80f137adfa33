"""The supervisor of a pipeline: which number is with whom, what is stored, what is to be redone.

Problem: a generator gives numbers, workers square them, a storage keeps the squares, and any of the
three may be killed at any moment. Each square must be kept, and once.

Rule: a number belongs to the supervisor until the storage has acknowledged its square. A worker is
handed a window of numbers at most, in order, and answers in order. The end of its pipe is its death
(on one host a supervisor can be certain: whom it suspects, it kills), and what it held goes back to
the front. A square that is not acknowledged is told to the next storage again; the storage knows
what it has and keeps nothing twice. So each is worked at least once and kept exactly once.

A number at which workers die again and again is given up and reported: the first of a dead worker's
window was being worked, so it gets the blame.

No process, pipe or clock is in here; `apps.concurrency.supervisor` has them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from apps.kit.effects import Effect, Emit, Send

STORAGE = "storage"
END, STOP = "end", "stop"
"""The last message to a stage: all numbers came, or no more come for now."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How much is under way at once, and how much is tried."""

    window: int = 4
    """Numbers that a worker is handed before it answers."""
    attempts: int = 5
    """Workers that may die of one number before it is given up."""


class Pipeline:
    """The state of one pipeline. Each method takes what happened and gives what is to be done."""

    def __init__(self, rules: Rules) -> None:
        """Begin with no worker, no storage and no number."""
        self._rules = rules
        self._free: deque[int] = deque()
        self._held: dict[str, deque[int]] = {}
        self._squares: dict[int, int] = {}
        self._known: set[int] = set()
        self._lost: set[int] = set()
        self._deaths: Counter[int] = Counter()
        self._storing = False
        self._all_offered = False
        self._last: str | None = None
        self.draining = False
        self.stored: set[int] = set()
        self.given_up: list[int] = []

    @property
    def hungry(self) -> bool:
        """Whether the generator may give more; otherwise its numbers wait in its pipe."""
        return not self.draining and len(self._free) < self._rules.window

    @property
    def ending(self) -> bool:
        """Whether the stages were told that it is over: who leaves now is not replaced."""
        return self._last is not None

    @property
    def complete(self) -> bool:
        """Whether every number was offered, and is stored or given up."""
        return self._last == END

    def owed(self, name: str) -> object:
        """Give what a stage must do next, or None; while it is the same, the stage does nothing."""
        if name == STORAGE:
            return next(iter(self._squares), self._last)
        return next(iter(self._held.get(name, ())), self._last)

    def offered(self, number: int) -> Iterator[Effect]:
        """Take a number of the generator; one that was offered before, or is stored, is no news."""
        if number not in self._known and not self.draining:
            self._known.add(number)
            self._free.append(number)
        yield from self._go_on()

    def all_offered(self) -> Iterator[Effect]:
        """Take note of the generator's end."""
        self._all_offered = True
        yield from self._go_on()

    def drain(self) -> Iterator[Effect]:
        """Hand out nothing more; what is under way is finished."""
        self.draining = True
        self._free.clear()
        yield from self._go_on()

    def joined(self, worker: str) -> Iterator[Effect]:
        """Take a new worker; its name was never used before."""
        self._held[worker] = deque()
        if self._last is not None:
            yield _end(worker, self._last)
        yield from self._go_on()

    def squared(self, worker: str, number: int, square: int) -> Iterator[Effect]:
        """Take a worker's answer; what it was not handed is dropped."""
        held = self._held.get(worker, deque())
        if number not in held:
            yield Emit("dropped", {"worker": worker, "number": number})
            return
        held.remove(number)
        self._squares[number] = square
        if self._storing:
            yield _keep(number, square)
        yield from self._go_on()

    def left(self, worker: str, why: str) -> Iterator[Effect]:
        """Take back what a worker held that is gone; it goes to the others first of all."""
        held = self._held.pop(worker, deque())
        if self.ending and not held:
            return
        yield Emit("lost", {"stage": "worker", "name": worker, "why": why, "numbers": [*held]})
        self._lost.update(held)
        if held:
            self._deaths[held[0]] += 1
            if self._deaths[held[0]] >= self._rules.attempts:
                number = held.popleft()
                self.given_up.append(number)
                yield Emit("gave_up", {"number": number, "workers": self._deaths[number]})
        if not self.draining:
            self._free.extendleft(reversed(held))
        yield from self._go_on()

    def storage_joined(self, found: Iterable[int]) -> Iterator[Effect]:
        """Take a storage and the numbers that it has already; tell it what it may have missed."""
        self._storing = True
        for number in found:
            self._is_stored(number)
        for number, square in self._squares.items():
            yield _keep(number, square)
        if self._last is not None:
            yield _end(STORAGE, self._last)
        yield from self._go_on()

    def acknowledged(self, number: int) -> Iterator[Effect]:
        """Take note that a number's square is on the disk."""
        self._is_stored(number)
        yield from self._go_on()

    def storage_left(self, why: str) -> Iterator[Effect]:
        """Take note that the storage is gone; squares wait for the next one."""
        self._storing = False
        numbers = [*self._squares]
        yield Emit("lost", {"stage": STORAGE, "name": STORAGE, "why": why, "numbers": numbers})

    def _is_stored(self, number: int) -> None:
        self.stored.add(number)
        self._known.add(number)
        self._squares.pop(number, None)

    def _go_on(self) -> Iterator[Effect]:
        yield from self._hand_out()
        under_way = self._free or self._squares or any(self._held.values())
        if self.ending or under_way or not (self._all_offered or self.draining):
            return
        self._last = END if self._all_offered and not self._left_undone else STOP
        for worker in self._held:
            yield _end(worker, self._last)
        if self._storing:
            yield _end(STORAGE, self._last)

    @property
    def _left_undone(self) -> bool:
        """Whether draining has left numbers that were offered."""
        return bool(self._known - self.stored - set(self.given_up))

    def _hand_out(self) -> Iterator[Effect]:
        """Give numbers to the least busy first, while the storage keeps up."""
        while self._free and self._held and len(self._squares) < self._most_unstored:
            worker = min(self._held, key=lambda name: len(self._held[name]))
            if len(self._held[worker]) >= self._rules.window:
                return
            number = self._free.popleft()
            if number in self.stored:
                continue
            self._held[worker].append(number)
            if number in self._lost:
                yield Emit("redone", {"number": number, "worker": worker})
            yield Send(worker, {"number": number})

    @property
    def _most_unstored(self) -> int:
        return self._rules.window * len(self._held)


def _keep(number: int, square: int) -> Send:
    return Send(STORAGE, {"number": number, "square": square})


def _end(stage: str, word: str) -> Send:
    return Send(stage, {"last": word})

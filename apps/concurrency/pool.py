"""One producer, several consumers, a bounded queue between them and a locked list: threads.

The queue is bounded, so a producer that is faster waits. The list is locked: two threads that
change it at once take turns. Consumers end by a sentinel each, which is put when all is done: put
earlier, it would overtake what is redone. A consumer that dies of an exception tells with its last
breath (`finally`) what it held; that goes back into the queue, and another consumer is started.

What threads cannot do: be killed. One that never returns holds its number for ever; processes can
be killed, which is the other half of this pattern.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from apps.concurrency.results import Pair, Round, write_whole
from apps.kit.events import Events


@dataclass(frozen=True, slots=True)
class PoolRules:
    """Who works, and how."""

    consumers: int = 4
    capacity: int = 8
    """Numbers that may wait in the queue."""
    attempts: int = 5
    """Consumers that may die of one number before it is given up."""


@dataclass(frozen=True, slots=True)
class _Produced:
    """The producer's end."""

    count: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """A square is in the list."""


@dataclass(frozen=True, slots=True)
class _Died:
    """A consumer's end that was none of its own making."""

    name: str
    number: int
    why: str


class ThreadPool:
    """Squares numbers by threads of this process. `run` blocks; `drain` is for another thread."""

    def __init__(
        self, events: Events, numbers: range, rules: PoolRules, work: Callable[[int], int]
    ) -> None:
        """`work` squares a number; what it raises is the death of the consumer that called it."""
        self._events = events
        self._numbers = numbers
        self._rules = rules
        self._work = work
        self._tasks: queue.Queue[int | None] = queue.Queue(rules.capacity)
        self._notes: queue.SimpleQueue[_Produced | _Kept | _Died] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._squares: list[Pair] = []
        self._threads: list[threading.Thread] = []
        self._draining = threading.Event()
        self.given_up: list[int] = []

    def run(self) -> list[Pair]:
        """Square all; the list, in the order in which they were done."""
        self._start("producer", self._produce)
        for number in range(1, self._rules.consumers + 1):
            self._hire(f"consumer-{number}.1")
        self._supervise()
        for _ in range(self._rules.consumers):
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        return self._squares

    def drain(self) -> None:
        """Produce no more; what is in the queue is done."""
        self._draining.set()

    def _supervise(self) -> None:
        """Take note of what the others say, until all that was produced is done or given up."""
        produced: int | None = None
        kept, quarters = 0, 0
        deaths: Counter[int] = Counter()
        while produced is None or kept + len(self.given_up) < produced:
            match self._notes.get():
                case _Produced(count):
                    produced = count
                case _Kept():
                    kept += 1
                    if 4 * kept // len(self._numbers) > quarters:
                        quarters = 4 * kept // len(self._numbers)
                        first, last = self._numbers[0], self._numbers[-1]
                        self._events.emit("progress", first=first, last=last, done=kept)
                case _Died(name, number, why):
                    deaths[number] += 1
                    self._replace(name, number, why, deaths[number])

    def _replace(self, name: str, number: int, why: str, deaths: int) -> None:
        """Start another consumer, and then put back what the dead one held."""
        self._events.emit("lost", stage="consumer", name=name, why=why, numbers=[number])
        slot, _, life = name.partition(".")
        successor = f"{slot}.{int(life) + 1}"
        self._hire(successor)
        if deaths < self._rules.attempts:
            self._events.emit("redone", number=number, worker="whoever is next")
            self._tasks.put(number)
        else:
            self.given_up.append(number)
            self._events.emit("gave_up", number=number, workers=deaths)

    def _hire(self, name: str) -> None:
        self._start(name, lambda: self._consume(name))

    def _start(self, name: str, play: Callable[[], None]) -> None:
        thread = threading.Thread(target=play, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        self._events.emit("started", stage=name.partition("-")[0], name=name, tid=thread.native_id)

    def _produce(self) -> None:
        count = 0
        for number in self._numbers:
            if self._draining.is_set():
                break
            self._tasks.put(number)
            count += 1
        self._notes.put(_Produced(count))

    def _consume(self, name: str) -> None:
        held: int | None = None
        why = "it ended"
        try:
            while (number := self._tasks.get()) is not None:
                held = number
                square = self._work(number)
                with self._lock:
                    self._squares.append((number, square))
                held = None
                self._notes.put(_Kept())
        except Exception as error:  # whatever it is, this thread is over
            why = f"{type(error).__name__}: {error}"
        finally:
            if held is not None:
                self._notes.put(_Died(name, held, why))


class Crasher:
    """Squares numbers, each in `delay` seconds; of the numbers in `crash_at` the first call dies.

    With `always`, every call does.
    """

    def __init__(
        self, delay: float = 0.0, crash_at: tuple[int, ...] = (), *, always: bool = False
    ) -> None:
        """`delay` is waiting that stands for work."""
        self._delay = delay
        self._left = set(crash_at)
        self._always = always

    def __call__(self, number: int) -> int:
        """Square it, or raise RuntimeError."""
        if number in self._left:
            if not self._always:
                self._left.discard(number)
            raise RuntimeError(f"crashed at {number}, as ordered")
        if self._delay:
            time.sleep(self._delay)
        return number * number


class PoolRound:
    """One round of a pool whose squares are kept in a file: all of them, or none."""

    def __init__(self, events: Events, round_: Round, pool: ThreadPool) -> None:
        """The file is written when all is done."""
        self._events = events
        self._round = round_
        self._pool = pool

    @property
    def given_up(self) -> list[int]:
        """The numbers at which consumer after consumer died."""
        return self._pool.given_up

    def work(self) -> bool:
        """Work it; whether all is done and kept."""
        first, last, path = self._round
        self._events.emit("begun", first=first, last=last, found=0)
        squares = self._pool.run()
        if len(squares) + len(self.given_up) < self._round.size:
            return False
        write_whole(path, squares)
        return True

    def drain(self) -> None:
        """Finish what is in the queue, and no more."""
        self._pool.drain()

"""The supervisor of a pipeline among workers and storages that die at any moment, seeded."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from apps.concurrency.core import END, STOP, STORAGE, Pipeline, Rules
from apps.kit.effects import Effect, Emit, Send

RULES = Rules(window=3, attempts=50)


@dataclass
class Stage:
    """A process: what lies in the pipe to it, and in the pipe from it."""

    heard: deque[tuple[object, ...]] = field(default_factory=deque)
    said: deque[tuple[object, ...]] = field(default_factory=deque)


class World:
    """A core with stages that do one thing at a time, in an order that the seed draws.

    A stage that dies loses what lies in the pipe to it; what it said is still read. The disk keeps
    what a storage wrote, acknowledged or not.
    """

    def __init__(self, seed: int, numbers: range, kind: type[Pipeline] = Pipeline) -> None:
        self.rng = random.Random(seed)
        self.numbers = numbers
        self.core = kind(RULES)
        self.disk: list[tuple[int, int]] = []
        self.closed = False
        self.stages: dict[str, Stage] = {}
        self.names = (f"worker-{n}" for n in itertools.count(1))
        self.coming = iter(numbers)
        self.events: list[Emit] = []
        self.ended = False
        self.deaths = 0

    def do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Emit):
                self.events.append(effect)
            elif isinstance(effect, Send) and effect.to in self.stages:
                self.stages[effect.to].heard.append(tuple(effect.message.values()))

    def play(self, workers: int, steps: int = 20_000) -> None:
        """Go on until the stages have ended; every so often one dies and another takes over."""
        self.hire_storage()
        for _ in range(workers):
            self.hire_worker()
        for _ in range(steps):
            if self.ended:
                return
            self.step()
        raise AssertionError("it never ends")

    def step(self) -> None:
        name = self.rng.choice(["generator", *self.stages])
        if name == "generator":
            self.generate()
        elif self.rng.random() < 0.02 and not self.core.ending:
            self.die(name)
        elif self.stages[name].said and self.rng.random() < 0.5:
            self.hear(name, self.stages[name].said.popleft())
        elif self.stages[name].heard:
            self.act(name, self.stages[name].heard.popleft())

    def generate(self) -> None:
        if self.core.hungry:
            number = next(self.coming, None)
            self.do(self.core.all_offered() if number is None else self.core.offered(number))

    def hire_worker(self) -> None:
        name = next(self.names)
        self.stages[name] = Stage()
        self.do(self.core.joined(name))

    def hire_storage(self) -> None:
        self.stages[STORAGE] = Stage()
        self.do(self.core.storage_joined([number for number, _ in self.disk]))

    def die(self, name: str) -> None:
        self.deaths += 1
        for said in self.stages[name].said:
            self.hear(name, said)
        del self.stages[name]
        if name == STORAGE:
            self.do(self.core.storage_left("killed"))
            self.hire_storage()
        else:
            self.do(self.core.left(name, "killed"))
            self.hire_worker()

    def act(self, name: str, heard: tuple[object, ...]) -> None:
        match name, heard:
            case ("storage", (int(number), int(square))):
                if number not in dict(self.disk):
                    self.disk.append((number, square))
                self.stages[name].said.append((number,))
            case ("storage", (str(word),)):
                self.closed = word == END
                self.ended = True
            case (_, (int(number),)):
                self.stages[name].said.append((number, number * number))

    def hear(self, name: str, said: tuple[object, ...]) -> None:
        match name, said:
            case ("storage", (int(number),)):
                self.do(self.core.acknowledged(number))
            case (_, (int(number), int(square))):
                self.do(self.core.squared(name, number, square))


def wanted(numbers: range) -> list[tuple[int, int]]:
    return [(number, number * number) for number in numbers]


@pytest.mark.parametrize("seed", range(300))
def test_each_square_is_kept_once_whoever_dies(seed: int) -> None:
    world = World(seed, range(1, 40))
    world.play(workers=1 + seed % 4)
    assert sorted(world.disk) == wanted(world.numbers)
    assert world.closed
    assert world.core.complete


@pytest.mark.parametrize("seed", range(100))
def test_a_supervisor_that_dies_too_leaves_what_the_next_one_finishes(seed: int) -> None:
    world = World(seed, range(1, 40))
    world.hire_storage()
    world.hire_worker()
    for _ in range(seed * 7):
        if not world.ended:
            world.step()
    successor = World(seed + 1, world.numbers)
    successor.disk = world.disk
    successor.play(workers=3)
    assert sorted(successor.disk) == wanted(world.numbers)


@pytest.mark.parametrize("seed", range(100))
def test_what_is_drained_is_whole_and_not_closed(seed: int) -> None:
    world = World(seed, range(1, 40))
    world.hire_storage()
    world.hire_worker()
    for _ in range(20 + seed):
        world.step()
    held = len(world.disk)
    world.do(world.core.drain())
    for _ in range(20_000):
        if not world.ended:
            world.step()
    assert world.ended
    assert len(world.disk) >= held
    assert world.closed == (sorted(world.disk) == wanted(world.numbers))
    assert set(world.disk) <= set(wanted(world.numbers))


def test_the_deaths_are_real() -> None:
    worlds = [World(seed, range(1, 40)) for seed in range(20)]
    for world in worlds:
        world.play(workers=3)
    events = [event.event for world in worlds for event in world.events]
    assert sum(world.deaths for world in worlds) > 50
    assert min(events.count("lost"), events.count("redone")) > 20


class Forgetful(Pipeline):
    """Does not redo what a worker held that died."""

    def left(self, worker: str, why: str) -> Iterator[Effect]:
        self._held[worker].clear()
        return super().left(worker, why)


class Trusting(Pipeline):
    """Does not tell a new storage what the old one may have missed."""

    def storage_joined(self, found: Iterable[int]) -> Iterator[Effect]:
        self._squares.clear()
        return super().storage_joined(found)


@pytest.mark.parametrize("kind", [Forgetful, Trusting])
def test_a_wrong_supervisor_is_found_out(kind: type[Pipeline]) -> None:
    def right(seed: int) -> bool:
        world = World(seed, range(1, 40), kind)
        world.play(workers=3)
        return world.closed and sorted(world.disk) == wanted(world.numbers)

    assert not all(right(seed) for seed in range(20))


def test_the_last_word_for_what_is_left_undone_is_another() -> None:
    core = Pipeline(RULES)
    assert [*core.joined("worker-1"), *core.storage_joined([])] == []
    assert [*core.offered(3)] == [Send("worker-1", {"number": 3})]
    assert [*core.drain()] == []
    told = [*core.squared("worker-1", 3, 9)]
    told += core.acknowledged(3)
    assert told[-1] == Send(STORAGE, {"last": STOP})

"""The supervisor's shell: starts the stages, carries lines between them and the core."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from apps.concurrency.child import Child
from apps.concurrency.core import STORAGE, Pipeline, Rules
from apps.concurrency.filters import LAST
from apps.concurrency.results import Round
from apps.kit.effects import Effect, Emit, Message, Send
from apps.kit.events import Events
from apps.kit.outcome import Rejected

Play = Callable[[int], Coroutine[Any, Any, bool]]
"""One life of a stage, counted from 1; whether it came to its end."""

_IN_VAIN = 10
"""Stages that may die one after the other while nothing gets done."""
_REST = 0.2
"""Seconds before the next one is started then."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Who works, and how."""

    workers: int = 4
    delay: float = 0.0
    """Seconds of waiting that stand for the work on a number."""
    patience: float = 3.0
    """Seconds without a sign of work after which a stage is killed as stuck."""
    rules: Rules = field(default_factory=Rules)


class Supervisor:
    """Works one round: its numbers squared by processes, and kept in its file."""

    def __init__(self, events: Events, round_: Round, crew: Crew) -> None:
        """The file may hold a part of the round already."""
        self._events = events
        self._round = round_
        self._crew = crew
        self._core = Pipeline(crew.rules)
        self._children: dict[str, Child] = {}
        self._next = round_.first
        self._storing = asyncio.Event()
        self._appetite = asyncio.Event()
        self._in_vain = 0
        self._worked = 0

    @property
    def given_up(self) -> list[int]:
        """The numbers at which worker after worker died."""
        return self._core.given_up

    async def run(self) -> bool:
        """Work until all is stored or given up, or `drain` was called; whether it is the former.

        Rejected if the stages die in vain: no disk, no memory, no program.
        """
        workers = [self._worker(slot) for slot in range(1, self._crew.workers + 1)]
        plays: list[Play] = [self._store, self._generate, *workers]
        stages = [asyncio.create_task(self._again(play)) for play in plays]
        try:
            await asyncio.gather(*stages)
        finally:
            for stage in stages:
                stage.cancel()
            await asyncio.gather(*stages, return_exceptions=True)
        return self._core.complete

    def drain(self) -> None:
        """Finish what is under way, and no more."""
        self._do(self._core.drain())

    async def _again(self, play: Play) -> None:
        """Play a stage, one process after the other, until one of them came to its end."""
        for life in itertools.count(1):
            done = len(self._core.stored)
            if await play(life) or self._core.ending:
                return
            self._in_vain = 0 if len(self._core.stored) > done else self._in_vain + 1
            if self._in_vain > _IN_VAIN:
                raise Rejected(f"{self._in_vain} processes died, and nothing was stored meanwhile")
            if self._in_vain > 1:
                await asyncio.sleep(_REST)

    async def _store(self, _life: int) -> bool:
        found: list[int] = []
        joined = False
        async with self._child(STORAGE, "store", self._round.path) as child:
            async for line in child.lines(self._crew.patience, lambda: self._core.owed(STORAGE)):
                if line in LAST:
                    await child.end()
                    return True
                if line == "ready":
                    joined = True
                    self._begin(len(found))
                    self._do(self._core.storage_joined(found))
                elif joined:
                    self._do(self._core.acknowledged(int(line.removeprefix("stored "))))
                    self._tell_progress()
                else:
                    found.append(int(line.removeprefix("stored ")))
            why = await child.end()
        self._do(self._core.storage_left(why))
        return False

    def _begin(self, found: int) -> None:
        if not self._storing.is_set():
            first, last, _ = self._round
            self._events.emit("begun", first=first, last=last, found=found)
        self._storing.set()

    def _tell_progress(self) -> None:
        """Say at each quarter how many squares are on the disk."""
        done, count = len(self._core.stored), self._round.size
        if 4 * done // count > self._worked:
            self._worked = 4 * done // count
            first, last, _ = self._round
            self._events.emit("progress", first=first, last=last, done=done)

    async def _generate(self, _life: int) -> bool:
        await self._storing.wait()
        last = self._round.last
        owed = lambda: self._core.hungry or None  # noqa: E731
        async with self._child("generator", "generate", self._next, last) as child:
            async for line in child.lines(self._crew.patience, owed):
                if line in LAST:
                    await child.end()
                    self._do(self._core.all_offered())
                    return True
                self._next = int(line) + 1
                self._do(self._core.offered(int(line)))
                while not self._core.hungry and not self._core.draining:
                    self._appetite.clear()
                    await self._appetite.wait()
                if self._core.draining:
                    return True
            why = await child.end()
        self._events.emit("lost", stage="generator", name="generator", why=why, numbers=[])
        return False

    def _worker(self, slot: int) -> Play:
        async def work(life: int) -> bool:
            await self._storing.wait()
            name = f"worker-{slot}.{life}"
            async with self._child(name, "square", self._crew.delay) as child:
                self._do(self._core.joined(name))
                async for line in child.lines(self._crew.patience, lambda: self._core.owed(name)):
                    if line in LAST:
                        break
                    number, square = map(int, line.split())
                    self._do(self._core.squared(name, number, square))
                why = await child.end()
            self._do(self._core.left(name, why))
            return self._core.ending

        return work

    @asynccontextmanager
    async def _child(self, name: str, *stage: object) -> AsyncIterator[Child]:
        async with Child(name, *stage) as child:
            child.started(self._events)
            self._children[name] = child
            try:
                yield child
            finally:
                del self._children[name]

    def _do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message) if to in self._children:
                    self._children[to].say(_line(message))
                case Emit(event, fields):
                    self._events.emit(event, **fields)
        if self._core.hungry or self._core.draining:
            self._appetite.set()


def _line(message: Message) -> str:
    """Give a message of the core as the stages read it: `12`, `12 144`, `end`."""
    return " ".join(map(str, message.values()))

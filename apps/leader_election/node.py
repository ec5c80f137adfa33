"""One candidate: the core of the election over a session, and the work that only a leader does.

A leader works for a while and then writes the result, under the token that it began with. Work that
was begun is not recalled when it steps down: no real program could either, in the middle of a call
or paused between two lines. That is what the fence is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Rejected
from apps.kit.zookeeper import Session
from apps.leader_election.client import Writer
from apps.leader_election.core import (
    Believe,
    Candidate,
    Effect,
    Join,
    Leave,
    Look,
    StepDown,
    Watch,
)

T = TypeVar("T")
_AGAIN = 0.5
"""Seconds until the next look after one that failed."""
_BEGIN = 15.0
"""Seconds in which the ensemble has to answer when we start."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the unit's options say."""

    servers: Sequence[Address]
    resource: Address
    path: str
    session: float
    """Seconds that the ensemble waits for us."""
    work: float
    """Seconds that a piece of work takes."""


class ElectionNode:
    """An async context manager: it stands for election while it is entered."""

    def __init__(self, settings: Settings, events: Events, rng: random.Random) -> None:
        """Nothing begins before it is entered."""
        self._settings = settings
        self._events = events
        self._core = Candidate(events.node, rng)
        self._session = Session(
            settings.servers,
            events,
            timeout=_BEGIN,
            session=settings.session,
            changed=self._from_thread(self._turn),
        )
        self._wanted = asyncio.Event()
        self._working: set[asyncio.Task[None]] = set()
        self._beliefs = 0
        """How often it began to lead: who steps down and leads again does not work twice."""
        self._done = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._session.__enter__)
        except CallFailed as error:
            raise OSError(str(error)) from error
        self._looking = asyncio.create_task(self._look_when_wanted())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the session: the next candidate leads at once."""
        tasks = [self._looking, *self._working]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._perform(self._core.suspended())
        await asyncio.to_thread(self._session.__exit__)

    def _from_thread(self, function: Callable[[str], None]) -> Callable[[str], None]:
        def call(told: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(function, told)

        return call

    def _turn(self, state: str) -> None:
        """Hear of the session; this waits for nobody, so that a leader steps down at once."""
        turns = {
            "connected": self._core.connected,
            "suspended": self._core.suspended,
            "lost": self._core.lost,
        }
        self._perform(turns[state]())

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Believe(token):
                    self._events.emit("believes", fence=token)
                    self._start(self._lead(token))
                case StepDown(token, why):
                    self._events.emit("believes_no_more", fence=token, why=why)
                case Look():
                    self._wanted.set()
                case _:
                    raise TypeError(f"{effect} asks the ensemble: only a look does so")

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _lead(self, token: int) -> None:
        """Work for as long as we believe, and write each result while at work on the next."""
        timeout = self._settings.session
        async with (
            Writer(self._settings.resource, self._events, timeout) as writer,
            asyncio.TaskGroup() as writing,
        ):
            self._beliefs += 1
            belief = self._beliefs
            while self._core.token == token and self._beliefs == belief:
                await asyncio.sleep(self._settings.work)
                self._done += 1
                result = f"{self._events.node} did {self._done}"
                writing.create_task(self._write(writer, token, result))

    async def _write(self, writer: Writer, token: int, result: str) -> None:
        try:
            await writer.write(token, result)
        except Rejected:
            self._perform(self._core.refused(token))
        except CallFailed:
            return  # its events tell; the next result will do

    async def _look_when_wanted(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._look()
            except CallFailed as error:
                self._events.bounded("look_failed", error=str(error))
                self._loop.call_later(_AGAIN, self._wanted.set)

    async def _look(self) -> None:
        """Ask who the candidates are, and do what follows."""
        names = await self._candidates()
        mine = self._core.mine(names)
        token = (await self._ask(self._session.get, mine)).created if mine else 0
        for effect in self._core.looked(names, token):
            match effect:
                case Join(prefix):
                    await asyncio.to_thread(self._join, prefix)
                case Leave(name):
                    await self._ask(self._session.delete, name)
                case Watch(name):
                    if not await self._ask(self._watch, name):
                        self._wanted.set()
                case _:
                    self._perform([effect])

    async def _candidates(self) -> list[str]:
        try:
            return await self._ask(self._session.children, "")
        except Rejected:
            return []  # nobody ever stood

    def _join(self, prefix: str) -> None:
        path = f"{self._settings.path}/{prefix}"
        self._session.create(path, ephemeral=True, sequence=True)

    def _watch(self, path: str) -> bool:
        return self._session.watch(path, self._from_thread(lambda _: self._wanted.set()))

    async def _ask(self, operation: Callable[[str], T], name: str) -> T:
        """Do an operation of the session on a candidate's node, in a thread."""
        path = f"{self._settings.path}/{name}".rstrip("/")
        return await asyncio.to_thread(operation, path)

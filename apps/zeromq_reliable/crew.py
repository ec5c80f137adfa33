"""The workers of a queue or a broker: who is there, who is idle, who has not been heard of.

The rule is 6/PPP's and 7/MDP's: both sides send heartbeats, and who was silent for some of them is
gone. The idle worker that waited longest gets the next request ("least recently used").

A process that was itself held up (paused, starved) cannot know who spoke meanwhile: all are given
the time that it was late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Task = TypeVar("Task")
EARLY = 0.9
"""A timer may be early by a hair: the part of an interval after which a heartbeat is due."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The heartbeats, alike on both sides."""

    heartbeat: float = 0.5
    """Seconds between two."""
    liveness: int = 3
    """So many intervals of silence, and the other side is gone."""

    @property
    def silence(self) -> float:
        """Seconds of silence that are borne."""
        return self.heartbeat * self.liveness

    def held_up(self, passed: float) -> float:
        """Give by how much a timer of one interval was late, if that is worth a thought."""
        late = passed - self.heartbeat
        return late if late > self.heartbeat else 0.0


@dataclass(eq=False, slots=True)
class Member(Generic[Task]):
    """A worker. It is idle while it has no task."""

    peer: str
    service: str
    heard: float
    said: float
    since: float = 0.0
    """When it got its task."""
    task: Task | None = None


class Crew(Generic[Task]):
    """All workers by their peers' names, in the order in which they became idle."""

    def __init__(self, pace: Pace) -> None:
        """Nobody is there."""
        self._pace = pace
        self._members: dict[str, Member[Task]] = {}
        self._idle: dict[str, dict[str, Member[Task]]] = {}
        self._number: dict[str, int] = {}
        self._looked: float | None = None

    def __len__(self) -> int:
        return len(self._members)

    def get(self, peer: str) -> Member[Task] | None:
        """Give a worker; None if it is not known."""
        return self._members.get(peer)

    def serving(self, service: str) -> int:
        """Count the workers of a service."""
        return self._number.get(service, 0)

    def join(self, now: float, peer: str, service: str = "") -> Member[Task]:
        """Take a new worker in; it is idle."""
        member = self._members[peer] = Member(peer, service, now, now)
        self._number[service] = self.serving(service) + 1
        self.rest(member)
        return member

    def rest(self, member: Member[Task]) -> None:
        """Note that a worker is idle from now on."""
        member.task = None
        self._idle.setdefault(member.service, {})[member.peer] = member

    def next(self, service: str = "") -> Member[Task] | None:
        """Give the worker of a service that has been idle for longest."""
        idle = self._idle.get(service)
        return next(iter(idle.values())) if idle else None

    def give(self, now: float, member: Member[Task], task: Task) -> None:
        """Note that an idle worker gets a task."""
        del self._idle[member.service][member.peer]
        member.task, member.since, member.said = task, now, now

    def leave(self, member: Member[Task]) -> Task | None:
        """Forget a worker; give the task that it had."""
        del self._members[member.peer]
        self._idle.get(member.service, {}).pop(member.peer, None)
        self._number[member.service] -= 1
        if not self._number[member.service]:
            del self._number[member.service]
            self._idle.pop(member.service, None)
        return member.task

    def silent(self, now: float) -> list[Member[Task]]:
        """Give those who are gone; called once in an interval."""
        late = 0.0 if self._looked is None else self._pace.held_up(now - self._looked)
        self._looked = now
        for member in self._members.values():
            member.heard += late
            member.since += late
        return [m for m in self._members.values() if now - m.heard > self._pace.silence]

    def slow(self, now: float, patience: float) -> list[Member[Task]]:
        """Give those who have had their task for longer than that."""
        return [
            m for m in self._members.values() if m.task is not None and now - m.since > patience
        ]

    def due(self, now: float) -> Iterator[Member[Task]]:
        """Give those to whom nothing was said for an interval; a heartbeat is being said now."""
        for member in self._members.values():
            if now - member.said >= EARLY * self._pace.heartbeat:
                member.said = now
                yield member

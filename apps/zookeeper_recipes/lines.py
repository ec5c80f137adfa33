"""Lock, read/write lock, semaphore: all are a line, and who may go in from it.

Who wants in makes an ephemeral node with a number below one parent. A server that shows our node
shows all that came before it, for ZooKeeper's servers apply one sequence of writes; it may only be
late to show that somebody left. So who finds nobody in the way is not mistaken (ZooKeeper, "Recipes
and Solutions": locks, shared locks).

Whom one waits for depends on what one wants. Of a lock, on all before; who reads, on writers before
alone; of a semaphore, until fewer are before than it has leases. Each watches only the last one in
its way, so that who leaves wakes one and not the crowd; with a semaphore anybody's leaving counts.

A node goes with its session. Who is paused for longer does not know that, and goes on: what must
not be harmed by that needs a fence (see leader_election).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apps.kit.outcome import CallFailed
from apps.zookeeper_recipes.participant import Participant, Told, fresh


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of a line."""

    kind: str
    """What its nodes' names begin with."""
    in_the_way: Callable[[Sequence[str]], Sequence[str]]
    """Of those before it, in their order, whom it waits for."""
    leases: int = 1
    """It goes in when fewer than so many are in its way."""


LOCK = Wish("lock", lambda before: before)
WRITE = Wish("write", lambda before: before)
READ = Wish("read", lambda before: [name for name in before if name.startswith("write-")])


def semaphore(leases: int) -> Wish:
    """Give what one wants of a semaphore."""
    return Wish("lease", lambda before: before, leases)


class Line:
    """A participant's way through the line below a path."""

    def __init__(self, participant: Participant, path: str, wish: Wish) -> None:
        """Nobody is in line yet."""
        self._participant = participant
        self._path = path
        self._wish = wish
        self._own = self._name = ""
        self._gone = False

    def hold(
        self,
        seconds: float,
        inside: Callable[[int], object] = lambda _: None,
        *,
        crash: bool = False,
    ) -> bool:
        """Stand in line, do what is to be done inside, stay for so long, and leave.

        `inside` is told how many sessions we had lost before, for `Participant.insist`.
        False if we left early, since our session became doubtful. Refused if nobody let us in. With
        `crash` this process dies inside, as by kill -9.
        """
        participant = self._participant
        while True:
            losses = participant.losses
            self._own = fresh(self._wish.kind)
            self._gone = False
            self._name = participant.enrol(self._path, self._own)
            try:
                participant.until(self._admitted, f"we are let in at {self._path}")
                if participant.has(losses) and not self._gone:
                    return self._inside(losses, seconds, inside, crash=crash)
            finally:
                participant.withdraw(self._path, self._own)

    def _inside(
        self, losses: int, seconds: float, inside: Callable[[int], object], *, crash: bool
    ) -> bool:
        participant, stayed = self._participant, False
        told = {"path": self._path, "kind": self._wish.kind, "name": self._name}
        about = {**told, "leases": self._wish.leases}
        participant.events.emit("enter", **about)
        try:
            inside(losses)
            if crash:
                participant.events.emit("crash", **about)
                os.kill(os.getpid(), signal.SIGKILL)
            stayed = participant.stay(seconds) and participant.has(losses)
        except CallFailed:
            if participant.has(losses):
                raise
        finally:
            participant.events.emit("exit", **about, sure=stayed)
        return stayed

    def _admitted(self, told: Told) -> bool:
        """Look who is in the way, and leave a watch; also over if our node is gone."""
        crowd = told if self._wish.leases > 1 else None
        names = self._participant.line(self._path, crowd)
        self._gone = self._name not in names
        if self._gone:
            return True
        before = self._wish.in_the_way(names[: names.index(self._name)])
        if len(before) < self._wish.leases:
            return True
        if crowd is not None or self._participant.watch(f"{self._path}/{before[-1]}", told):
            return False
        return self._admitted(told)  # who was in the way left while we looked

"""leader_election's cores in a simulated world: sessions that end, pauses, cuts, late messages.

The ensemble is one object here, for ZooKeeper's promises are zookeeper's own to keep; but a look
may be answered by a server that is behind. What a paused node would have heard meanwhile it hears
when it wakes up, in any order, and what it was at it finishes.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from apps.leader_election.claims import (
    fence_holds,
    fence_refuses_who_still_believes,
    tokens_have_one_leader,
)
from apps.leader_election.core import (
    Believe,
    Candidate,
    Effect,
    Join,
    Leave,
    Look,
    Resource,
    Stale,
    StepDown,
    Watch,
)

SEEDS = range(120)
SESSION, SILENCE, BEAT, WORK = 3.0, 1.5, 0.4, 0.1
"""Seconds: until a session is given up, until a node notices silence; of a heartbeat, of work."""
TROUBLE, END = 30.0, 45.0
"""Seconds until nothing goes wrong any more, and until the simulation ends."""


@dataclass
class Ensemble:
    """Candidates' nodes in the order of their transactions, and when each session was heard."""

    zxid: int = 0
    nodes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By name: the session, and the transaction that made it."""
    heard: dict[int, float] = field(default_factory=dict)
    past: list[dict[str, tuple[int, int]]] = field(default_factory=lambda: [{}])
    wrote: dict[int, int] = field(default_factory=dict)
    """By session: the transaction that it must see."""

    def commit(self, nodes: dict[str, tuple[int, int]], session: int | None = None) -> None:
        self.zxid += 1
        self.nodes = nodes
        self.past.append(nodes)
        if session is not None:
            self.wrote[session] = self.zxid

    def begin(self, session: int, now: float) -> None:
        self.heard[session] = now
        self.commit(self.nodes, session)

    def create(self, session: int, prefix: str) -> None:
        name = f"{prefix}{self.zxid + 1:010}"
        self.commit({**self.nodes, name: (session, self.zxid + 1)}, session)

    def delete(self, session: int, name: str) -> None:
        self.commit({k: v for k, v in self.nodes.items() if k != name}, session)

    def expire(self, now: float) -> None:
        for session in [s for s, at in self.heard.items() if now - at > SESSION]:
            del self.heard[session]
            self.commit({k: v for k, v in self.nodes.items() if v[0] != session})

    def view(self, session: int, rng: random.Random) -> dict[str, tuple[int, int]]:
        """Give what some server has: never older than what this session wrote."""
        oldest = max(self.wrote.get(session, 0), self.zxid - 3)
        return self.past[rng.randint(min(oldest, self.zxid), self.zxid)]


class World:
    """Nodes, the ensemble and the resource, over one seed."""

    def __init__(self, seed: int, nodes: int, *, fence: bool = True) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.ensemble = Ensemble()
        self.resource = Resource()
        self.fence = fence
        self.history: list[dict[str, Any]] = []
        self.sessions = itertools.count(1)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.nodes = [Node(self, f"n{i}") for i in range(1, nodes + 1)]

    def at(self, after: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + after, next(self._count), do))

    def emit(self, event: str, node: str, **fields: Any) -> None:
        self.history.append({"event": event, "node": node, "t": self.now, **fields})

    def run(self) -> None:
        for node in self.nodes:
            self.at(self.rng.uniform(0, 0.5), node.beat)
        self.at(self.rng.uniform(0, 3), self.trouble)
        self.at(0.5, self.tick)
        while self._queue and self._queue[0][0] < END:
            self.now, _, do = heapq.heappop(self._queue)
            do()

    def tick(self) -> None:
        self.ensemble.expire(self.now)
        self.at(0.5, self.tick)

    def trouble(self) -> None:
        """Let something befall a node, and end it."""
        if self.now > TROUBLE:
            return
        node, lasts = self.rng.choice(self.nodes), self.rng.uniform(0.5, 6)
        match self.rng.choice(("pause", "pause", "cut", "cut", "die")):
            case "pause" if not node.paused:
                node.paused = True
                self.at(lasts, node.wake)
            case "cut" if not node.cut:
                node.cut = True
                self.at(lasts, node.mend)
            case "die":
                node.die()
            case _:
                pass
        self.at(self.rng.uniform(0.2, 4), self.trouble)

    def write(self, holder: str, token: int) -> bool:
        """Have the resource take a write or refuse it; without a fence it takes any."""
        before = self.resource if self.fence else replace(self.resource, token=0)
        try:
            self.resource = before.write(token, holder, "")
        except Stale as stale:
            told = {"fence": token, "holder": holder, "highest": stale.highest}
            self.emit("refused", "hub", **told)
            return False
        self.emit("accepted", "hub", fence=token, holder=holder)
        return True


class Node:
    """A candidate, its session, and what befalls both."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.paused = self.cut = False
        self._waiting: list[Callable[[], None]] = []
        self._lives = 0
        self._begin()

    def _begin(self) -> None:
        self._lives += 1
        self.core = Candidate(self.name, self.world.rng)
        self.session: int | None = None
        self._answered, self._told = self.world.now, "lost"

    def die(self) -> None:
        """End at once, and begin anew: the old session is there until the ensemble gives it up."""
        self._waiting.clear()
        self._begin()

    def wake(self) -> None:
        self.paused = False
        waiting, self._waiting = self._waiting, []
        self.world.rng.shuffle(waiting)
        for do in waiting:
            do()

    def mend(self) -> None:
        self.cut = False

    def _mine(self, do: Callable[[], None]) -> Callable[[], None]:
        """Have it done by this life alone, and not while it is paused."""
        life = self._lives

        def done() -> None:
            if life != self._lives:
                return
            if self.paused:
                self._waiting.append(done)
            else:
                do()

        return done

    def beat(self) -> None:
        """Be heard by the ensemble, or notice that nobody answers."""
        self.world.at(BEAT, self.beat)
        if self.paused:
            return
        if not self.cut:
            self._answered = self.world.now
            if self.session is not None and self.session not in self.world.ensemble.heard:
                self._turn("lost")
                self.session = None
            if self.session is None:
                self.session = next(self.world.sessions)
                self.world.ensemble.begin(self.session, self.world.now)
            self.world.ensemble.heard[self.session] = self.world.now
            self._turn("connected")
        elif self.world.now - self._answered > SILENCE:
            self._turn("suspended")

    def _turn(self, state: str) -> None:
        if state == self._told or (state == "suspended" and self._told == "lost"):
            return
        self._told = state
        self._perform(getattr(self.core, state)())

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Believe(token):
                    self.world.emit("believes", self.name, fence=token)
                    self._work(token)
                case StepDown(token, why):
                    self.world.emit("believes_no_more", self.name, fence=token, why=why)
                case Look():
                    self._ask(self._look)
                case Join(prefix):
                    self._ask(partial(self._change, Ensemble.create, prefix))
                case Leave(name):
                    self._ask(partial(self._change, Ensemble.delete, name))
                case Watch(name):
                    self._watch(name)

    def _ask(self, what: Callable[[int], None]) -> None:
        """Ask the ensemble something; if it cannot be, look again later."""
        session, ensemble = self.session, self.world.ensemble
        if self.cut or session is None or session not in ensemble.heard:
            again = self._mine(lambda: self._perform([Look()]))
            self.world.at(0.5, again)
            return
        what(session)

    def _change(
        self, change: Callable[[Ensemble, int, str], None], name: str, session: int
    ) -> None:
        change(self.world.ensemble, session, name)

    def _look(self, session: int) -> None:
        view = self.world.ensemble.view(session, self.world.rng)
        mine = self.core.mine(view)
        names, token = list(view), view[mine][1] if mine else 0
        answer = self._mine(lambda: self._perform(self.core.looked(names, token)))
        self.world.at(self.world.rng.uniform(0.01, 0.2), answer)

    def _watch(self, name: str) -> None:
        """Look again once the node is gone, which is noticed some time later."""

        def look() -> None:
            if name in self.world.ensemble.nodes:
                self.world.at(0.2, self._mine(look))
            else:
                self._perform([Look()])

        self.world.at(self.world.rng.uniform(0.05, 0.3), self._mine(look))

    def _work(self, token: int) -> None:
        """Finish a piece of work, write it, and go on while we believe."""

        def finished() -> None:
            late = self.world.rng.choice((0.0, 0.05, 0.05, 1.0))
            self.world.at(late, lambda: self._write(token))
            if self.core.token == token:
                self._work(token)

        self.world.at(WORK, self._mine(finished))

    def _write(self, token: int) -> None:
        if not self.world.write(self.name, token):
            self._mine(lambda: self._perform(self.core.refused(token)))()


@pytest.mark.parametrize("nodes", [3, 5])
def test_the_fence_holds_and_somebody_leads_in_the_end(nodes: int) -> None:
    stopped = 0
    for seed in SEEDS:
        world = World(seed, nodes)
        world.run()
        for claim in (fence_holds, tokens_have_one_leader):
            found = claim(world.history)
            assert found.holds, f"seed {seed}: {found}"
        stopped += bool(fence_refuses_who_still_believes(world.history).holds)
        last = [e for e in world.history if e["event"] == "accepted"][-1]
        assert last["t"] > END - 1, f"seed {seed}: nobody leads since {last}"
        believing = [node.name for node in world.nodes if node.core.token]
        assert believing == [last["holder"]], f"seed {seed}"
    assert stopped > len(SEEDS) / 3, "the schedules are too tame"


def test_without_a_fence_an_old_leader_is_taken() -> None:
    def harmed(seed: int) -> bool:
        world = World(seed, 3, fence=False)
        world.run()
        return fence_holds(world.history).holds is False

    assert any(map(harmed, SEEDS))


def test_a_seed_is_played_alike() -> None:
    first, second = World(7, 3), World(7, 3)
    first.run()
    second.run()
    assert first.history == second.history

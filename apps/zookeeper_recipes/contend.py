"""Every recipe at once, a thread for each, in as many processes as there are parties.

The recipes' nodes are below one path, shared by all processes. What is done inside a lock is what a
lock is there for: a number is read, and written one higher, without any care.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from apps.kit.outcome import CallFailed, Unknown
from apps.zookeeper_recipes.barriers import Barrier
from apps.zookeeper_recipes.counters import Counter
from apps.zookeeper_recipes.lines import LOCK, READ, WRITE, Line, semaphore
from apps.zookeeper_recipes.participant import Participant
from apps.zookeeper_recipes.queues import Queue
from apps.zookeeper_recipes.watching import follow

LEASES = 2


@dataclass(frozen=True, slots=True)
class Contest:
    """Where, how often, and with how many."""

    path: str
    parties: int
    """Processes that meet at the barriers; 0: there are none, for nobody knows who comes."""
    times: int
    hold: float
    """Seconds inside, each time."""
    rng: random.Random
    ended: threading.Event
    """Set when it is enough, however often it was."""


def contend(participant: Participant, contest: Contest) -> dict[str, int]:
    """Play them all; give how often each was played. What failed last is raised in the end."""
    recipes: dict[str, Callable[[Participant, Contest], None]] = {
        "lock": _lock,
        "read_write": _read_or_write,
        "semaphore": _semaphore,
        "counter": _count,
        "queue": _put,
    }
    if contest.parties:
        recipes |= {"barrier": _barrier, "double_barrier": _double_barrier}
    failed: list[CallFailed] = []
    played = dict.fromkeys(recipes, 0)

    def play(name: str) -> None:
        for _ in range(contest.times):
            if contest.ended.is_set():
                return
            try:
                recipes[name](participant, contest)
            except CallFailed as error:
                participant.events.emit("trouble", recipe=name, error=str(error))
                failed.append(error)
            else:
                played[name] += 1

    over = threading.Event()
    with ThreadPoolExecutor(max_workers=len(recipes) + 1) as pool:
        watching = pool.submit(
            follow, participant, f"{contest.path}/counter", participant.patience * 10, over
        )
        try:
            for playing in [pool.submit(play, name) for name in recipes]:
                playing.result()
        finally:
            over.set()
        played["seen"] = watching.result()
    definite = [error for error in failed if not isinstance(error, Unknown)]
    if definite:
        raise definite[-1]
    return played


def _lock(participant: Participant, contest: Contest) -> None:
    path = f"{contest.path}/inside"

    def careless(losses: int) -> None:
        """Raise a number, as nobody may who is not alone."""
        insist = partial(participant.insist, losses=losses)
        insist(lambda: participant.sync(path))
        value = int(insist(lambda: participant.get(path)).data)
        insist(lambda: participant.set(path, str(value + 1).encode()))
        participant.events.emit("raised", path=path, value=value + 1)

    participant.ensure(path, b"0")
    Line(participant, f"{contest.path}/lock", LOCK).hold(contest.hold, careless)


def _read_or_write(participant: Participant, contest: Contest) -> None:
    wish = WRITE if contest.rng.random() < 0.4 else READ
    Line(participant, f"{contest.path}/read_write", wish).hold(contest.hold)


def _semaphore(participant: Participant, contest: Contest) -> None:
    Line(participant, f"{contest.path}/semaphore", semaphore(LEASES)).hold(contest.hold)


def _count(participant: Participant, contest: Contest) -> None:
    Counter(participant, f"{contest.path}/counter").add(1)
    participant.stay(contest.hold)


def _put(participant: Participant, contest: Contest) -> None:
    value = f"{participant.events.node}-{contest.rng.getrandbits(48):x}"
    Queue(participant, f"{contest.path}/queue").put(value)
    participant.stay(contest.hold)


def _barrier(participant: Participant, contest: Contest) -> None:
    barrier = Barrier(participant, f"{contest.path}/barrier", contest.parties)
    barrier.enter()
    barrier.go()


def _double_barrier(participant: Participant, contest: Contest) -> None:
    barrier = Barrier(participant, f"{contest.path}/double_barrier", contest.parties)
    barrier.enter()
    participant.stay(contest.hold)
    barrier.leave()

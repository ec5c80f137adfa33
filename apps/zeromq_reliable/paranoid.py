"""The Paranoid Pirate queue: requests to live workers, each by turn; who is silent gets none.

The problem: behind a plain ROUTER-DEALER device a dead worker goes on being dealt requests. The
rule (zguide chapter 4, 6/PPP): a worker says READY, both sides send heartbeats, and the queue deals
requests only to workers it has heard of lately, the one that has been idle for longest first.

A request that dies with its worker is not dealt again: the queue keeps none that it has dealt, and
its client, a Lazy Pirate, asks again. Majordomo's broker does more.

What the queue expects of a worker is one reply to the request that it was dealt, under the address
that came with it. Who says anything else is no pirate, and is forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from apps.kit.effects import Emit, Message, SetTimer
from apps.zeromq_reliable import wire
from apps.zeromq_reliable.crew import Crew, Member, Pace
from apps.zeromq_reliable.effects import (
    Effect,
    Effects,
    Frames,
    frames_of,
    identity,
    peer_of,
    send,
    shown,
)
from apps.zeromq_reliable.wire import BadFrames, Job, Ready

CLIENTS, WORKERS = "clients", "workers"


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What a queue keeps waiting, and for how long."""

    capacity: int = 1000
    """Requests that wait; one more is dropped."""
    expire: float = 10.0
    """Seconds that a request waits; its client has asked again by then."""
    workers: int = 1000
    """Workers; one more is not listened to."""


class Queue:
    """The core of the queue, between a socket for clients and one for workers."""

    def __init__(self, pace: Pace, limits: QueueLimits) -> None:
        """Nobody is there, and nothing waits."""
        self._pace = pace
        self._limits = limits
        self._crew: Crew[Frames] = Crew(pace)
        self._waiting: deque[tuple[float, Frames]] = deque()

    def start(self, now: float) -> Effects:  # noqa: ARG002 - a core's start has the time
        """Begin the heartbeats."""
        return [SetTimer("beat", self._pace.heartbeat)]

    def receive(self, now: float, sender: str, message: Message) -> Effects:
        """Take a request of a client, or what a worker says."""
        frames = frames_of(message)
        try:
            if sender.startswith(f"{CLIENTS}/"):
                return list(self._request(now, sender, frames))
            return list(self._worker(now, sender, frames))
        except BadFrames as error:
            return [*self._expel(sender, str(error))]

    def undeliverable(self, now: float, peer: str) -> Effects:  # noqa: ARG002 - as start
        """Forget a worker whose connection is gone."""
        member = self._crew.get(peer)
        return list(self._lost(member, "its connection is gone")) if member else []

    def timer(self, now: float, name: str) -> Effects:  # noqa: ARG002 - there is one timer
        """Look who is there, and say that we are."""
        return list(self._beat(now))

    def _request(self, now: float, client: str, frames: Frames) -> Iterator[Effect]:
        _, body = wire.split(frames)
        if not body:
            raise BadFrames("a request without a body")
        if len(self._waiting) >= self._limits.capacity:
            yield Emit("refused", {"peer": shown(client), "why": "too many requests wait"})
            return
        self._waiting.append((now, (identity(client), *frames)))
        yield from self._deal(now)

    def _worker(self, now: float, peer: str, frames: Frames) -> Iterator[Effect]:
        said = wire.read_pirate(frames)
        member = self._crew.get(peer)
        if member is None and isinstance(said, Job):
            raise BadFrames("a reply of nobody who said READY")
        if member is None and len(self._crew) >= self._limits.workers:
            raise BadFrames("there are too many workers")
        if member is None:  # also by a heartbeat: the queue may have forgotten it in a restart
            member = self._crew.join(now, peer)
            yield Emit("registered", {"peer": shown(peer)})
        elif isinstance(said, Ready):
            self._crew.leave(member)  # a new conversation
            member = self._crew.join(now, peer)
        member.heard = now
        if isinstance(said, Job):
            yield from self._reply(member, said)
        yield from self._deal(now)

    def _reply(self, member: Member[Frames], reply: Job) -> Iterator[Effect]:
        if member.task is None or reply.address != member.task[: len(reply.address)]:
            raise BadFrames("a reply to nothing that it was asked")
        self._crew.rest(member)
        client, *envelope = reply.address
        yield send(peer_of(CLIENTS, client), (*envelope, *reply.body))

    def _deal(self, now: float) -> Iterator[Effect]:
        while self._waiting and (member := self._crew.next()) is not None:
            _, request = self._waiting.popleft()
            self._crew.give(now, member, request)
            yield send(member.peer, request)

    def _beat(self, now: float) -> Iterator[Effect]:
        for member in self._crew.silent(now):
            yield from self._lost(member, "it is silent")
        while self._waiting and now - self._waiting[0][0] > self._limits.expire:
            self._waiting.popleft()
            yield Emit("expired", {"waiting": len(self._waiting)})
        for member in self._crew.due(now):
            yield send(member.peer, (wire.PPP_HEARTBEAT,))
        yield SetTimer("beat", self._pace.heartbeat)

    def _lost(self, member: Member[Frames], why: str) -> Iterator[Effect]:
        had = self._crew.leave(member) is not None
        yield Emit("lost", {"peer": shown(member.peer), "why": why, "busy": had})

    def _expel(self, peer: str, why: str) -> Iterator[Effect]:
        yield Emit("refused", {"peer": shown(peer), "why": why})
        member = self._crew.get(peer)
        if member is not None:
            yield from self._lost(member, "what it said is no 6/PPP")

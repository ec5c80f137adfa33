"""The Majordomo broker of 7/MDP: services by name, workers that may die, requests that go on.

The problem: clients want a service, not a worker, and an answer, not news of who died. The rule
(zguide chapter 4): workers register the service that they offer; the broker keeps a queue for each,
deals requests to the worker that has been idle for longest, and deals a request again when its
worker is gone: it said DISCONNECT, was silent for some heartbeats, lost its connection, or took
longer than `patience`. So workers must be idempotent, as 7/MDP says: a worker that only seemed dead
has executed the request as well. Its late reply is refused, so that each request that came in is
replied to once at most.

Nothing is kept on disk: the requests in a broker that dies are gone, and their clients ask again.

What a stranger says can be wrong in two ways. What is no frame of MDP is dropped, and who sent it
is no worker any more. What is a command, and not expected (a second READY, a reply to a request
that this worker was not given), is answered with DISCONNECT.
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
    send,
    shown,
)
from apps.zeromq_reliable.wire import BadFrames, Beat, Bye, ClientRequest, Job, Ready


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What a broker keeps, and how patient it is."""

    capacity: int = 1000
    """Requests that wait, of all services; one more is dropped."""
    workers: int = 1000
    """Workers; one more is told DISCONNECT."""
    expire: float = 10.0
    """Seconds that a request waits for a service that nobody offers."""
    patience: float = 30.0
    """Seconds that a worker may take for a request."""
    attempts: int = 10
    """Workers that may be lost with a request in their hands, before it is dropped."""


@dataclass(eq=False, slots=True)
class Waiting:
    """A client's request."""

    client: str
    request: ClientRequest
    since: float
    lost: int = 0
    """How many workers were lost with it."""


class Broker:
    """The core of the broker, on one socket for clients and workers."""

    def __init__(self, pace: Pace, limits: BrokerLimits) -> None:
        """No service is known."""
        self._pace = pace
        self._limits = limits
        self._crew: Crew[Waiting] = Crew(pace)
        self._queues: dict[str, deque[Waiting]] = {}
        self._number = 0

    def start(self, now: float) -> Effects:  # noqa: ARG002 - a core's start has the time
        """Begin the heartbeats."""
        return [SetTimer("beat", self._pace.heartbeat)]

    def receive(self, now: float, sender: str, message: Message) -> Effects:
        """Take what a client or a worker says."""
        try:
            return list(self._take(now, sender, wire.read_at_broker(frames_of(message))))
        except BadFrames as error:
            return list(self._invalid(now, sender, str(error)))

    def undeliverable(self, now: float, peer: str) -> Effects:
        """Forget a worker whose connection is gone; a client that is gone asks again."""
        member = self._crew.get(peer)
        return list(self._lost(now, member, "its connection is gone")) if member else []

    def timer(self, now: float, name: str) -> Effects:  # noqa: ARG002 - there is one timer
        """Look who is there, and say that we are."""
        return list(self._beat(now))

    # What is said to it

    def _take(self, now: float, peer: str, said: wire.ToBroker) -> Iterator[Effect]:
        member = self._crew.get(peer)
        if isinstance(said, ClientRequest):
            yield from self._asked(now, peer, said)
        elif isinstance(said, Ready) and member is None:
            yield from self._register(now, peer, said.service)
        elif member is None or isinstance(said, Ready):
            if not isinstance(said, Bye):
                yield from self._expel(now, peer, f"{type(said).__name__.lower()} is not expected")
        elif isinstance(said, Bye):
            yield from self._lost(now, member, "it said DISCONNECT")
        elif isinstance(said, Beat):
            member.heard = now
        else:
            yield from self._replied(now, member, said)

    def _asked(self, now: float, client: str, request: ClientRequest) -> Iterator[Effect]:
        if request.service.startswith(wire.MANAGEMENT):
            yield self._reply(client, request, (self._managed(request),))
            return
        if self._number >= self._limits.capacity:
            yield Emit("refused", {"peer": shown(client), "why": "too many requests wait"})
            return
        self._number += 1
        queue = self._queues.setdefault(request.service, deque())
        queue.append(Waiting(client, request, now))
        yield from self._deal(now, request.service)

    def _managed(self, request: ClientRequest) -> bytes:
        """Answer for the broker itself (8/MMI)."""
        if request.service != f"{wire.MANAGEMENT}service":
            return b"501"
        name = request.body[-1].decode("ascii", "replace")
        return b"200" if self._crew.serving(name) else b"404"

    def _register(self, now: float, peer: str, service: str) -> Iterator[Effect]:
        if service.startswith(wire.MANAGEMENT):
            yield from self._expel(now, peer, f"{service} is the broker's own")
        elif len(self._crew) >= self._limits.workers:
            yield from self._expel(now, peer, "there are too many workers")
        else:
            self._crew.join(now, peer, service)
            yield Emit("registered", {"peer": shown(peer), "service": service})
            yield from self._deal(now, service)

    def _replied(self, now: float, member: Member[Waiting], reply: Job) -> Iterator[Effect]:
        waiting = member.task
        if waiting is None or reply.address != (identity(waiting.client),):
            yield from self._expel(now, member.peer, "a reply to nothing that it was asked")
            return
        member.heard = now
        self._crew.rest(member)
        yield self._reply(waiting.client, waiting.request, reply.body)
        yield from self._deal(now, member.service)

    # What it does

    def _reply(self, client: str, request: ClientRequest, body: Frames) -> Effect:
        return send(client, wire.client_reply(request.envelope, request.service, body))

    def _deal(self, now: float, service: str) -> Iterator[Effect]:
        queue = self._queues.get(service)
        while queue and (member := self._crew.next(service)) is not None:
            waiting = queue.popleft()
            self._number -= 1
            self._crew.give(now, member, waiting)
            address = identity(waiting.client)
            yield send(member.peer, wire.job(wire.REQUEST, address, waiting.request.body))
        if queue is not None and not queue:
            del self._queues[service]

    def _beat(self, now: float) -> Iterator[Effect]:
        for member in self._crew.silent(now):
            yield from self._forget(member, "it is silent")
        for member in self._crew.slow(now, self._limits.patience):
            yield send(member.peer, wire.command(wire.DISCONNECT))
            yield from self._forget(member, "it took too long")
        yield from self._expire(now)
        for service in list(self._queues):
            yield from self._deal(now, service)
        for member in self._crew.due(now):
            yield send(member.peer, wire.command(wire.HEARTBEAT))
        yield SetTimer("beat", self._pace.heartbeat)

    def _expire(self, now: float) -> Iterator[Effect]:
        """Drop what has waited too long for a service that nobody offers."""
        for service, queue in list(self._queues.items()):
            if self._crew.serving(service):
                continue
            while queue and now - queue[0].since > self._limits.expire:
                queue.popleft()
                self._number -= 1
                yield Emit("expired", {"service": service})
            if not queue:
                del self._queues[service]

    def _lost(self, now: float, member: Member[Waiting], why: str) -> Iterator[Effect]:
        """Forget a worker, and deal what it had to another, if there is one."""
        yield from self._forget(member, why)
        yield from self._deal(now, member.service)

    def _forget(self, member: Member[Waiting], why: str) -> Iterator[Effect]:
        """Forget a worker; what it had waits before all others."""
        waiting = self._crew.leave(member)
        told = {"peer": shown(member.peer), "service": member.service, "why": why}
        yield Emit("lost", {**told, "busy": waiting is not None})
        if waiting is None:
            return
        waiting.lost += 1
        if waiting.lost >= self._limits.attempts:
            yield Emit("gave_up", {"service": member.service, "lost": waiting.lost})
            return
        self._number += 1
        self._queues.setdefault(member.service, deque()).appendleft(waiting)

    def _expel(self, now: float, peer: str, why: str) -> Iterator[Effect]:
        """Tell a worker DISCONNECT, and forget it."""
        yield Emit("refused", {"peer": shown(peer), "why": why})
        yield send(peer, wire.command(wire.DISCONNECT))
        member = self._crew.get(peer)
        if member is not None:
            yield from self._lost(now, member, why)

    def _invalid(self, now: float, peer: str, why: str) -> Iterator[Effect]:
        """Drop what is no MDP; a worker that says such is none."""
        if self._crew.get(peer) is not None:
            yield from self._expel(now, peer, why)
        else:
            yield Emit("refused", {"peer": shown(peer), "why": why})

"""A worker's side of the conversation, with a queue (6/PPP) or a broker (7/MDP), and what it works.

The rule: say READY, answer each request with one reply, say HEARTBEAT when there is nothing else to
say. When the other side was silent for some heartbeats, or says DISCONNECT, what was said to it is
void: a new socket, a new READY. The pauses between attempts grow, as there may be many workers.

What was asked in an old conversation is not answered in a new one: its client's address may be
anybody's there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from apps.kit.effects import Emit, Message, SetTimer
from apps.zeromq_reliable import wire
from apps.zeromq_reliable.crew import EARLY, Pace
from apps.zeromq_reliable.effects import Effect, Effects, Frames, Reopen, frames_of, send
from apps.zeromq_reliable.wire import BadFrames, Beat, Bye, Job, Ready, ToWorker

LONGEST = 4.0
"""Seconds between two attempts to begin a conversation, at most."""


class Dialect(Protocol):
    """How a worker speaks."""

    def ready(self) -> Frames:
        """Give READY."""

    def heartbeat(self) -> Frames:
        """Give HEARTBEAT."""

    def reply(self, job: Job) -> Frames:
        """Give a reply, to the address that the request came with."""

    def read(self, frames: Frames) -> ToWorker:
        """Read what the other side says; BadFrames."""


@dataclass(frozen=True, slots=True)
class Majordomo:
    """7/MDP, for one service."""

    service: str

    def ready(self) -> Frames:
        """See `Dialect`."""
        return wire.ready(self.service)

    def heartbeat(self) -> Frames:
        """See `Dialect`."""
        return wire.command(wire.HEARTBEAT)

    def reply(self, job: Job) -> Frames:
        """See `Dialect`."""
        return wire.job(wire.REPLY, job.address[0], job.body)

    def read(self, frames: Frames) -> ToWorker:
        """See `Dialect`."""
        return wire.read_at_worker(frames)


class ParanoidPirate:
    """6/PPP, which knows no services."""

    def ready(self) -> Frames:
        """See `Dialect`."""
        return (wire.PPP_READY,)

    def heartbeat(self) -> Frames:
        """See `Dialect`."""
        return (wire.PPP_HEARTBEAT,)

    def reply(self, job: Job) -> Frames:
        """See `Dialect`."""
        return (*job.address, *job.body)

    def read(self, frames: Frames) -> ToWorker:
        """See `Dialect`."""
        said = wire.read_pirate(frames)
        if isinstance(said, Ready):
            raise BadFrames("a queue does not say READY")
        return said


class Talk:
    """The conversation on one socket. It has one timer, of the socket's name."""

    def __init__(self, socket: str, dialect: Dialect, pace: Pace) -> None:
        """Nothing is said yet."""
        self.socket = socket
        self.timer_name = f"beat {socket}"
        self._dialect = dialect
        self._pace = pace
        self._pause = pace.silence
        self._heard = self._said = self._ticked = 0.0
        self.number = 0
        """Which conversation this is, from 1."""

    def open(self, now: float) -> Iterator[Effect]:
        """Begin, or begin anew."""
        if self.number:
            yield Reopen(self.socket)
        self.number += 1
        self._heard = self._said = self._ticked = now
        yield send(self.socket, self._dialect.ready())
        yield SetTimer(self.timer_name, self._pace.heartbeat)

    def hear(self, now: float, message: Message) -> tuple[list[Effect], Job | None]:
        """Take what the other side says; give the job, if it is one."""
        try:
            said = self._dialect.read(frames_of(message))
        except BadFrames as error:
            return [Emit("refused", {"peer": self.socket, "why": str(error)})], None
        self._heard, self._pause = now, self._pace.silence
        match said:
            case Job():
                return [], said
            case Beat():
                return [], None
            case Bye():
                told = Emit("disconnected", {"peer": self.socket, "why": "it said DISCONNECT"})
                return [told, *self.open(now)], None

    def reply(self, now: float, job: Job) -> Effect:
        """Answer a job of this conversation."""
        self._said = now
        return send(self.socket, self._dialect.reply(job))

    def tick(self, now: float) -> Iterator[Effect]:
        """Say HEARTBEAT if it is time to, and look whether the other side is there."""
        self._heard += self._pace.held_up(now - self._ticked)
        self._ticked = now
        if now - self._heard > self._pause:
            self._pause = min(2 * self._pause, LONGEST)
            yield Emit("disconnected", {"peer": self.socket, "why": "it is silent"})
            yield from self.open(now)
            return
        if now - self._said >= EARLY * self._pace.heartbeat:
            self._said = now
            yield send(self.socket, self._dialect.heartbeat())
        yield SetTimer(self.timer_name, self._pace.heartbeat)


def echo(body: Frames) -> Frames:
    """Give back what came."""
    return body


def upper(body: Frames) -> Frames:
    """Give it back with the last frame in capitals."""
    return (*body[:-1], body[-1].upper())


SERVICES: Mapping[str, Callable[[Frames], Frames]] = {"echo": echo, "upper": upper}
"""What can be worked here. Both are idempotent, as workers of these protocols must be."""


class Worker:
    """The core of a process of workers: one conversation for each of its sockets.

    A job takes `takes` seconds; a worker takes one at a time, as the other side gives it no more.
    """

    def __init__(self, talks: Mapping[Talk, str], takes: float = 0.0) -> None:
        """Each talk is of a service, by its name in `SERVICES`."""
        self._talks = {talk.socket: (talk, service) for talk, service in talks.items()}
        self._takes = takes
        self._working: dict[str, tuple[int, Job]] = {}

    def start(self, now: float) -> Effects:
        """Say READY to all."""
        return [effect for talk, _ in self._talks.values() for effect in talk.open(now)]

    def receive(self, now: float, sender: str, message: Message) -> Effects:
        """Take what the queue or broker says on a socket."""
        talk, _ = self._talks[sender]
        effects, job = talk.hear(now, message)
        if job is None:
            return effects
        if sender in self._working and self._working[sender][0] == talk.number:
            return [Emit("refused", {"peer": sender, "why": "a second job before the first's end"})]
        self._working[sender] = talk.number, job
        if self._takes:
            return [SetTimer(f"work {sender}", self._takes)]
        return list(self._work(now, sender))

    def timer(self, now: float, name: str) -> Effects:
        """A heartbeat is due, or a job is done."""
        what, _, socket = name.partition(" ")
        if what == "work":
            return list(self._work(now, socket))
        return list(self._talks[socket][0].tick(now))

    def undeliverable(self, now: float, peer: str) -> Effects:  # noqa: ARG002 - as in the others
        """What cannot be sent to a broker shows in its silence."""
        return []

    def _work(self, now: float, socket: str) -> Iterator[Effect]:
        talk, service = self._talks[socket]
        number, job = self._working.pop(socket)
        told = {"service": service, "call": wire.call_of(job.body)}
        yield Emit("executed", told)
        if number == talk.number:
            yield talk.reply(now, Job(job.address, SERVICES[service](job.body)))
        else:
            yield Emit("too_late", told)

"""Titanic (9/TSP): requests that survive everybody, the broker and Titanic itself included.

The problem: Majordomo forgets with the process that dies, so a client must stay and ask again. The
rule (zguide chapter 4): Titanic is a worker to clients and a client to workers. It makes a request
durable and only then gives its ticket; it asks the real service until there is a reply, makes that
durable too, and keeps both until the client closes the ticket.

    titanic.request   service, body…   ->  200, ticket     it is on the disk
    titanic.reply     ticket           ->  200, body…      or 300 (not yet), 400 (no such ticket)
    titanic.close     ticket           ->  200             and it is forgotten

What is promised of a ticket: its request is worked at least once, if a worker of its service comes
to live and does not die of it; exactly one reply is accepted for it, the first, and every fetch
gives that one. Requests are first sent to workers in the order in which they were accepted. What is
not: that it is worked once. A worker may die after the work, its reply may be lost, Titanic may die
before the reply is durable; then it is worked again. And a client whose ticket was lost on the way
has no choice but to hand its request in again: 9/TSP has no name for it but the ticket.

Bounds: so many tickets at once; a reply that nobody closed is forgotten after `keep` seconds,
counted from when this process knew it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apps.kit.effects import CancelTimer, Emit, Message, Persist, SetTimer
from apps.zeromq_reliable import wire
from apps.zeromq_reliable.crew import Pace
from apps.zeromq_reliable.effects import Effect, Effects, Frames, Reopen, frames_of, send
from apps.zeromq_reliable.wire import BadFrames, Job
from apps.zeromq_reliable.worker import Majordomo, Talk

SERVICES = (wire.STORING, wire.FETCHING, wire.CLOSING)
SLOWEST = 5.0
"""Seconds between two attempts at a request that nobody answers, at most."""


@dataclass(frozen=True, slots=True)
class TitanicLimits:
    """What Titanic keeps, and how it asks."""

    sockets: int = 4
    """Conversations for each of its services: so many clients it serves at once."""
    lanes: int = 8
    """Requests that are asked of workers at once."""
    attempt: float = 3.0
    """Seconds that an attempt may take; then the request waits, and is asked again."""
    capacity: int = 10_000
    """Tickets that are not closed."""
    room: int = 32 << 20
    """Bytes of requests at once; with their replies twice as many."""
    keep: float = 3600.0
    """Seconds that a reply is kept which nobody closes."""


@dataclass(eq=False, slots=True)
class Stored:
    """A request, by its place in the order of acceptance."""

    ticket: str
    number: int
    service: str
    body: Frames
    reply: Frames | None = None
    pause: float = 0.25
    """Seconds until it is asked again."""
    asked: int = 0
    """How often this process has asked it."""

    @property
    def size(self) -> int:
        """Bytes of its frames."""
        return _size(self.body) + _size(self.reply or ())

    def as_json(self) -> dict[str, Any]:
        """Give the request as it is persisted."""
        return {"number": self.number, "service": self.service, "body": _text(self.body)}

    def told(self) -> dict[str, str]:
        """Give what events say of it."""
        return {"ticket": self.ticket, "call": wire.call_of(self.body)}


class Titanic:
    """The core: it persists a request under its ticket, and a reply under `ticket/reply`."""

    def __init__(
        self, pace: Pace, limits: TitanicLimits, stored: Mapping[str, Any], rng: random.Random
    ) -> None:
        """`stored` is what earlier lives persisted; tickets come from `rng`."""
        self._limits = limits
        self._rng = rng
        self._talks = {
            talk.socket: (talk, service)
            for service in SERVICES
            for number in range(limits.sockets)
            for talk in [Talk(f"{service}.{number}", Majordomo(service), pace)]
        }
        self._lanes: dict[str, Stored | None] = {f"lane.{n}": None for n in range(limits.lanes)}
        self._free = deque(self._lanes)
        self._tickets = {kept.ticket: kept for kept in _read(stored)}
        self._queue = deque(kept for kept in self._tickets.values() if kept.reply is None)
        self._last = max((kept.number for kept in self._tickets.values()), default=0)
        self._bytes = sum(kept.size for kept in self._tickets.values())

    @property
    def sockets(self) -> list[str]:
        """The names of the sockets that it needs, all connected to the broker."""
        return [*self._talks, *self._lanes]

    def start(self, now: float) -> Effects:
        """Go on where an earlier life ended."""
        return list(self._start(now))

    def receive(self, now: float, sender: str, message: Message) -> Effects:
        """Take what the broker says: a client's word, or a worker's reply."""
        if sender in self._lanes:
            return list(self._answered(sender, frames_of(message)))
        talk, service = self._talks[sender]
        effects, job = talk.hear(now, message)
        return effects if job is None else [*effects, *self._serve(now, talk, service, job)]

    def timer(self, now: float, name: str) -> Effects:
        """A heartbeat is due, an attempt took too long, a pause or the keeping is over."""
        what, _, of = name.partition(" ")
        match what:
            case "beat":
                return list(self._talks[of][0].tick(now))
            case "attempt":
                return list(self._in_vain(of))
            case "again":
                return list(self._again(of))
            case _:
                return list(self._forget(of, "expired"))

    def undeliverable(self, now: float, peer: str) -> Effects:  # noqa: ARG002 - as in the others
        """What cannot be sent to the broker is asked again."""
        return []

    def _start(self, now: float) -> Iterator[Effect]:
        yield Emit("recovered", {"tickets": len(self._tickets), "unanswered": len(self._queue)})
        for talk, _ in self._talks.values():
            yield from talk.open(now)
        for kept in self._tickets.values():
            if kept.reply is not None:
                yield SetTimer(f"keep {kept.ticket}", self._limits.keep)
        yield from self._dispatch()

    # For clients

    def _serve(self, now: float, talk: Talk, service: str, job: Job) -> Iterator[Effect]:
        try:
            if service == wire.STORING:
                said = yield from self._accept(job.body)
            elif service == wire.FETCHING:
                said = self._fetch(wire.ticket(job.body))
            else:
                yield from self._forget(wire.ticket(job.body), "closed")
                said = (wire.OK,)
        except BadFrames as error:
            said = (wire.UNKNOWN + f" {error}".encode(),)
        yield talk.reply(now, Job(job.address, said))
        yield from self._dispatch()

    def _accept(self, body: Frames) -> Generator[Effect, None, Frames]:
        """Make a request durable; give what its client is told, the ticket if all is well."""
        if len(body) < 2:
            raise BadFrames("a request is the name of a service and a body")
        service, request = wire.service_name(body[0]), body[1:]
        if service in SERVICES:
            raise BadFrames(f"{service} is no service to store requests for")
        full = len(self._tickets) >= self._limits.capacity
        if full or self._bytes + _size(request) > self._limits.room:
            return (wire.ERROR + b" full: close some tickets, or try later",)
        self._last += 1
        kept = Stored(f"{self._rng.getrandbits(128):032x}", self._last, service, request)
        self._tickets[kept.ticket] = kept
        self._bytes += _size(request)
        self._queue.append(kept)
        yield Persist(kept.ticket, kept.as_json())
        yield Emit("accepted", {**kept.told(), "number": kept.number})
        return (wire.OK, kept.ticket.encode("ascii"))

    def _fetch(self, ticket: str) -> Frames:
        kept = self._tickets.get(ticket)
        if kept is None:
            return (wire.UNKNOWN + b" no such ticket",)
        return (wire.PENDING,) if kept.reply is None else (wire.OK, *kept.reply)

    def _forget(self, ticket: str, why: str) -> Iterator[Effect]:
        kept = self._tickets.pop(ticket, None)
        if kept is None:
            return
        self._bytes -= kept.size
        yield Persist(ticket, None)
        if kept.reply is not None:
            yield Persist(f"{ticket}/reply", None)
        yield CancelTimer(f"keep {ticket}")
        yield Emit(why, kept.told())

    # For workers

    def _dispatch(self) -> Iterator[Effect]:
        """Ask what waits, while there are lanes."""
        while self._queue and self._free:
            kept = self._queue.popleft()
            if kept.ticket not in self._tickets:
                continue  # it was closed without a reply
            lane = self._free.popleft()
            self._lanes[lane] = kept
            kept.asked += 1
            yield Emit("dispatched", {**kept.told(), "asked": kept.asked})
            yield send(lane, wire.client_request(kept.service, kept.body))
            yield SetTimer(f"attempt {lane}", self._limits.attempt)

    def _answered(self, lane: str, frames: Frames) -> Iterator[Effect]:
        kept = self._lanes[lane]
        try:
            if kept is None:
                raise BadFrames("a reply to nothing that was asked")
            reply = wire.read_reply(frames, kept.service)
        except BadFrames as error:
            yield Emit("refused", {"peer": lane, "why": str(error)})
            return
        if self._bytes + _size(reply) > 2 * self._limits.room:
            yield Emit("refused", {"peer": lane, "why": "no room for a reply"})
            return  # it is asked again, until tickets are closed
        yield CancelTimer(f"attempt {lane}")
        self._release(lane)
        if kept.ticket in self._tickets:
            kept.reply = reply
            self._bytes += _size(reply)
            yield Persist(f"{kept.ticket}/reply", _text(reply))
            yield SetTimer(f"keep {kept.ticket}", self._limits.keep)
            yield Emit("answered", kept.told())
        yield from self._dispatch()

    def _in_vain(self, lane: str) -> Iterator[Effect]:
        """Nobody replied: what was asked waits for a while, and others go on."""
        kept = self._release(lane)
        yield Reopen(lane)
        if kept is not None:
            yield SetTimer(f"again {kept.ticket}", kept.pause)
            kept.pause = min(SLOWEST, 2 * kept.pause)
        yield from self._dispatch()

    def _again(self, ticket: str) -> Iterator[Effect]:
        kept = self._tickets.get(ticket)
        if kept is not None:
            self._queue.appendleft(kept)
            yield from self._dispatch()

    def _release(self, lane: str) -> Stored | None:
        kept, self._lanes[lane] = self._lanes[lane], None
        self._free.append(lane)
        return kept


def _size(frames: Frames) -> int:
    return sum(map(len, frames))


def _text(frames: Frames) -> list[str]:
    """Give frames as JSON can keep them, a character for a byte."""
    return [frame.decode("latin-1") for frame in frames]


def _frames(text: Iterable[str]) -> Frames:
    return tuple(frame.encode("latin-1") for frame in text)


def _read(stored: Mapping[str, Any]) -> list[Stored]:
    """Read what was persisted, in the order of acceptance."""
    found = []
    for key, value in stored.items():
        if not key.endswith("/reply"):
            reply = stored.get(f"{key}/reply")
            body = _frames(value["body"])
            told = None if reply is None else _frames(reply)
            found.append(Stored(key, value["number"], value["service"], body, told))
    return sorted(found, key=lambda kept: kept.number)

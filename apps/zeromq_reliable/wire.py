"""The frames on the wire, word for word: 6/PPP, 7/MDP, 8/MMI and 9/TSP of rfc.zeromq.org.

What is read here came from anybody: BadFrames says what is wrong with it. The address that a ROUTER
puts before each message is not among the frames.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from apps.zeromq_reliable.effects import Frames

CLIENT = b"MDPC01"
WORKER = b"MDPW01"
READY, REQUEST, REPLY, HEARTBEAT, DISCONNECT = (bytes([number]) for number in range(1, 6))
PPP_READY, PPP_HEARTBEAT = b"\1", b"\2"
MOST_FRAMES = 64
"""Of a message. libzmq bounds the bytes of a frame, but not how many there are."""
DEEPEST = 8
"""Frames of an envelope, at most: an address for each device on the way."""
MANAGEMENT = "mmi."
STORING, FETCHING, CLOSING = "titanic.request", "titanic.reply", "titanic.close"
OK, PENDING, UNKNOWN, ERROR = b"200", b"300", b"400", b"500"

_NAME = re.compile(rb"[!-~]{1,100}")
_TICKET = re.compile(rb"[0-9a-f]{32}")


class BadFrames(ValueError):
    """What came is no message of the protocol; the text says why."""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """MDP/Client REQUEST. `envelope` is what stood before it, the empty frame included.

    That is the empty frame alone, but for a REQ socket with ZMQ_REQ_CORRELATE, which puts the
    request's number before it and wants it back.
    """

    envelope: Frames
    service: str
    body: Frames


@dataclass(frozen=True, slots=True)
class Ready:
    """MDP/Worker READY."""

    service: str


@dataclass(frozen=True, slots=True)
class Job:
    """A REQUEST to a worker, or its REPLY: for or from the client of this address."""

    address: Frames
    body: Frames


@dataclass(frozen=True, slots=True)
class Beat:
    """HEARTBEAT."""


@dataclass(frozen=True, slots=True)
class Bye:
    """DISCONNECT."""


ToBroker: TypeAlias = ClientRequest | Ready | Job | Beat | Bye
ToWorker: TypeAlias = Job | Beat | Bye


def service_name(frame: bytes) -> str:
    """Read the name of a service."""
    if not _NAME.fullmatch(frame):
        raise BadFrames(f"{frame[:40]!r} is no service name: 1 to 100 printable characters")
    return frame.decode("ascii")


def split(frames: Frames) -> tuple[Frames, Frames]:
    """Split at the first empty frame: the envelope, which ends with it, and the rest."""
    if len(frames) > MOST_FRAMES:
        raise BadFrames(f"a message of {len(frames)} frames; the most is {MOST_FRAMES}")
    try:
        place = frames.index(b"", 0, DEEPEST) + 1
    except ValueError:
        raise BadFrames("no empty frame ends the envelope") from None
    return frames[:place], frames[place:]


def read_at_broker(frames: Frames) -> ToBroker:
    """Read what a client or a worker says to a broker."""
    envelope, rest = split(frames)
    match rest:
        case (header, service, *body) if header == CLIENT:
            if not body:
                raise BadFrames("a client's request without a body")
            return ClientRequest(envelope, service_name(service), tuple(body))
        case (header, command, *more) if header == WORKER and len(envelope) == 1:
            if command == READY and len(more) == 1:
                return Ready(service_name(more[0]))
            return _common(command, tuple(more), REPLY)
    raise BadFrames(f"neither {CLIENT!r} nor {WORKER!r} with a command: {rest[:1]!r:.40}")


def read_at_worker(frames: Frames) -> ToWorker:
    """Read what a broker says to a worker."""
    envelope, rest = split(frames)
    if len(envelope) != 1 or len(rest) < 2 or rest[0] != WORKER:
        raise BadFrames(f"no command of {WORKER!r}: {rest[:1]!r:.40}")
    return _common(rest[1], rest[2:], REQUEST)


def _common(command: bytes, more: Frames, carrying: bytes) -> Job | Beat | Bye:
    """Read a command that both sides know; `carrying` is the one with a body."""
    if command == HEARTBEAT and not more:
        return Beat()
    if command == DISCONNECT and not more:
        return Bye()
    if command == carrying and len(more) >= 3 and more[1] == b"":
        return Job((more[0],), more[2:])
    raise BadFrames(f"no command that is expected here: {command!r:.20} with {len(more)} frames")


def client_request(service: str, body: Frames) -> Frames:
    """Give the frames of an MDP/Client REQUEST, the empty one first."""
    return (b"", CLIENT, service.encode("ascii"), *body)


def client_reply(envelope: Frames, service: str, body: Frames) -> Frames:
    """Give the frames of an MDP/Client REPLY."""
    return (*envelope, CLIENT, service.encode("ascii"), *body)


def read_reply(frames: Frames, service: str) -> Frames:
    """Read the body of an MDP/Client REPLY of this service."""
    _, rest = split(frames)
    if len(rest) < 3 or rest[:2] != (CLIENT, service.encode("ascii")):
        raise BadFrames(f"no reply of {service}: {rest[:2]!r:.60}")
    return rest[2:]


def ready(service: str) -> Frames:
    """Give the frames of an MDP/Worker READY."""
    return (b"", WORKER, READY, service.encode("ascii"))


def command(which: bytes, *more: bytes) -> Frames:
    """Give the frames of another MDP/Worker command."""
    return (b"", WORKER, which, *more)


def job(which: bytes, address: bytes, body: Frames) -> Frames:
    """Give the frames of an MDP/Worker REQUEST or REPLY."""
    return command(which, address, b"", *body)


def read_pirate(frames: Frames) -> Job | Beat | Ready:
    """Read what either side of 6/PPP says; the address keeps its empty frame."""
    match frames:
        case (one,) if one == PPP_READY:
            return Ready("")
        case (one,) if one == PPP_HEARTBEAT:
            return Beat()
    address, body = split(frames)
    if len(address) < 2 or not body:
        raise BadFrames("neither READY, HEARTBEAT, nor a message behind an address")
    return Job(address, body)


def ticket(body: Frames) -> str:
    """Read a ticket of Titanic's, a UUID in 32 hexadecimal digits."""
    if len(body) != 1 or not _TICKET.fullmatch(body[0].lower()):
        raise BadFrames("a ticket is one frame of 32 hexadecimal digits")
    return body[0].lower().decode("ascii")


def call_of(body: Frames) -> str:
    """Give the operation that a body of this pattern's own clients belongs to; others' have none.

    They put `operation/attempt` into a frame before the text, for the evidence.
    """
    if len(body) < 2:
        return ""
    return body[0][:100].decode("ascii", "replace").rpartition("/")[0]


def told(frames: Frames) -> bool:
    """Whether a message is one whose way is recorded: heartbeats and their like are not."""
    if len(frames) > 2 and frames[:2] == (b"", WORKER):
        return frames[2] in (REQUEST, REPLY)
    return len(frames) > 1

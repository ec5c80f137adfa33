"""PUB/SUB that begins when all are there (zguide chapter 2, "Node Coordination").

`broadcast` says hello until each subscriber has told it, by REQ/REP, that it hears: a subscription
takes its time to reach the publisher, so that one has *sent* it proves nothing (the guide names
this "a more robust model"). Then come the updates, each subscriber gets all of them as long as they
fit under the high-water mark, and the last one says END.

Without waiting, with `--subscribers 0`, who joins late has missed the beginning: the slow joiner.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import zmq

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.retry import Deadline
from apps.kit.zeromq import Blocking, Bounds, blocking
from apps.zeromq.core import Tally
from apps.zeromq.publisher import Stream
from apps.zeromq.wire import END, Garbled, Update

HELLO = "hello"
_BETWEEN_HELLOS = 10
"""Milliseconds."""
_BEFORE_READY = Bounds(waiting=100)


def broadcast(
    events: Events,
    updates: Address,
    ready: Address,
    texts: Iterable[str],
    *,
    topic: str,
    subscribers: int,
    patience: float,
    wait: bool,
    bounds: Bounds,
) -> None:
    """Publish the texts at `updates` once so many subscribers have said at `ready` that they hear.

    Refused if they have not in `patience` seconds. With `wait`, it waits for room in a slow one's
    queue instead of dropping what finds none.
    """
    with blocking(events, bounds) as sockets:
        try:
            socket = sockets.open(
                "updates", zmq.XPUB, bind=[updates], options={zmq.XPUB_NODROP: int(wait)}
            )
            answers = sockets.open("ready", zmq.REP, bind=[ready], bounds=_BEFORE_READY)
        except OSError as error:
            raise Rejected(f"cannot publish there: {error}") from None
        stream = Stream(socket, events, topic)
        joined = _gather(socket, answers, stream, subscribers, Deadline(patience))
        events.emit("together", stream=stream.name, subscribers=sorted(joined))
        events.say(f"{len(joined)} hear: {', '.join(sorted(joined)) or 'nobody was waited for'}")
        began = time.perf_counter()
        for text in texts:
            stream.publish(text)
        stream.publish(END)
        rate = stream.published / (time.perf_counter() - began)
        told = {"published": stream.published, "rate": round(rate, 1)}
        events.emit("summary", stream=stream.name, topic=topic, **told)
        events.say(f"{stream.published} published, {rate:.0f} a second")


def _gather(
    socket: Blocking, answers: Blocking, stream: Stream, wanted: int, ends: Deadline
) -> set[str]:
    """Say hello until so many have answered; give their names."""
    joined: set[str] = set()
    while len(joined) < wanted:
        if ends.passed:
            raise Refused(f"{len(joined)} of {wanted} subscribers came: {sorted(joined)}")
        socket.send(Update(HELLO, 1, stream.name, "").encode())
        if answers.poll(_BETWEEN_HELLOS):
            frames = answers.recv_multipart()
            joined.add(frames[0].decode(errors="replace")[:100])
            answers.send(b"welcome")
    return joined


def join(
    publisher: Address, ready: Address, events: Events, *, patience: float, bounds: Bounds
) -> None:
    """Hear a broadcast from its beginning to its END, and count.

    Refused if it does not begin in `patience` seconds, Unknown if it goes silent for so long.
    """
    with blocking(events, bounds) as sockets:
        socket = sockets.open("updates", zmq.SUB, connect=[publisher])
        socket.subscribe("")
        asking = sockets.open("ready", zmq.REQ, connect=[ready])
        tally, told, stream, began = Tally(), False, "", 0.0
        while True:
            if not socket.poll(round(patience * 1000)):
                silent = f"{publisher}: nothing in {patience:g} s"
                raise Unknown(f"{silent}, after {tally.last}") if stream else Refused(silent)
            try:
                update = Update.decode(socket.recv_multipart()[0])
            except Garbled as error:
                events.bounded("garbled", error=str(error))
                continue
            if update.topic == HELLO:
                if not told:
                    asking.send(events.node.encode())
                    told = True
                continue
            began = began or time.perf_counter()
            stream = update.stream
            tally.take(update.number)
            events.recv(f"{update.id}/in", stream)
            if update.text == END:
                break
        rate = tally.received / (time.perf_counter() - began)
    events.emit("tally", stream=stream, topic=update.topic, **tally.as_json())
    events.emit("summary", stream=stream, received=tally.received, rate=round(rate, 1))
    events.say(
        f"{tally.received} received, the first {tally.missed} missed, {tally.lost} lost later; "
        f"{rate:.0f} a second"
    )

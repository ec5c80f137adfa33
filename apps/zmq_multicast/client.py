"""What a person types: publish to a group from this host, subscribe to it on this host."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

from apps.kit.events import Events
from apps.kit.outcome import Rejected, Unknown
from apps.zmq_multicast.binding import zmq
from apps.zmq_multicast.network import CannotOpen, Network
from apps.zmq_multicast.publisher import SETTLE, Publisher
from apps.zmq_multicast.subscriber import Subscriber

_LOOK = 0.1
"""Seconds after which it is asked whether it is time to end, at most."""


class Ending:
    """Whether Ctrl-C or SIGTERM has asked for an end, which comes between two messages."""

    def __init__(self) -> None:
        """Hear of it from now on."""
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def publish(
    network: Network,
    events: Events,
    payloads: Iterable[bytes],
    *,
    topic: str,
    rate: float,
    seconds: float | None,
    stay: float,
    subscribers: int,
) -> None:
    """Publish all of these, so many a second, and sum up; Rejected, Unknown.

    With tcp, wait for so many subscribers first: it knows them, and drops what nobody wants yet.
    Ctrl-C ends it early.
    """
    ending = Ending()
    took = 0.0
    try:
        with Publisher(network, events, topic, stay=stay) as publisher:
            if not publisher.await_subscribers(subscribers, stay + 5):
                raise Rejected(f"fewer than {subscribers} subscribed; nothing was published")
            time.sleep(SETTLE)
            began = time.perf_counter()
            with contextlib.suppress(KeyboardInterrupt):  # at the prompt
                for payload in paced(payloads, rate, seconds, ending):
                    publisher.publish(payload)
            took = time.perf_counter() - began
    except (CannotOpen, ValueError) as error:
        raise Rejected(str(error)) from error
    except zmq.Again:
        raise Unknown(
            "the network takes nothing any more; what was published may be lost"
        ) from None
    figures = {**publisher.figures(), "rate": round(publisher.sent / took, 1) if took else 0.0}
    events.say(", ".join(f"{name} {value}" for name, value in figures.items()))
    events.emit("summary", **figures)


def subscribe(
    network: Network, events: Events, *, topic: str, count: int | None, seconds: float | None
) -> None:
    """Tell what comes until so many have come, the time is up, or Ctrl-C; then sum up."""
    ending = Ending()
    try:
        with Subscriber(network, events, topic) as subscriber:
            began, ended = _read(subscriber, count, seconds, ending)
    except CannotOpen as error:
        raise Rejected(str(error)) from error
    took = ended - began
    streams = [stream.report() for stream in subscriber.streams.values()]
    figures: dict[str, Any] = {
        "received": subscriber.received,
        "missed": sum(stream["missed"] for stream in streams),
        "gaps": sum(stream["gaps"] for stream in streams),
        "repeated": sum(stream["repeated"] for stream in streams),
        "unreadable": subscriber.unreadable,
        "rate": round(subscriber.received / took, 1) if took else 0.0,
    }
    events.say(", ".join(f"{name} {value}" for name, value in figures.items()))
    events.emit("summary", **figures, streams=streams)


def _read(
    subscriber: Subscriber, count: int | None, seconds: float | None, ending: Ending
) -> tuple[float, float]:
    """Read as long as is wanted; give when the first message came, and the last."""
    deadline = None if seconds is None else time.monotonic() + seconds
    first = last = 0.0
    while not ending.asked and (count is None or subscriber.received < count):
        if deadline is not None and time.monotonic() > deadline:
            break
        if subscriber.socket.poll(round(_LOOK * 1000)) and subscriber.take(count):
            last = time.perf_counter()
            first = first or last
    return first, last


def paced(
    payloads: Iterable[bytes], rate: float, seconds: float | None, ending: Ending
) -> Iterator[bytes]:
    """Give them so many a second, without drifting; as fast as they are taken if `rate` is 0."""
    began = time.perf_counter()
    for number, payload in enumerate(payloads):
        due = began + number / rate if rate else began
        while not ending.asked and (ahead := due - time.perf_counter()) > 0:
            time.sleep(min(ahead, _LOOK))
        if ending.asked or (seconds is not None and time.perf_counter() - began >= seconds):
            return
        yield payload

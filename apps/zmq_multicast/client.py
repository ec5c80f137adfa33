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

_LOOK = 100
"""ms without a message after which it is asked whether the time is up."""


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
    _end_by_signals()
    took = 0.0
    try:
        with Publisher(network, events, topic, stay=stay) as publisher:
            if not publisher.await_subscribers(subscribers, stay + 5):
                raise Rejected(f"fewer than {subscribers} subscribed; nothing was published")
            time.sleep(SETTLE)
            began = time.perf_counter()
            with contextlib.suppress(KeyboardInterrupt):
                for payload in paced(payloads, rate, seconds):
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
    _end_by_signals()
    try:
        with Subscriber(network, events, topic) as subscriber:
            began, ended = _read(subscriber, count, seconds)
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


def _read(subscriber: Subscriber, count: int | None, seconds: float | None) -> tuple[float, float]:
    """Read as long as is wanted; give when the first message came, and the last."""
    deadline = None if seconds is None else time.monotonic() + seconds
    first = last = 0.0
    with contextlib.suppress(KeyboardInterrupt):  # the usual end; what came is summed up
        while count is None or subscriber.received < count:
            if deadline is not None and time.monotonic() > deadline:
                break
            if subscriber.socket.poll(_LOOK) and subscriber.take(count):
                last = time.perf_counter()
                first = first or last
    return first, last


def _end_by_signals() -> None:
    """Have SIGTERM do as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def paced(payloads: Iterable[bytes], rate: float, seconds: float | None) -> Iterator[bytes]:
    """Give them so many a second, without drifting; as fast as they are taken if `rate` is 0."""
    began = time.perf_counter()
    for number, payload in enumerate(payloads):
        ahead = began + number / rate - time.perf_counter() if rate else 0.0
        if ahead > 0:
            time.sleep(ahead)
        if seconds is not None and time.perf_counter() - began >= seconds:
            return
        yield payload

"""What a person types: subscribe and see, publish what is typed or made up."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from apps.flatbuffers_zmq.codec import Topic
from apps.flatbuffers_zmq.publisher import Publisher, paced, publish_one
from apps.flatbuffers_zmq.subscriber import Subscriber
from apps.flatbuffers_zmq.wire import Label
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown

SHOWN = 8
"""Numbers of a message that a person is shown."""


@dataclass(frozen=True, slots=True)
class MadeUp:
    """Messages that are made up."""

    count: int
    rate: float
    """A second; 0 is all at once."""
    numbers: int
    """Of each message."""
    hostile: float
    """The share of them that must be refused."""
    rng: random.Random


def say(topic: Topic) -> dict[str, Any]:
    """Give a topic's fields as they are shown: the first numbers, and how many there are."""
    numbers = topic.data[:SHOWN].tolist()
    more = len(topic.data) - len(numbers)
    return {
        "name": topic.name,
        "seq_no": topic.seq_no,
        "ts": topic.ts,
        "data": f"{numbers}" + (f" and {more} more" if more else ""),
        "unit": topic.unit,
        "quality": topic.quality,
    }


async def listen_to(
    subscriber: Subscriber,
    events: Events,
    count: int | None,
    seconds: float | None,
    quiet: float | None,
) -> None:
    """Show what comes, until so much came, that time is over, or nothing came for so long.

    Unknown if nothing came at all.
    """
    async with subscriber:
        with contextlib.suppress(TimeoutError), _cancelled_by_signals():
            async with asyncio.timeout(seconds):
                while count is None or subscriber.received + subscriber.refused < count:
                    async with asyncio.timeout(quiet):
                        found = await subscriber.next()
                    events.say("refused" if found is None else _line(*found))
    events.emit("summary", received=subscriber.received, refused=subscriber.refused)
    events.say(f"{subscriber.received} received, {subscriber.refused} refused")
    if not subscriber.received and not subscriber.refused:
        raise Unknown("nothing came: does a publisher listen there, and publish such names?")


async def publish(
    publisher: Publisher,
    events: Events,
    what: MadeUp | Iterable[str],
    *,
    wait: int,
    patience: float,
) -> None:
    """Publish what is made up, or what the lines say, once there are so many subscriptions.

    Refused if it cannot be bound, or too few subscribe in time.
    """
    try:
        await publisher.__aenter__()
    except OSError as error:
        raise Refused(str(error)) from error
    try:
        try:
            async with asyncio.timeout(patience):
                await publisher.audience(wait)
        except TimeoutError:
            raise Refused(f"fewer than {wait} subscriptions in {patience:g} s") from None
        if isinstance(what, MadeUp):
            await _make_up(publisher, what)
        else:
            await _type(publisher, events, what)
    finally:
        await publisher.__aexit__(None, None, None)
    events.emit("summary", run=publisher.run, sent=publisher.sent, hostile=publisher.hostile)
    events.say(f"{publisher.sent} sent, {publisher.hostile} of them hostile")


async def _make_up(publisher: Publisher, what: MadeUp) -> None:
    async for number in paced(what.rate):
        await publish_one(publisher, what.rng, what.numbers, what.hostile)
        if number + 1 == what.count:
            return


async def _type(publisher: Publisher, events: Events, lines: Iterable[str]) -> None:
    """Publish line after line; what is wrong is said, and the last such error is the outcome."""
    wrong: CallFailed | None = None
    for line in lines:
        name, *words = line.split() or [""]
        if not name:
            continue
        try:
            await publisher.publish(name, [_number(word) for word in words])
        except Rejected as error:
            wrong = error
            events.say(f"rejected: {error}")
        await asyncio.sleep(0)
    if wrong is not None and publisher.sent == 0:
        raise wrong


def _number(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise Rejected(f"{word!r} is no whole number") from None


def _line(label: Label, topic: Topic) -> str:
    said = say(topic)
    return f"{label}  {said['data']} {topic.unit}  quality {topic.quality}".replace("   ", "  ")


@contextlib.contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """Have SIGTERM and Ctrl-C end what is waited for, as its time being over does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101  (who calls is one)
    told = False

    def end() -> None:
        nonlocal told
        told = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        yield
    except asyncio.CancelledError:
        if not told:
            raise
        task.uncancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

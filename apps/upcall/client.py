"""What a person types: publish, listen, look who is subscribed, measure round trips."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections.abc import AsyncIterator, Iterable
from typing import Any

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.effects import Message
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Rejected, Unknown
from apps.kit.retry import set_within
from apps.kit.summary import Load, crowd
from apps.upcall.subscriber import Callback, Subscriber


async def ask(caller: Caller, body: Message) -> dict[str, Any]:
    """Ask the server once; nothing is repeated that it may have done."""
    line = json.dumps(body, separators=(",", ":")).encode()
    try:
        answer = json.loads(await caller.call(line, idempotent=False))
        if "error" in answer:
            raise Rejected(str(answer["error"]))
        result: dict[str, Any] = answer["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise Unknown(f"the answer is not understood: {error!r}") from error
    return result


async def publish(caller: Caller, events: Events, topic: str, value: str) -> dict[str, Any]:
    """Publish an event, and record who was told of it."""
    value = value.encode(errors="replace").decode(errors="replace")
    with Operation(events, "publish", value, topic=topic) as op:
        body = {"f": "publish", "id": op.op, "topic": topic, "value": value}
        return op.ok(await ask(caller, body))


async def publish_all(
    server: Address,
    events: Events,
    topic: str,
    values: Iterable[str],
    *,
    patience: float,
    persist: bool,
) -> None:
    """Publish each value and say who was told; `persist` goes on after one that failed."""
    async with Caller(server, events, timeout=patience) as caller:
        for value in values:
            try:
                result = await publish(caller, events, topic, value)
            except CallFailed as error:
                if not persist:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}")
                continue
            told, missed = ", ".join(result["told"]) or "nobody", ", ".join(result["missed"])
            events.say(f"told: {told}" + (f"; missed: {missed}" if missed else ""))


async def publish_load(
    server: Address, events: Events, topic: str, load: Load, *, patience: float
) -> None:
    """Let a crowd of publishers publish made-up events, and sum up."""

    def connect(rng: random.Random) -> Caller:
        return Caller(server, events, timeout=patience, rng=rng)

    async def one(caller: Caller, rng: random.Random) -> object:
        return await publish(caller, events, topic, rng.randbytes(8).hex())

    await crowd(events, connect, one, load)


async def roundtrips(
    server: Address, events: Events, load: Load, *, patience: float, back: Address | None
) -> None:
    """Let each caller publish to itself: an event there, an upcall back, its answer, and ours."""

    async def nothing(_subscriber: Subscriber, _upcall: Message) -> None:
        return

    @contextlib.asynccontextmanager
    async def connect(rng: random.Random) -> AsyncIterator[Subscriber]:
        name = f"{events.node}-{rng.getrandbits(32):08x}"
        async with Subscriber(server, name, name, nothing, events, back=back, rng=rng) as one:
            await one.registered(patience)
            yield one

    async def one(subscriber: Subscriber, rng: random.Random) -> object:
        with Operation(events, "publish", rng.randbytes(8).hex(), topic=subscriber.name) as op:
            body = {"f": "publish", "id": op.op, "topic": subscriber.name, "value": "round"}
            result = await subscriber.call(body, patience)
            if len(result["told"]) != 1:
                raise Unknown("the subscription was ended before it had answered")
            return op.ok(result)

    await crowd(events, connect, one, load)


async def status(server: Address, events: Events, *, patience: float) -> None:
    """Say who is subscribed."""
    async with Caller(server, events, timeout=patience) as caller:
        result = await ask(caller, {"f": "status"})
    events.emit("status", **result)
    for one in result["subscriptions"]:
        events.say(
            f"{one['subscription']}  topic {one['topic']}  acknowledged {one['acknowledged']}  "
            f"queued {one['queued']}  heard {one['silent']:.1f} s ago"
        )
    if not result["subscriptions"]:
        events.say("nobody is subscribed")


async def listen(
    subscriber: Subscriber, events: Events, *, seconds: float | None, patience: float
) -> None:
    """Be called up until interrupted (Ctrl-C, SIGTERM), or for so long."""
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    async with subscriber:
        await subscriber.registered(patience)
        events.say(f"registered as {subscriber.subscription}; Ctrl-C ends it")
        await set_within(over, seconds)


def callback(events: Events, *, delay: float, reply: str) -> Callback:
    """Make a callback that takes so long, and publishes to a topic of its own, if one is given."""

    async def called(subscriber: Subscriber, upcall: Message) -> None:
        events.say(f"{upcall['seq']}: {upcall['value']}")
        await asyncio.sleep(delay)
        if reply:
            with contextlib.suppress(CallFailed):
                await call_in(subscriber, events, upcall, reply)

    return called


async def call_in(subscriber: Subscriber, events: Events, upcall: Message, topic: str) -> None:
    """Publish from within a callback; it is answered at once, so nobody waits for himself."""
    value = f"{subscriber.name} heard {upcall['value']}"[:1000]
    within = {"within": upcall["id"], "subscription": upcall["subscription"]}
    with Operation(events, "nested", value, topic=topic, **within) as op:
        body = {"f": "publish", "id": op.op, "topic": topic, "value": value, "nested": True}
        op.ok(await subscriber.call(body, patience=2.0))

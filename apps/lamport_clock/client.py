"""The clients of a node: ask for the resource, hold it, give it back, and make causality.

An acquire is asked once: a repeated one would be a second request. Its outcome is unknown if the
node dies before it answers; then the resource may be held, for `hold` seconds at most.
"""

from __future__ import annotations

import asyncio
import json
import random
import shlex
from collections.abc import Iterable
from typing import Any

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Rejected
from apps.kit.summary import Load, crowd

USAGE = (
    "acquire [HOLD [WAIT]], release NUMBER NODE, event NAME, tell NODE TEXT, state; "
    "times in seconds"
)


def parse(words: list[str]) -> dict[str, Any]:
    """Turn what a person typed into a request; ValueError says how it should have been."""
    try:
        match words:
            case ["acquire"]:
                return {"f": "acquire", "hold": 10.0}
            case ["acquire", hold]:
                return {"f": "acquire", "hold": float(hold)}
            case ["acquire", hold, wait]:
                return {"f": "acquire", "hold": float(hold), "wait": float(wait)}
            case ["release", number, node]:
                return {"f": "release", "fence": [int(number), node]}
            case ["event", *name] if name:
                return {"f": "event", "name": " ".join(name)}
            case ["tell", node, *text] if text:
                return {"f": "tell", "to": node, "text": " ".join(text)}
            case ["state"]:
                return {"f": "state"}
    except ValueError:
        pass  # a time or a number that is none
    raise ValueError(f"not understood: {shlex.join(words)}; say one of: {USAGE}")


class NodeClient:
    """Asks one node; records what was asked and what is known of the outcome."""

    def __init__(self, node: Address, events: Events, patience: float) -> None:
        """`patience` is the seconds that a call may take, an acquire's waiting included."""
        self._caller = Caller(node, events, timeout=patience)
        self._events = events

    async def __aenter__(self) -> NodeClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._caller.__aexit__(*_)

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Give the node's result; Rejected, Refused or Unknown otherwise."""
        op = self._events.operation()
        f = body["f"]
        self._events.emit("invoke", op=op, f=f, value=body)
        try:
            answer = json.loads(
                await self._caller.call(json.dumps(body).encode(), idempotent=f == "state")
            )
            if "error" in answer:
                raise Rejected(answer["error"])
        except CallFailed as error:
            self._events.emit(error.event, op=op, f=f, value=body, error=str(error))
            raise
        result: dict[str, Any] = answer["result"]
        self._events.emit("ok", op=op, f=f, value=result)
        return result


async def converse(
    node: Address, events: Events, lines: Iterable[list[str]], *, patience: float, persist: bool
) -> None:
    """Ask what was typed, line by line; `persist` goes on after one that failed."""
    async with NodeClient(node, events, patience) as client:
        for words in lines:
            try:
                events.say(json.dumps(await client.ask(parse(words))))
            except ValueError as error:
                if not persist:
                    raise Rejected(str(error)) from error
                events.say(str(error))
            except CallFailed as error:
                if not persist:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}")


async def contend(
    node: Address,
    events: Events,
    load: Load,
    *,
    stay: float,
    wait: float | None,
    patience: float,
) -> None:
    """Enter again and again, staying about `stay` seconds, and gossip with everyone between.

    A request that is not granted in `wait` seconds is withdrawn.
    """

    def connect(_: random.Random) -> NodeClient:
        return NodeClient(node, events, patience)

    async def enter(client: NodeClient, rng: random.Random) -> None:
        peers = sorted((await client.ask({"f": "state"}))["peers"])
        await client.ask({"f": "event", "name": "a thought"})
        await client.ask({"f": "tell", "to": rng.choice(peers), "text": "hello"})
        waiting = {} if wait is None else {"wait": wait}
        # Should this client be lost inside, others wait no longer than its hold.
        granted = await client.ask({"f": "acquire", "hold": max(1.0, 10 * stay), **waiting})
        await asyncio.sleep(rng.uniform(0.5, 1.5) * stay)
        await client.ask({"f": "release", "fence": granted["fence"]})
        events.say(f"entered with fence {granted['fence']}")

    await crowd(events, connect, enter, load)

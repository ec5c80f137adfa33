"""The clients of an election: who leads, and orders that go to all nodes through who leads."""

from __future__ import annotations

import asyncio
import json
import random
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Self

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Rejected
from apps.kit.summary import Load, crowd

USAGE = "who, order TEXT"


def parse(words: list[str]) -> dict[str, Any]:
    """Turn what a person typed into a request; ValueError says how it should have been."""
    match words:
        case ["who"]:
            return {"f": "who"}
        case ["order", *text] if text:
            return {"f": "order", "text": " ".join(text)}
    raise ValueError(f"not understood: {shlex.join(words)}; say one of: {USAGE}")


class NodeClient:
    """Asks one node; records what was asked and what is known of the outcome."""

    def __init__(self, node: Address, events: Events, patience: float) -> None:
        """`patience` is the seconds that a call may take."""
        self._caller = Caller(node, events, timeout=patience)
        self._events = events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._caller.__aexit__(None, None, None)

    async def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Give the node's result; Rejected, Refused or Unknown otherwise.

        An order is asked once: a repeated one would be a second order.
        """
        f = str(body["f"])
        with Operation(self._events, f, body.get("text")) as operation:
            frame = json.dumps(body).encode()
            answer = json.loads(await self._caller.call(frame, idempotent=f == "who"))
            if "error" in answer:
                raise Rejected(answer["error"])
            result: dict[str, Any] = answer["result"]
            return operation.ok(result)


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


async def survey(nodes: Mapping[str, Address], events: Events, *, patience: float) -> None:
    """Ask all nodes at once who leads, and say who says what; a node may be away."""

    async def ask(name: str, address: Address) -> str:
        async with NodeClient(address, events, patience) as client:
            try:
                told = await client.ask({"f": "who"})
            except CallFailed as error:
                return f"{name}: {type(error).__name__.lower()}: {error}"
            return f"{name}: {told['leader']} in epoch {told['epoch']}, {told['status']}"

    for line in await asyncio.gather(*(ask(*node) for node in nodes.items())):
        events.say(line)


class Commander:
    """Finds out who leads, and has it give an order."""

    def __init__(self, nodes: Mapping[str, Address], events: Events, patience: float) -> None:
        """`patience` is of each call."""
        self._clients = {
            name: NodeClient(address, events, patience) for name, address in nodes.items()
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.gather(*(client.__aexit__() for client in self._clients.values()))

    async def order(self, text: str, rng: random.Random) -> dict[str, Any]:
        """Ask some node who leads, and that one to order; Rejected if nobody is known to."""
        asked = rng.choice(sorted(self._clients))
        told = await self._clients[asked].ask({"f": "who"})
        leader = self._clients.get(told["leader"])
        if leader is None:
            raise Rejected(f"{asked} knows of nobody who leads")
        return await leader.ask({"f": "order", "text": text})


async def command(
    nodes: Mapping[str, Address], events: Events, load: Load, *, patience: float
) -> None:
    """Give order after order, each through whoever some node says leads."""

    def connect(_: random.Random) -> Commander:
        return Commander(nodes, events, patience)

    async def order(commander: Commander, rng: random.Random) -> None:
        given = await commander.order(f"order {rng.randrange(10**6)}", rng)
        events.say(f"order {given['number']} of epoch {given['epoch']}")

    await crowd(events, connect, order, load)

"""The clients of a node: get, set, look up, and read everything from everywhere."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import secrets
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Self

from apps.kademlia.requests import LONGEST_LINE
from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.cli import Misspelt
from apps.kit.events import Events
from apps.kit.framing import Lines
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Rejected, Unknown
from apps.kit.retry import Deadline
from apps.kit.summary import Load, crowd

USAGE = "get KEY, set KEY VALUE [COPIES], holds KEY, lookup TOPIC, status"
LONGEST_ANSWER = 60_000
"""Bytes: fifty contacts, or the publishers of a topic."""
_SOON, _BETWEEN = 3.0, 0.2
"""Seconds that a node may take to say whom it knows; and until it is asked again."""
_AT_ONCE = 8
"""Nodes that a survey asks at the same time; each asks many others."""
OWN_KEYS = 8
"""Keys that each caller of a load sets again and again."""
_TTL = 1800.0
"""Seconds that made-up values last: nobody needs to store them again for ever."""
_REPEATABLE = frozenset({"get", "holds", "lookup", "status", "register", "withdraw"})


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Turn what a person typed into a request; Misspelt."""
    match list(words):
        case ["get" | "holds" as f, key]:
            return {"f": f, "key": key}
        case ["set", key, value]:
            return {"f": "set", "key": key, "value": value}
        case ["set", key, value, copies] if copies.isdecimal():
            return {"f": "set", "key": key, "value": value, "copies": int(copies)}
        case ["lookup", topic]:
            return {"f": "lookup", "topic": topic}
        case ["status"]:
            return {"f": "status"}
    raise Misspelt(f"not understood: {shlex.join(words)}; say one of: {USAGE}")


class NodeClient:
    """Asks one node; records what was asked, and what is known of the outcome."""

    def __init__(self, node: Address, events: Events, patience: float) -> None:
        """`patience` is the seconds that a call may take."""
        self._caller = Caller(
            node,
            events,
            timeout=patience,
            framing=lambda: Lines(max(LONGEST_LINE, LONGEST_ANSWER)),
        )
        self._events = events
        self.node = node

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._caller.__aexit__(None, None, None)

    async def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Give the node's result; Rejected, Refused or Unknown otherwise.

        A set is asked once: a second one might undo what somebody else set meanwhile.
        """
        f = str(body["f"])
        given = {name: value for name, value in body.items() if name not in ("f", "value")}
        with Operation(self._events, f, body.get("value"), via=str(self.node), **given) as done:
            line = json.dumps(body).encode()
            told = json.loads(await self._caller.call(line, idempotent=f in _REPEATABLE))
            if "error" in told:
                raise (Unknown if told.get("known") == "unknown" else Rejected)(told["error"])
            result: dict[str, Any] = told["result"]
            return done.ok(result)


def said(f: str, result: Mapping[str, Any]) -> str:
    """Give a result as a person reads it."""
    match f:
        case "get":
            return f"{result['value']}  (version {result['version']}, {_hops(result)})"
        case "set":
            return f"stored on {result['stored']} of {result['of']} nodes"
        case "holds":
            return "nothing" if result["version"] is None else str(result["value"])
        case "lookup":
            found = result["publishers"].items()
            lines = [f"{name} at {p['address']}, for {p['lease']:.1f} s more" for name, p in found]
            return "\n".join(lines) or f"nobody publishes that ({result['answered']} nodes asked)"
        case _:
            return "\n".join(f"{name}: {_listed(value)}" for name, value in result.items())


def _hops(result: Mapping[str, Any]) -> str:
    hops = result["hops"]
    return f"{hops} hop{'s'[: hops != 1]}, {result['answered']} of {result['asked']} answered"


def _listed(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


async def meet(nodes: Sequence[Address], events: Events, within: float) -> None:
    """Wait until each node knows the others, k of them if they are more; Rejected if too long."""
    deadline = Deadline(within)
    while missing := await _strangers(nodes, events):
        if deadline.passed:
            alone = ", ".join(map(str, missing))
            raise Rejected(f"after {within:g} s these do not know the others yet: {alone}")
        await asyncio.sleep(_BETWEEN)
    events.say(f"all {len(nodes)} know each other")


async def _strangers(nodes: Sequence[Address], events: Events) -> list[Address]:
    """Give who does not know the others; who does not answer does not."""

    async def status(node: Address) -> dict[str, Any] | None:
        async with NodeClient(node, events, _SOON) as client:
            try:
                return await client.ask({"f": "status"})
            except CallFailed:
                return None

    told = await asyncio.gather(*map(status, nodes))
    here = {one["address"] for one in told if one is not None}

    def knows(one: dict[str, Any]) -> bool:
        known = len(here.intersection(one["contacts"]))
        return bool(one["joined"]) and known >= min(len(nodes) - 1, one["k"])

    return [node for node, one in zip(nodes, told, strict=True) if one is None or not knows(one)]


async def survey(
    nodes: Sequence[Address], keys: Sequence[str], events: Events, f: str, patience: float
) -> None:
    """Get each key from each node, some nodes at once; Rejected if any was not found.

    With `holds` for `f`, find out what each keeps itself.
    """
    places = asyncio.Semaphore(_AT_ONCE)

    async def all_of(node: Address) -> list[str]:
        failed = []
        async with places, NodeClient(node, events, patience) as client:
            for key in keys:
                try:
                    await client.ask({"f": f, "key": key})
                except CallFailed as error:
                    failed.append(f"{key} from {node}: {error}")
        return failed

    failed = list(itertools.chain(*await asyncio.gather(*map(all_of, nodes))))
    events.say(f"{len(nodes) * len(keys) - len(failed)} of {len(nodes) * len(keys)} found")
    if failed:
        raise Rejected("; ".join(failed[:5]))


class Setter:
    """A caller that sets its own keys, higher and higher, and gets them, by any node."""

    _numbers = itertools.count(1)

    def __init__(self, clients: Sequence[NodeClient], name: str, copies: int) -> None:
        """Its keys begin with `name`, and are no other caller's."""
        self._clients = clients
        self._name = f"{name}/{next(self._numbers)}"
        self._copies = copies
        self._counts = itertools.count(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.gather(*(client.__aexit__() for client in self._clients))

    async def ask(self, rng: random.Random) -> object:
        """Set the next number, or get a key."""
        client = rng.choice(self._clients)
        number = next(self._counts)
        key = f"{self._name}/{number % OWN_KEYS}"
        if number > OWN_KEYS and rng.random() < 0.3:
            return await client.ask({"f": "get", "key": key})
        body = {"f": "set", "key": key, "value": number, "copies": self._copies, "ttl": _TTL}
        return await client.ask(body)


async def exercise(
    nodes: Sequence[Address], events: Events, load: Load, *, name: str, copies: int, patience: float
) -> None:
    """Set and get made-up keys by these nodes, and sum up."""
    run = f"{events.node}-{secrets.token_hex(2)}"

    def connect(_: random.Random) -> Setter:
        clients = [NodeClient(node, events, patience) for node in nodes]
        return Setter(clients, f"{name}/{run}", copies)

    await crowd(events, connect, Setter.ask, load)


async def one(node: Address, events: Events, body: Mapping[str, Any], patience: float) -> None:
    """Ask one thing, and say the answer."""
    async with NodeClient(node, events, patience) as client:
        events.say(said(str(body["f"]), await client.ask(body)))

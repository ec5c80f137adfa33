"""The clients of Paxos: they propose values, and ask what was chosen.

Any proposer will do, and any learner. To propose again is always safe: a decree that has its value
keeps it. So a call that fails at one server goes on at the next, until the time is over.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Rejected, Unknown
from apps.kit.retry import Backoff, Deadline
from apps.kit.summary import Load, crowd

_GRACE = 0.5
"""Seconds beyond a server's own patience after which the next one is asked."""
_ASKS, _REPEATS = 0.3, 0.2
"""Parts of a contender's calls that ask, and that propose for a decree that is past."""


@dataclass(frozen=True)
class Times:
    """How patient a client is. Seconds."""

    patience: float = 10.0
    """Of a whole call, whoever answers it."""
    attempt: float = 2.0
    """Of one server, before the next one is asked."""


class PaxosClient:
    """Asks servers of one kind, one after the other; records what was asked and what is known."""

    def __init__(
        self,
        servers: Sequence[Address],
        events: Events,
        times: Times,
        rng: random.Random | None = None,
    ) -> None:
        """The servers are asked in this order."""
        self._callers = [
            Caller(server, events, timeout=times.attempt + _GRACE, backoff=Backoff(retries=0))
            for server in servers
        ]
        self._events = events
        self._times = times
        self._rng = rng or random.Random()
        self._next = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        for caller in self._callers:
            await caller.__aexit__(None, None, None)

    async def propose(self, decree: str, value: str, **pace: float | None) -> dict[str, Any]:
        """Give what was chosen, and in how many rounds; Unknown if the value may be chosen yet.

        `pace` is what of the proposer's own is to be different: `delay`, `backoff`.
        """
        given = {name: seconds for name, seconds in pace.items() if seconds is not None}
        body = {"f": "propose", "decree": decree, "value": value, "patience": self._times.attempt}
        return await self._ask({**body, **given}, {"decree": decree, "value": value})

    async def chosen(self, decree: str) -> dict[str, Any]:
        """Give what was chosen; its `value` is None if nothing is."""
        return await self._ask({"f": "chosen", "decree": decree}, {"decree": decree})

    async def _ask(self, body: Mapping[str, Any], value: Mapping[str, str]) -> dict[str, Any]:
        """Ask one server after the other; once one may have done it, no refusal undoes that."""
        deadline = Deadline(self._times.patience)
        delays = Backoff(retries=sys.maxsize, longest=0.5).delays(self._rng)
        frame = json.dumps(body).encode()
        with Operation(self._events, str(body["f"]), value) as operation:
            unknown: Unknown | None = None
            while True:
                caller = self._callers[self._next % len(self._callers)]
                try:
                    answer = json.loads(await caller.call(frame, idempotent=False))
                    if "error" not in answer:
                        return operation.ok(_read(answer["result"]))
                except CallFailed as failure:
                    unknown = failure if isinstance(failure, Unknown) else unknown
                    delay = next(delays)
                    if delay >= deadline.remaining:
                        raise (unknown or failure) from failure
                else:  # no other server would take it either
                    raise Rejected(answer["error"])
                self._next += 1
                await asyncio.sleep(delay)


def _read(result: dict[str, Any]) -> dict[str, Any]:
    """Give what a server told, or raise what that means."""
    if "unknown" in result:
        raise Unknown(result["unknown"])
    if "failed" in result:
        raise Rejected(result["failed"])
    return result


def shown(told: Mapping[str, Any]) -> str:
    """Say it to a person."""
    if told["value"] is None:
        return f"{told['decree']}: nothing is chosen"
    number = ".".join(map(str, told["number"]))
    return f"{told['decree']}: {told['value']} (proposal {number})"


async def converse(
    client: PaxosClient,
    events: Events,
    calls: Iterable[Sequence[str]],
    ask: Callable[[Sequence[str]], Awaitable[Mapping[str, Any]]],
    *,
    persist: bool,
) -> None:
    """Ask what the words of each call say; `persist` goes on after one that failed."""
    async with client:
        for words in calls:
            try:
                events.say(shown(await ask(words)))
            except CallFailed as error:
                if not persist:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}")


async def fight(
    proposers: Sequence[Address],
    events: Events,
    decree: str,
    times: Times,
    *,
    delay: float,
    backoff: float | None,
) -> None:
    """Have each proposer asked for a value of its own, one within the delay of the other.

    Where none of them is answered, what became of the first is raised.
    """

    async def ask(place: int, proposer: Address) -> CallFailed | None:
        await asyncio.sleep(place * delay / len(proposers))
        async with PaxosClient([proposer], events, times) as client:
            try:
                told = await client.propose(decree, f"of {proposer}", delay=delay, backoff=backoff)
            except CallFailed as failure:
                events.say(f"{proposer}: {type(failure).__name__.lower()}: {failure}")
                return failure
        events.say(f"{proposer}: {shown(told)}, in {told['rounds']} rounds")
        return None

    asked = [ask(place, proposer) for place, proposer in enumerate(proposers)]
    failed = [failure for failure in await asyncio.gather(*asked) if failure is not None]
    if len(failed) == len(proposers):
        raise failed[0]


class Contender:
    """Proposes for the decrees that others propose for as well, and asks what became of them."""

    def __init__(self, proposing: PaxosClient, learning: PaxosClient, prefix: str) -> None:
        """The decrees are called `prefix`/1, `prefix`/2 and so on."""
        self._proposing = proposing
        self._learning = learning
        self._prefix = prefix
        self._count = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._proposing.__aexit__()
        await self._learning.__aexit__()

    async def act(self, rng: random.Random) -> dict[str, Any]:
        """Propose for the next decree, or one that is past; or ask what was chosen for one."""
        past = f"{self._prefix}/{rng.randint(1, self._count)}" if self._count else None
        draw = rng.random()
        if past is not None and draw < _ASKS:
            return await self._learning.chosen(past)
        value = f"{rng.getrandbits(32):08x}"
        if past is not None and draw < _ASKS + _REPEATS:
            return await self._proposing.propose(past, value)
        self._count += 1
        return await self._proposing.propose(f"{self._prefix}/{self._count}", value)


async def contend(
    servers: tuple[Sequence[Address], Sequence[Address]],
    events: Events,
    prefix: str,
    load: Load,
    times: Times,
) -> None:
    """Have a crowd of contenders at work; each asks these proposers and learners in its order."""

    def connect(rng: random.Random) -> Contender:
        proposing, learning = (
            PaxosClient(rng.sample(kind, len(kind)), events, times, rng) for kind in servers
        )
        return Contender(proposing, learning, prefix)

    async def act(contender: Contender, rng: random.Random) -> None:
        events.say(shown(await contender.act(rng)))

    await crowd(events, connect, act, load)

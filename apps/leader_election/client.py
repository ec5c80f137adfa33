"""The clients: one writes to the resource and reads it, one tells who stands for election."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.events import Events
from apps.kit.framing import Lines
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Rejected, Unknown
from apps.kit.retry import Backoff, Deadline
from apps.kit.zookeeper import Session
from apps.leader_election.core import in_order, node_of
from apps.leader_election.wire import LONGEST

_LOOK = 0.2
"""Seconds between two looks at the resource."""
_PATIENCE = 2.0
"""Seconds that a look may take."""


class Writer:
    """Asks the resource; an async context manager. Nothing is repeated: a write may be late."""

    def __init__(self, resource: Address, events: Events, timeout: float) -> None:
        """`timeout` bounds a call, in seconds."""
        self._caller = Caller(
            resource,
            events,
            timeout=timeout,
            backoff=Backoff(retries=0),
            framing=lambda: Lines(LONGEST),
        )
        self._events = events

    async def __aenter__(self) -> Writer:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._caller.__aexit__(*error)

    async def write(self, token: int, value: str) -> dict[str, Any]:
        """Write under a token; Rejected if it is stale."""
        with Operation(self._events, "write", value, fence=token) as operation:
            body = {"token": token, "holder": self._events.node, "value": value}
            return operation.ok(await self._ask({"f": "write", **body, "op": operation.op}))

    async def state(self) -> dict[str, Any]:
        """Read the resource."""
        with Operation(self._events, "state", None) as operation:
            return operation.ok(await self._ask({"f": "state"}))

    async def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._caller.call(json.dumps(body).encode(), idempotent=False)
        try:
            told = json.loads(answer)
            if "error" in told:
                raise Rejected(str(told["error"]))
            result: dict[str, Any] = told["result"]
        except (ValueError, TypeError, KeyError) as error:
            raise Unknown(f"the answer is none of a resource: {answer[:80]!r}") from error
        return result


async def watch(resource: Address, events: Events, seconds: float) -> None:
    """Read the resource for so long, and say whenever another leader has written."""
    known = None
    ends = Deadline(seconds)
    async with Writer(resource, events, _PATIENCE) as reader:
        while not ends.passed:
            try:
                state = await reader.state()
            except CallFailed as error:
                events.say(f"{type(error).__name__.lower()}: {error}")
            else:
                if state["token"] != known:
                    known = state["token"]
                    events.say(f"{state['holder'] or 'nobody'} leads, under token {known}")
            await asyncio.sleep(_LOOK)


def candidates(
    servers: Sequence[Address], events: Events, path: str, timeout: float
) -> list[tuple[str, int]]:
    """Give who stands for election, the leader first, and their tokens."""
    found = []
    with Session(servers, events, timeout=timeout) as session:
        session.sync(path)
        for name in in_order(session.children(path)):
            try:
                found.append((node_of(name), session.get(f"{path}/{name}").created))
            except Rejected:
                continue  # it left meanwhile
    events.emit("candidates", candidates=found)
    return found

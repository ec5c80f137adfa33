"""What the leader alone may write: it takes no token below the highest that it took.

The highest token is durable before a write is answered, so a restart opens no gap in the fence.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.framing import Lines
from apps.kit.store import Store
from apps.kit.tcp import Answer, FramedServer, Limits
from apps.leader_election.core import Resource, Stale
from apps.leader_election.wire import LONGEST, BadRequest, complain, parse, result

_KEY = "resource"


class ResourceServer:
    """An async context manager that serves while it is entered."""

    def __init__(self, listen: Address, events: Events, path: Path, limits: Limits) -> None:
        """`path` is where it keeps what it is; ValueError if another program wrote that."""
        self._events = events
        self._store = Store(path)
        self._resource = Resource.of(self._store.values.get(_KEY, {}))
        self._served = FramedServer(
            listen,
            self._session,
            events,
            framing=lambda: Lines(LONGEST),
            complain=complain,
            limits=limits,
        )

    async def __aenter__(self) -> Self:
        await self._served.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._served.__aexit__(kind, error, trace)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._served.address

    def _session(self, _: str) -> Answer:
        async def answer(line: bytes) -> bytes:
            try:
                request = parse(line)
                if request["f"] == "write":
                    self._write(request)
            except (BadRequest, Stale) as no:
                return complain(str(no))
            return result(self._resource.as_json())

        return answer

    def _write(self, request: dict[str, Any]) -> None:
        token, holder, value = request["token"], request["holder"], request["value"]
        told = {"fence": token, "holder": holder, "op": request["op"]}
        try:
            after = self._resource.write(token, holder, value)
        except Stale as stale:
            self._events.bounded("refused", **told, highest=stale.highest)
            raise
        self._store.put(_KEY, after.as_json())
        self._resource = after
        self._events.bounded("accepted", **told, number=after.number)

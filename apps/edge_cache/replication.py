"""The leader's writes to its followers: each is of the epoch in which it was made, for ever.

A follower takes a write of its own epoch, and refuses all others. So a write that is late, because
the network was parted or the leader slept, is refused by whoever has another leader since; however
long it is tried, it can do no harm.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from apps.edge_cache.upstream import Away, Deposed, Upstreams, Write
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.retry import Backoff

MOST_WAITING = 64
"""Writes that wait for one follower; the oldest one gives way. Who misses one asks when asked."""
PATIENCE = 1.5
"""Seconds for a follower to take a write."""
RETRIES = Backoff(retries=20, first=0.1, longest=1.0)


class Replication:
    """An async context manager: writes are carried to the followers while it is entered."""

    def __init__(
        self,
        followers: Mapping[str, Address],
        upstreams: Upstreams,
        counts: Counter[str],
        events: Events,
    ) -> None:
        """`followers` are all other edges; `counts` is where outcomes are counted."""
        self._followers = followers
        self._upstreams = upstreams
        self._counts = counts
        self._events = events
        self._queues = {name: asyncio.Queue[Write](MOST_WAITING) for name in followers}

    async def __aenter__(self) -> Self:
        self._carriers = [asyncio.create_task(self._carry(name)) for name in self._followers]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for carrier in self._carriers:
            carrier.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)

    def put(self, write: Write) -> None:
        """Have every follower keep an image, soon."""
        for queue in self._queues.values():
            if queue.full():
                queue.get_nowait()
                self._counts["writes_dropped"] += 1
            queue.put_nowait(write)

    async def _carry(self, name: str) -> None:
        rng = random.Random()
        while True:
            write = await self._queues[name].get()
            for delay in (*RETRIES.delays(rng), None):
                if await self._carried(name, write):
                    break
                if delay is None:
                    self._counts["writes_dropped"] += 1
                else:
                    await asyncio.sleep(delay)

    async def _carried(self, name: str, write: Write) -> bool:
        """Try once; say whether that is all that can be done about it."""
        told = {"image": write.image, "of": list(write.epoch), "to": name}
        try:
            await self._upstreams.replicate(self._followers[name], write, PATIENCE)
        except Away:
            return False
        except Deposed:
            self._counts["writes_refused"] += 1
            self._events.bounded("write_refused", **told)
            return True
        self._counts["writes_taken"] += 1
        self._events.bounded("write_taken", **told)
        return True

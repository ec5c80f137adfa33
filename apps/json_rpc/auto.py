"""The automatic client: a call every so often, for as long as its unit runs, whatever happens."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial
from typing import Self

from apps.json_rpc.client import Asked, Client
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed
from apps.kit.retry import set_within
from apps.kit.summary import Threaded


class Auto:
    """An async context manager that calls while it is entered."""

    def __init__(self, server: Address, interval: float, events: Events, timeout: float) -> None:
        """A call begins `interval` seconds after the last one ended."""
        self._caller = Threaded(Client(server, events, timeout=timeout))
        self._interval = interval
        self._rng = random.Random()
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._caller.__aenter__()
        self._calling = asyncio.create_task(self._call())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await self._calling
        await self._caller.__aexit__()

    async def _call(self) -> None:
        while not self._over.is_set():
            numbers = [self._rng.randrange(1000) for _ in range(2)]
            asked = Asked(self._rng.choice(("subtract", "sum")), numbers)
            with suppress(CallFailed):  # its event says so, and the next call comes
                await self._caller.run(partial(self._caller.client.ask, asked))
            await set_within(self._over, self._interval)

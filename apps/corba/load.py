"""Many clients at once, each with a thread of its own: a call of CORBA waits for its answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from apps.corba.client import Client
from apps.corba.core import Entry
from apps.kit.events import Events
from apps.kit.outcome import Rejected
from apps.kit.summary import Load, crowd

ACCOUNTS = 5
"""Accounts that all callers share, so that their entries meet."""


async def measure(connect: Callable[[random.Random], Client], events: Events, load: Load) -> None:
    """Let a crowd of callers post made-up entries, and sum up."""

    async def ask(caller: _Caller, rng: random.Random) -> None:
        await caller.run(lambda: caller.work(rng))

    await crowd(events, lambda rng: _Caller(connect(rng)), ask, load)


class _Caller:
    """A client with a thread of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._thread = ThreadPoolExecutor(max_workers=1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._thread.shutdown()

    async def run(self, function: Callable[[], Any]) -> None:
        """Call it in this caller's thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def work(self, rng: random.Random) -> None:
        """Post an entry; one that would overdraw its account is answered, too: with no."""
        account = f"account {rng.randrange(ACCOUNTS)}"
        try:
            self._client.post(Entry(account, rng.randrange(-60, 100) or 1, "load"))
        except Rejected:
            return

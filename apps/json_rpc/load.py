"""Many clients at once, whose history the claims can judge: transfers, balances, batches."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from apps.json_rpc.client import Asked, Client
from apps.json_rpc.methods import OPENING
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.summary import Load, Threaded, crowd


async def measure(
    server: Address, events: Events, load: Load, call: Asked | None, **options: Any
) -> None:
    """Let a crowd of callers make the one call, or a mix of calls, and sum up.

    `options` are those of `Client`.
    """

    def connect(rng: random.Random) -> Threaded[Client]:
        return Threaded(Client(server, events, rng=rng, **options))

    async def ask(caller: Threaded[Client], rng: random.Random) -> None:
        client = caller.client
        await caller.run(partial(client.ask, call) if call else partial(_mixed, client, rng))

    await crowd(events, connect, ask, load)


def _mixed(client: Client, rng: random.Random) -> None:
    rng.choices((_transfer, _look, _several), (7, 2, 1))[0](client, rng)


def _transfer(client: Client, rng: random.Random) -> None:
    source, target = rng.sample([*OPENING], 2)
    params = {"source": source, "target": target, "amount": rng.randrange(1, 100)}
    asked = Asked("transfer", {"key": client.new_key(), **params})
    for _ in range(rng.choice((1, 1, 2))):  # a third of them is asked for twice on purpose
        client.ask(asked)


def _look(client: Client, rng: random.Random) -> None:
    client.ask(Asked("balance", [rng.choice([*OPENING])]))


def _several(client: Client, rng: random.Random) -> None:
    numbers = [rng.randrange(100) for _ in range(5)]
    told = Asked("update", numbers, notification=True)
    client.batch_of([Asked("sum", [*numbers]), told, Asked("get_data", [])])

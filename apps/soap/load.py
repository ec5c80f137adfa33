"""Many clients at once, whose history the claims can judge: orders, quotes, sums."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.summary import Load, Threaded, crowd
from apps.soap.client import Client

ARTICLES = ("bolt", "nut", "washer", "gear")


async def measure(
    server: Address, events: Events, load: Load, operands: tuple[int, int] | None, **options: Any
) -> None:
    """Let a crowd of callers add two numbers, or make a mix of calls, and sum up.

    `options` are those of `Client`.
    """

    def connect(rng: random.Random) -> Threaded[Client]:
        return Threaded(Client(server, events, rng=rng, **options))

    async def ask(caller: Threaded[Client], rng: random.Random) -> None:
        client = caller.client
        await caller.run(partial(client.add, *operands) if operands else partial(_mix, client, rng))

    await crowd(events, connect, ask, load)


def _mix(client: Client, rng: random.Random) -> None:
    rng.choices((_order, _quote, _add), (7, 1, 2))[0](client, rng)


def _lines(rng: random.Random) -> list[dict[str, Any]]:
    chosen = rng.sample(ARTICLES, rng.randint(1, 3))
    return [{"article": article, "quantity": rng.randint(1, 99)} for article in chosen]


def _order(client: Client, rng: random.Random) -> None:
    key, lines = client.new_key(), _lines(rng)
    for _ in range(rng.choice((1, 1, 2))):  # a third of them is sent twice on purpose
        client.order("load", lines, key)


def _quote(client: Client, rng: random.Random) -> None:
    client.quote(_lines(rng))


def _add(client: Client, rng: random.Random) -> None:
    client.add(rng.randrange(1000), rng.randrange(1000))

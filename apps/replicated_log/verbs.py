"""What a person types, and what a load does, with a log."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from apps.kit.address import Address
from apps.kit.cli import Misspelt, split
from apps.kit.cli import converse as kit_converse
from apps.kit.events import Events
from apps.kit.summary import Load, Threaded, crowd
from apps.replicated_log.client import Log

USAGE = "append TEXT, read, health"


class Mix(NamedTuple):
    """What a load does."""

    w: str
    size: int
    reads: float
    first: int
    timeout: float


def do(log: Log, events: Events, words: list[str], w: str, first: int) -> None:
    """Do what was typed; Misspelt says how it should have been."""
    match words:
        case ["append", *texts] if texts:
            offset = log.append(" ".join(texts), w)
            events.say(f"at offset {offset}")
        case ["read"]:
            for offset, message in enumerate(log.read(first), first):
                events.say(f"{offset}  {message}")
        case ["health"]:
            events.say(json.dumps(log.health(), indent=1))
        case _:
            raise Misspelt(f"not understood: {' '.join(words)}; say one of: {USAGE}")


def converse(log: Log, events: Events, lines: Iterable[str], w: str, first: int) -> None:
    """Do line after line; what fails is said, and the next one comes."""
    events.say(USAGE)
    kit_converse(events, lines, lambda line: do(log, events, split(line), w, first))


async def measure(node: Address, events: Events, load: Load, mix: Mix) -> None:
    """Let a crowd of callers append, and read now and then, and sum up."""

    def connect(rng: random.Random) -> Threaded[Log]:
        return Threaded(Log(node, events, timeout=mix.timeout, rng=rng))

    async def ask(caller: Threaded[Log], rng: random.Random) -> None:
        if rng.random() < mix.reads:
            await caller.run(partial(caller.client.read, mix.first))
        else:
            text = events.operation().ljust(mix.size, ".")
            await caller.run(partial(caller.client.append, text, mix.w))

    await crowd(events, connect, ask, load)

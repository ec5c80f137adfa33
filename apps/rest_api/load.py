"""Many clients at once: a mix of reads and writes whose history the claims can judge."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Rejected
from apps.kit.summary import Load, Threaded, crowd
from apps.rest_api.client import Item, Items, content_of
from apps.rest_api.verbs import do


async def measure(
    server: Address, events: Events, load: Load, line: str | None, *, patience: float
) -> None:
    """Let a crowd of callers do what a line says, or a mix, and sum up.

    `patience` is seconds per operation.
    """

    def connect(rng: random.Random) -> _Caller:
        return _Caller(Items(server, events, timeout=patience, rng=rng), events)

    async def ask(caller: _Caller, rng: random.Random) -> None:
        await caller.run(
            (lambda: do(caller.client, events, line)) if line else partial(caller.work, rng)
        )

    await crowd(events, connect, ask, load)


NEAR = 8
"""Of the items that were made last, so many are visited."""


class _Caller(Threaded[Items]):
    """A client with items of its own."""

    def __init__(self, items: Items, events: Events) -> None:
        super().__init__(items)
        self._items = items
        self._events = events
        self._mine: set[int] = set()

    def work(self, rng: random.Random) -> None:
        """Do one thing: create, read, or change what this caller created."""
        if not self._mine or rng.random() < 0.3:
            self._create(rng)
            return
        item_id = rng.choice(sorted(self._mine))
        match rng.choices(("visit", "replace", "patch", "delete"), (4, 3, 3, 1))[0]:
            case "visit":
                self._visit(max(self._mine) - rng.randrange(NEAR))
            case "replace":
                old = content_of(self._seen(item_id))
                self._changed(item_id, lambda: self._items.replace(item_id, _changed(old, rng)))
            case "patch":
                patch = {"quantity": rng.randrange(1000), "note": rng.choice((None, "patched"))}
                self._changed(item_id, lambda: self._items.patch(item_id, patch))
            case "delete":
                self._changed(item_id, lambda: self._items.delete(item_id))
                self._mine.discard(item_id)

    def _visit(self, item_id: int) -> None:
        """Read an item that anyone may have made, on whatever host; perhaps there is none."""
        with suppress(Rejected):
            self._items.get(max(1, item_id))

    def _seen(self, item_id: int) -> Item:
        return self._items.seen.get(item_id) or self._items.get(item_id)

    def _create(self, rng: random.Random) -> None:
        key = self._events.operation()
        content = {"name": f"made by {key}", "quantity": rng.randrange(1000)}
        content |= {"labels": {"key": key}}
        for _ in range(rng.choice((1, 1, 2))):  # a third of the creations is sent twice on purpose
            self._mine.add(self._items.create(content, key)["id"])

    def _changed(self, item_id: int, change: Callable[[], object]) -> None:
        """Change an item; if that fails, whatever was known of it is known no longer."""
        try:
            change()
        except CallFailed as error:
            self._items.seen.pop(item_id, None)
            if isinstance(error, Rejected):  # perhaps a deletion without an answer had happened
                self._mine.discard(item_id)
            raise


def _changed(old: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    return {**old, "quantity": rng.randrange(1000), "note": f"replaced {rng.randrange(1000)}"}

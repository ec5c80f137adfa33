"""The search for a key: ask the nearest nodes known, which know nearer ones, until none is nearer.

The library's `SpiderCrawl` keeps whom to ask: alpha at a time, and all that are left once nothing
nearer comes. What is put right here:

- It asks in rounds, and a round lasts as long as its slowest answer: each node that is dead holds
  all others up until it is given up (no issue). Here there is always somebody being asked, and who
  is slow does not count as one of the alpha (the paper's section 2.3 leaves them out as well).
- It believes what it is told: ten thousand contacts, or a contact at no address (no issue).
- It goes on as long as somebody tells it of nearer nodes, which a liar can do for ever (no issue).
  Here it ends in time, and with what it has.
- `get` takes the first value that it meets, be it as old as it may (bmuller/kademlia issue 107).
  Here what all of the nearest keep is joined, which costs no further round: they are asked anyway.
- Who did not answer is forgotten. Here it is told, for "not found" and "not found, but three were
  silent" are two answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kademlia.crawling import SpiderCrawl
from kademlia.node import Node

from apps.kademlia import wire
from apps.kademlia.calls import ATTEMPTS, Answer
from apps.kademlia.core import Entries, Entry, joined, received
from apps.kademlia.protocol import Protocol
from apps.kademlia.wire import Malformed
from apps.kit.retry import Deadline

SLOW = ATTEMPTS[0]
"""Seconds after which somebody else is asked as well."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found."""

    nearest: list[Node]
    """The k nearest that answered, the nearest first."""
    silent: list[Node]
    """Who was asked and did not answer, or was not even asked in time."""
    kept: Mapping[bytes, Entries]
    """What each node that answered keeps of the key, by its id."""
    hops: int
    """How many nodes told of one another until one kept the key, or was the nearest of all."""
    seconds: float

    @property
    def entries(self) -> dict[str, Entry]:
        """What the copies come to."""
        return joined(self.kept.values())


class _Asked(NamedTuple):
    node: Node
    slow: Deadline
    """When it no longer counts as one of the alpha."""


class Lookup(SpiderCrawl):  # type: ignore[misc]  # the library has no types
    """One search."""

    def __init__(
        self, protocol: Protocol, target: Node, peers: list[Node], ksize: int, alpha: int
    ) -> None:
        """Search for the id of `target`, beginning with `peers`."""
        super().__init__(protocol, target, peers, ksize, alpha)
        self._depth = {node.id: 1 for node in peers}
        self._kept: dict[bytes, Entries] = {}
        self._answered: dict[bytes, Node] = {}
        self._silent: list[Node] = []
        self._asked: dict[asyncio.Task[Answer], _Asked] = {}
        self._width = alpha

    async def find(self, patience: float) -> Found:
        """Search until the nearest were all asked, or that took so many seconds."""
        deadline = Deadline(patience)
        began = time.perf_counter()
        try:
            while not deadline.passed and self._ask():
                pause = min(SLOW, deadline.remaining)
                await asyncio.wait(self._asked, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                self._learn()
        finally:
            for task in self._asked:
                task.cancel()
            await asyncio.gather(*self._asked, return_exceptions=True)
        nearest = [node for node in self.nearest if node.id in self._answered]
        unheard = [one.node for one in self._asked.values()]
        silent = [*self._silent, *unheard, *self.nearest.get_uncontacted()]
        hops = self._hops(nearest)
        return Found(nearest, silent, self._kept, hops, time.perf_counter() - began)

    def _ask(self) -> bool:
        """Ask the next ones; whether anybody is being asked now."""
        counting = sum(not one.slow.passed for one in self._asked.values())
        for node in self.nearest.get_uncontacted()[: max(0, self._width - counting)]:
            self.nearest.mark_contacted(node)
            task = asyncio.create_task(self.protocol.call_find(node, self.node))
            self._asked[task] = _Asked(node, Deadline(SLOW))
        return bool(self._asked)

    def _learn(self) -> None:
        """Take what was answered; once that is nothing nearer, all that are left are asked."""
        before = self.nearest.get_ids()
        for task in [task for task in self._asked if task.done()]:
            node = self._asked.pop(task).node
            answered, result = task.result()
            if not answered or not self._take(node, result):
                self.nearest.remove([node.id])
                self._silent.append(node)
            nearer = self.nearest.get_ids() != before
            self._width = self.alpha if nearer else self.ksize

    def _take(self, node: Node, result: object) -> bool:
        """Learn from an answer; False if it is none."""
        now = self.protocol.now()
        try:
            match result:
                case [id_, kept, near] if id_ == node.id:
                    entries = [received(entry, now) for entry in wire.entries(kept)]
                    contacts = wire.contacts(near)
                case _:
                    raise Malformed("find is answered with an id, entries and contacts")
        except Malformed:
            self.protocol.router.remove_contact(node)
            return False
        self._answered[node.id] = node
        self._kept[node.id] = {entry.name: entry for entry in entries}
        # Others still tell of nodes that did not answer us; `rejoin` finds out when they are back.
        known = {self.protocol.source_node.id, *(one.id for one in self.protocol.lapsed)}
        others = [one for one in contacts if one.id not in known]
        for one in others:
            self._depth.setdefault(one.id, self._depth[node.id] + 1)
        self.nearest.push(others)
        return True

    def _hops(self, nearest: list[Node]) -> int:
        having = [self._depth[id_] for id_, kept in self._kept.items() if kept]
        return min(having, default=self._depth[nearest[0].id] if nearest else 0)


async def lookup(protocol: Protocol, key: bytes, alpha: int, patience: float) -> Found:
    """Search for a key, for `patience` seconds at most."""
    target = Node(key)
    peers = protocol.router.find_neighbors(target)
    search = Lookup(protocol, target, peers, protocol.ksize, alpha)
    return await search.find(patience)

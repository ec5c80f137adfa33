"""A node's part in the hash table: join it, find, store, store again. No clients, no disk.

What is wrong in kademlia 2.2.3 (`kademlia/network.py`), and put right here by subclassing:

- `set` is meant to be True as soon as one node stored (bmuller/kademlia pull request 95 has the
  reasons), and it is True even if none did: what it looks at is a pair, whether a node answered and
  what, and a pair is never false. It does not count the node itself, which stores or not by a rule
  that fails while fewer than k are known; and where no node answers the search, it ends as a
  ValueError, for `max` of nothing. Here a set tells who keeps the value, and how many should.
- `bootstrap` tries once, and never again: parts of a network that have forgotten each other stay
  apart. Here `rejoin` asks after who is missing, for as long as they are.
- `refresh_table` starts its work in a task that nobody keeps, so an error ends it silently, and
  `stop` does not. What it stores again is new again, so nothing ever expires (issue 104), be it an
  older value than the others have (issue 107). Who is not among a key's nearest any longer keeps it
  for ever (issue 107: 34 nodes had what 20 should).
- A storage that is empty and has a length counts as none, and is replaced (no issue).
- `load_state` reads a pickle, which may run any code; `save_state` overwrites the file in place, so
  a crash leaves half of one; and one write that fails ends `save_state_regularly` for good. No
  issue. The state of a node is `node.py`'s concern.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kademlia.network import Server
from kademlia.node import Node
from kademlia.utils import digest

from apps.kademlia.core import PLAIN, Entry, Shelf, Value, joined, next_version
from apps.kademlia.lookup import Found, lookup
from apps.kademlia.protocol import Protocol
from apps.kit.address import Address
from apps.kit.events import Events

PATIENCE = 6.0
"""Seconds after which a search goes no further."""
AT_ONCE = 3
"""Of those that are missing, so many are asked after at once."""
RESTRAINT = 0.25
"""Who has been away for so long is asked after when this part of it has passed since the last time:
a short absence is noticed soon to be over, and a long one costs little."""
LOOKED_AT = 100
"""Keys of which it is seen at once whether this node should keep them."""
LONELY = 3600.0
"""Seconds without a search in a bucket after which it is refreshed (the paper's section 2.3)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of storing."""

    holders: list[Address]
    """Who keeps it now."""
    of: int
    """How many nodes should, of those that are known, the silent ones too."""
    silent: int
    """How many were asked to, and did not answer."""
    version: int

    def as_json(self) -> dict[str, Any]:
        """Give it as clients are told."""
        return {
            "stored": len(self.holders),
            "of": self.of,
            "silent": self.silent,
            "holders": list(map(str, self.holders)),
            "version": self.version,
        }


@dataclass(slots=True)
class Absence:
    """Somebody who is missing."""

    since: float
    asked: float
    """When we last asked after it."""

    def due(self, now: float) -> bool:
        """Whether it is time to ask again."""
        return now - self.asked >= RESTRAINT * (now - self.since)


class Dht(Server):  # type: ignore[misc]  # the library has no types
    """One node."""

    def __init__(
        self, events: Events, *, node_id: bytes | None = None, ksize: int = 20, alpha: int = 3
    ) -> None:
        """`node_id` is drawn if it is not given."""
        self.shelf = Shelf()
        super().__init__(ksize, alpha, node_id, self.shelf)
        self.events = events
        self._looked = 0
        self._absent: dict[Address, Absence] = {}
        self._searched: dict[bytes, object] = {}
        """Of keys that others should keep, who those were and what was kept when they were told."""

    def _create_protocol(self) -> Protocol:
        return Protocol(self.node, self.shelf, self.ksize, self.events)

    def refresh_table(self, interval: float = LONELY) -> None:
        """Do nothing when it begins to listen: who runs the node calls `refresh`, and waits."""

    async def close(self) -> None:
        """Leave without a word, as a node that crashes does."""
        await self.protocol.close()

    @property
    def address(self) -> Address:
        """Where it listens."""
        here: Address = self.protocol.here
        return here

    # Being one of them

    @property
    def contacts(self) -> list[Node]:
        """Whom it knows."""
        return list(self.protocol.router.contacts())

    async def join(self, addresses: Iterable[Address]) -> bool:
        """Become one of the nodes by way of these; whether any of them answered.

        Who is near us is found by a search for our own id, and told that we begin anew.
        """
        await asyncio.gather(*(self._meet(address) for address in addresses))
        if not self.contacts:
            return False
        found = await self.find(self.node.id)
        await asyncio.gather(*(self.protocol.ask(node, "join") for node in found.nearest))
        return True

    async def _meet(self, address: Address) -> bool:
        """Ask whoever is at an address who it is."""
        answered, id_ = await self.protocol.call(address, "ping")
        if answered and isinstance(id_, bytes) and len(id_) == 20:
            self.protocol.welcome_if_new(Node(id_, *address))
        return bool(answered)

    async def rejoin(self, wanted: Iterable[Address], rng: random.Random) -> bool:
        """Ask after some of those that are missing; whether any is back.

        Missing are those that are wanted in any case, and contacts that did not answer. The longer
        one has been away, the more seldom it is asked after.
        """
        here = {Address(node.ip, node.port) for node in self.contacts}
        lapsed = {Address(node.ip, node.port) for node in self.protocol.lapsed}
        missing = sorted(({*wanted, *lapsed} - here) - {self.address})
        now = self.protocol.now()
        self._absent = {one: self._absent.get(one) or Absence(now, now) for one in missing}
        due = [one for one, absence in self._absent.items() if absence.due(now)]
        asked = rng.sample(due, min(AT_ONCE, len(due)))
        for one in asked:
            self._absent[one].asked = now
        return any(await asyncio.gather(*map(self._meet, asked)))

    async def refresh(self, age: float) -> None:
        """Search in buckets in which nobody has searched for so many seconds."""
        for bucket in list(self.protocol.router.buckets):
            if bucket.last_updated < time.monotonic() - age:
                wanted = random.randint(*bucket.range).to_bytes(20, "big")
                await self.find(wanted)

    # Finding and storing

    async def find(self, key: bytes) -> Found:
        """Search for a key on all of its nearest nodes."""
        found = await lookup(self.protocol, key, self.alpha, PATIENCE)
        self.events.bounded(
            "lookup",
            key=key.hex(),
            hops=found.hops,
            answered=len(found.kept),
            silent=len(found.silent),
            ms=round(found.seconds * 1e3, 3),
        )
        return found

    async def get_entries(self, key: bytes) -> tuple[dict[str, Entry], Found]:
        """Give what is kept of a key, by this node too; who lacks a part of it is told."""
        found = await self.find(key)
        mine = self.shelf.get(self.protocol.now(), key)
        entries = joined([found.entries, mine])
        self._repair(key, entries, found)
        return entries, found

    async def put(
        self, key: bytes, name: str, value: Value | None, *, lease: float, copies: int, writer: str
    ) -> Stored:
        """Store an entry of a key, as a later version than all that its nodes have."""
        entries, found = await self.get_entries(key)
        now = self.protocol.now()
        version = next_version(entries, name, time.time())
        entry = Entry(name, version, writer, value, now + lease, min(copies, self.ksize))
        return await self.store(key, [entry], found)

    async def store(self, key: bytes, entries: Sequence[Entry], found: Found) -> Stored:
        """Store entries of a key on as many of the nearest nodes as they ask for."""
        copies = max(entry.copies for entry in entries)
        target = Node(key)
        keepers = sorted([*found.nearest, self.node], key=target.distance_to)[:copies]
        kept = await asyncio.gather(*(self._keep(node, key, entries) for node in keepers))
        holders = [self._where(n) for n, one in zip(keepers, kept, strict=True) if one]
        return Stored(
            holders,
            min(copies, len(self._known(found))),
            sum(one is None for one in kept),
            max(entry.version for entry in entries),
        )

    def _known(self, found: Found) -> set[bytes]:
        """Give the ids of all nodes that a search met or should have, and of this one."""
        return {n.id for n in found.nearest} | {self.node.id} | self.away(found)

    def away(self, found: Found) -> set[bytes]:
        """Give the ids of the nodes that a search had no answer of, or did not even ask."""
        return {node.id for node in [*found.silent, *self.protocol.lapsed]}

    async def _keep(self, node: Node, key: bytes, entries: Sequence[Entry]) -> bool | None:
        """Have a node keep entries; whether it keeps all of them, None if it does not answer."""
        if node.id == self.node.id:
            now = self.protocol.now()
            mine = [self.shelf.keep(now, key, entry) for entry in entries]
            return all(mine)
        answered, kept = await self.protocol.call_keep(node, key, entries)
        return (kept == [True] * len(entries)) if answered else None

    def _where(self, node: Node) -> Address:
        return self.address if node.id == self.node.id else Address(node.ip, node.port)

    def _repair(self, key: bytes, entries: dict[str, Entry], found: Found) -> None:
        """Bring what is missing, or old, to those of the nearest who should have it."""
        target, now = Node(key), self.protocol.now()
        mine = {self.node.id: self.shelf.get(now, key)}
        order: list[Node] = sorted([*found.nearest, self.node], key=target.distance_to)
        for place, node in enumerate(order):
            had = {**found.kept, **mine}[node.id]
            owed = [
                entry
                for name, entry in entries.items()
                if place < entry.copies and entry.supersedes(had.get(name))
            ]
            if owed:
                self.protocol.background(("repair", key, node.id), self._mend(node, key, owed))

    async def _mend(self, node: Node, key: bytes, owed: list[Entry]) -> None:
        kept = await self._keep(node, key, owed)
        where = str(self._where(node))
        self.events.bounded("repaired", peer=where, key=key.hex(), kept=bool(kept))

    async def settle(self) -> int:
        """Bring keys that others should keep to those; look at some of them, give how many.

        A value is stored on the nearest nodes that answer. One that was silent for a moment, or
        that nobody knew yet, does not get it; when it is there, searches end at it, and find
        nothing. So whoever was given a key and knows of nodes that are all nearer searches for it
        as well, and that repairs. The library, like the paper, waits for the next republishing.
        """
        keys = self.shelf.keys
        some = keys[self._looked : self._looked + LOOKED_AT]
        self._looked = self._looked + LOOKED_AT if len(some) == LOOKED_AT else 0
        self._searched = {key: said for key, said in self._searched.items() if key in self.shelf}
        count = 0
        for key in some:
            kept = self.shelf.get(self.protocol.now(), key)
            copies = max((entry.copies for entry in kept.values()), default=0)
            keepers = self.protocol.keepers(key, copies)
            said = {node.id for node in keepers}, {(e.name, e.version) for e in kept.values()}
            if kept and self.node not in keepers and self._searched.get(key) != said:
                self._searched[key] = said
                await self.get_entries(key)
                count += 1
        return count

    async def republish(self, age: float) -> int:
        """Store again what nobody has stored here for so many seconds; give how many keys.

        What has moved on to nodes that are nearer is kept here no longer.
        """
        due = self.shelf.due(self.protocol.now(), age)
        for key in due:
            entries, found = await self.get_entries(key)
            if not entries:
                continue
            stored = await self.store(key, list(entries.values()), found)
            if self.address not in stored.holders and len(stored.holders) >= stored.of:
                self.shelf.drop(key)
        return len(due)


def key_of(text: str) -> bytes:
    """Give the key of a value by its name, as the library does."""
    key: bytes = digest(text)
    return key


def topic_key(topic: str) -> bytes:
    """Give the key under which a topic's publishers are."""
    return key_of(f"topic {topic}")


def plain_of(entries: dict[str, Entry]) -> Entry | None:
    """Give a value's entry, if there is one that was not withdrawn."""
    entry = entries.get(PLAIN)
    return None if entry is None or entry.value is None else entry

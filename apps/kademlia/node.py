"""The node as a service: other nodes by UDP, clients by TCP on the same port, and a little disk.

A client asks any node (`requests.py`). It is no node itself: one that came for a question and left
would be in everybody's table as somebody who does not answer.

On its disk a node keeps its id, and whom it knew, so that it finds back when those that it was told
of are all away. The values are in memory alone: that they outlive a node is the others' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from apps.kademlia.core import standing
from apps.kademlia.dht import Dht, Stored, key_of, plain_of, topic_key
from apps.kademlia.lookup import Found
from apps.kademlia.requests import LONGEST_LINE, BadRequest, answer, complain, parse
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.framing import Lines
from apps.kit.lifecycle import running
from apps.kit.store import Store
from apps.kit.tcp import Answer, FramedServer, Limits

_KNEW = 20
"""Contacts that are kept on the disk."""
_SAVED_EVERY = 5.0
_FIRST_TRY = 2.0
"""Seconds that a node looks for others before it serves without."""


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What a node does without being asked; in seconds."""

    refresh: float = 3600.0
    """A part of the id space in which nobody has searched for so long is searched in."""
    young: float = 1.0
    """So soon after its beginning it searches in all parts, and then after twice as long each."""
    republish: float = 300.0
    """What nobody has stored here for so long is stored again on all its nodes."""
    settle: float = 1.0
    """It looks for keys that others should keep, some at a time."""
    rejoin: float = 0.5
    """Between two questions after nodes that are missing."""


class Alone(Exception):
    """None of the nodes that it was told of has answered yet."""


class KademliaNode:
    """An async context manager that is a node while it is entered."""

    def __init__(
        self,
        listen: Address,
        peers: Sequence[Address],
        events: Events,
        store: Store,
        *,
        ksize: int = 20,
        alpha: int = 3,
        habits: Habits | None = None,
    ) -> None:
        """`peers` are nodes by which it joins; without any other than itself it is the first."""
        self._listen = listen
        self._peers = peers
        self._events = events
        self._store = store
        self._habits = habits or Habits()
        self._rng = random.Random()
        known = store.values
        self._id = bytes.fromhex(known["id"]) if "id" in known else secrets.token_bytes(20)
        self._saved: Mapping[str, Any] = known
        self.dht = Dht(events, node_id=self._id, ksize=ksize, alpha=alpha)
        self._joined = False
        self._served = FramedServer(
            listen,
            self._session,
            events,
            framing=lambda: Lines(LONGEST_LINE),
            complain=complain,
            limits=Limits(idle=600.0, drain=1.0),
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            await self._open()
            opened.push_async_callback(self.dht.close)
            await self._save()
            with contextlib.suppress(TimeoutError):  # it serves, and goes on looking for others
                async with asyncio.timeout(_FIRST_TRY):
                    await self._join()
            await opened.enter_async_context(
                running(
                    self._keep_joined(),
                    self._keep_fresh(),
                    self._keep_settled(),
                    self._keep_stored(),
                    self._keep_saved(),
                )
            )
            await opened.enter_async_context(self._served)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._served.address

    async def _open(self) -> None:
        """Open the socket, and work out where the others are; OSError."""
        loop = asyncio.get_running_loop()

        async def resolved(address: Address) -> Address:
            found = await loop.getaddrinfo(*address, type=socket.SOCK_DGRAM)
            return Address(*found[0][4][:2])

        here = await resolved(self._listen)
        await self.dht.listen(here.port, here.host)
        told = [await resolved(peer) for peer in self._peers]
        self._wanted = [peer for peer in told if peer != self.dht.address]
        self._knew = [Address.parse(peer) for peer in self._saved.get("knew", ())]

    # What it does by itself

    async def _join(self) -> None:
        """Become one of the nodes; it is one already if it was told of no other."""
        if await self.dht.join([*self._wanted, *self._knew]) or not self._wanted:
            self._joined = True
            self._events.emit("joined", contacts=len(self.dht.contacts))

    async def _keep_joined(self) -> None:
        while True:
            await self._pause(self._habits.rejoin)
            if not self._joined:
                await self._join()
            elif await self.dht.rejoin(self._wanted, self._rng):
                await self.dht.find(self._id)

    async def _keep_fresh(self) -> None:
        """Look around in all parts of the id space, soon at first, and then ever more seldom.

        The paper has a node refresh its buckets when it has joined (section 2.3). Where many join
        at once, most are not there yet by then: a bucket that stays empty hides a part of the ids.
        """
        age = self._habits.young
        while age < self._habits.refresh:
            await self._pause(age)
            if self._joined:
                await self.dht.refresh(0.0)
            age *= 2
        while True:
            await self._pause(self._habits.refresh / 4)
            await self.dht.refresh(self._habits.refresh)

    async def _keep_settled(self) -> None:
        """Bring what others should keep to those."""
        while True:
            await self._pause(self._habits.settle)
            if count := await self.dht.settle():
                self._events.emit("settled", keys=count)

    async def _keep_stored(self) -> None:
        """Store again what nobody has stored here for long."""
        while True:
            await self._pause(self._habits.republish / 4)
            if count := await self.dht.republish(self._habits.republish):
                self._events.emit("republished", keys=count)

    async def _keep_saved(self) -> None:
        while True:
            await asyncio.sleep(_SAVED_EVERY)
            await self._save()

    async def _save(self) -> None:
        """Keep who it is and whom it knows, if that has changed; a disk may refuse it."""
        near = self.dht.protocol.router.find_neighbors(self.dht.node, k=_KNEW)
        knew = sorted(str(Address(node.ip, node.port)) for node in near)
        state = {"id": self._id.hex(), "knew": knew or self._saved.get("knew", [])}
        try:
            for key, value in state.items():
                if value != self._saved.get(key):
                    await asyncio.to_thread(self._store.put, key, value)
        except OSError as error:
            self._events.emit("unsaved", error=str(error))
        else:
            self._saved = state

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._rng.uniform(0.8, 1.2))

    # What it is asked

    def _session(self, _: str) -> Answer:
        return self._answer

    async def _answer(self, line: bytes) -> bytes:
        try:
            request = parse(line)
            return await self._do(request)
        except (BadRequest, Alone) as error:
            return complain(str(error))

    async def _do(self, request: dict[str, Any]) -> bytes:
        f = request["f"]
        if f == "status":
            return answer({"result": self._status()})
        if f == "holds":
            return answer({"result": self._holds(request["key"])})
        if not self._joined:
            raise Alone("this node has not found any other yet, so it knows nothing")
        if f == "get":
            return await self._get(request["key"])
        if f == "lookup":
            return await self._lookup(request["topic"])
        return _told(await self._store_for(request))

    def _status(self) -> dict[str, Any]:
        contacts = [str(Address(node.ip, node.port)) for node in self.dht.contacts]
        return {
            "node": self._events.node,
            "id": self._id.hex(),
            "address": str(self.dht.address),
            "joined": self._joined,
            "contacts": sorted(contacts),
            "keys": self.dht.shelf.count,
            "k": self.dht.ksize,
            "alpha": self.dht.alpha,
        }

    def _holds(self, key: str) -> dict[str, Any]:
        entry = plain_of(self.dht.shelf.get(self.dht.protocol.now(), key_of(key)))
        return {"value": entry and _shown(entry.value), "version": entry and entry.version}

    async def _get(self, key: str) -> bytes:
        entries, found = await self.dht.get_entries(key_of(key))
        entry = plain_of(entries)
        if entry is None:
            return self._not_found(found)
        told = {"value": _shown(entry.value), "version": entry.version}
        return answer({"result": told | _search(found)})

    def _not_found(self, found: Found) -> bytes:
        asked, away = len(found.kept) + 1, len(self.dht.away(found))
        if away:
            why = f"not found on {asked} nodes, but {away} do not answer, and may have it"
            return complain(why, "unknown")
        return complain(f"not found: none of {asked} nodes has it")

    async def _lookup(self, topic: str) -> bytes:
        entries, found = await self.dht.get_entries(topic_key(topic))
        now = self.dht.protocol.now()
        publishers = {
            name: {"address": entry.value, "lease": round(entry.expires - now, 3)}
            for name, entry in sorted(standing(entries).items())
        }
        return answer({"result": {"publishers": publishers} | _search(found)})

    async def _store_for(self, request: dict[str, Any]) -> Stored:
        """Store what a client wants: a value, where a publisher is, or that it is no longer."""
        f, writer = request["f"], self._events.node
        if f == "set":
            key, name, value = key_of(request["key"]), "", request["value"]
            lease, copies = request["ttl"], request["copies"]
        else:
            key, name = topic_key(request["topic"]), request["publisher"]
            value = request["address"] if f == "register" else None
            lease, copies = request["lease"], self.dht.ksize
        return await self.dht.put(key, name, value, lease=lease, copies=copies, writer=writer)


def _told(stored: Stored) -> bytes:
    if stored.holders:
        return answer({"result": stored.as_json()})
    known = "unknown" if stored.silent else "rejected"
    return complain(f"stored on none of {stored.of} nodes, of which {stored.silent} silent", known)


def _search(found: Found) -> dict[str, Any]:
    return {
        "asked": len(found.kept) + len(found.silent),
        "answered": len(found.kept),
        "hops": found.hops,
    }


def _shown(value: Any) -> Any:
    """Give a value as JSON has it: bytes, which only the library's own programs store, as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value

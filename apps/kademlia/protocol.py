"""What nodes ask of each other, what they learn from it, and whom they hand what.

What is wrong in kademlia 2.2.3 (`kademlia/protocol.py`), and put right here by subclassing:

- `welcome_if_new` hashes keys that are hashes already. So it compares the newcomer with ids that
  nobody stores under, and hands it what it should not have and not what it should. And while a node
  knows fewer than k others, it hands over nothing that is nearer to all of them, although all
  should keep it (the transfer came with pull request 3; no issue tells of this).
- One answer that is lost removes a contact (bmuller/kademlia issue 23). Here that takes three.
- Whoever sends one request is a contact, whatever id it claims. Here it is one when it has answered
  under that id (S/Kademlia has more; issue 10 is closed without it).
- A node that crashed, and begins anew under its old id, is not new to anybody: it is handed
  nothing. Here it says `join`. No issue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, ClassVar

from kademlia.node import Node
from kademlia.protocol import KademliaProtocol

from apps.kademlia import wire
from apps.kademlia.calls import Answer, Calls
from apps.kademlia.core import PLAIN, Entries, Entry, Shelf, received
from apps.kademlia.routing import Table
from apps.kit.address import Address
from apps.kit.events import Events

HANDERS = 2
"""Of the nodes that keep a key, so many of the nearest hand it to a newcomer."""
MOST_TASKS = 64
"""Newcomers that are asked who they are, contacts that are asked whether they are there."""
MOST_LAPSED = 200
FORGOTTEN = 3600.0
"""Seconds after which nobody asks after a contact any more that did not answer."""


class Protocol(Calls, KademliaProtocol):  # type: ignore[misc]  # the library has no types
    """One node's requests and answers."""

    requests: ClassVar = {
        "ping": 1, "stun": 0, "store": 3, "find_node": 2, "find_value": 2,
        "find": 2, "keep": 3, "join": 1,
    }  # fmt: skip

    def __init__(self, node: Node, shelf: Shelf, ksize: int, events: Events) -> None:
        """`node` is who we are; its address is known when the socket is open."""
        KademliaProtocol.__init__(self, node, shelf, ksize)
        Calls.__init__(self, node.id, events)
        self.router = Table(self, ksize, node)
        self.shelf = shelf
        self.ksize = ksize
        self._lapsed: dict[bytes, tuple[Node, float]] = {}
        self._tasks: dict[object, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """End what is under way."""
        self.transport.close()  # from now on nobody asks
        for task in (tasks := list(self._tasks.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Asking

    async def ask(self, node: Node, name: str, *arguments: Any) -> Answer:
        """Ask a contact; who does not answer is a contact no longer, who does is one now."""
        answer = await self.call(Address(node.ip, node.port), name, *arguments)
        self.handle_call_response(answer, node)
        return answer

    async def call_find_node(self, node_to_ask: Node, node_to_find: Node) -> Answer:
        """Ask who is near an id."""
        return await self.ask(node_to_ask, "find_node", node_to_find.id)

    async def call_find(self, node_to_ask: Node, node_to_find: Node) -> Answer:
        """Ask what is kept under a key, and who is near it."""
        return await self.ask(node_to_ask, "find", node_to_find.id)

    async def call_keep(self, node: Node, key: bytes, kept: Iterable[Entry]) -> Answer:
        """Ask a node to keep entries of a key."""
        return await self.ask(node, "keep", key, wire.listed(kept, self.now()))

    async def call_ping(self, node_to_ask: Node) -> Answer:
        """Ask a contact whether it is there; whoever is there instead is not it."""
        answered, id_ = await self.call(Address(node_to_ask.ip, node_to_ask.port), "ping")
        return self.handle_call_response((answered and id_ == node_to_ask.id, id_), node_to_ask)

    def handle_call_response(self, result: Answer, node: Node) -> Answer:
        """Learn from an answer, or from there being none."""
        if result[0]:
            self.welcome_if_new(node)
        else:
            if self.router.knows(node):
                self._lapse(node)
            self.router.remove_contact(node)
        return result

    @property
    def lapsed(self) -> list[Node]:
        """Give the contacts that did not answer, and may be back one day."""
        since = self.now() - FORGOTTEN
        self._lapsed = {id_: one for id_, one in self._lapsed.items() if one[1] > since}
        return [node for node, _ in self._lapsed.values()]

    def _lapse(self, node: Node) -> None:
        self._lapsed[node.id] = node, self.now()
        if len(self._lapsed) > MOST_LAPSED:
            del self._lapsed[next(iter(self._lapsed))]
        self._events.emit("lapsed", peer=f"{node.ip}:{node.port}")

    # Who is there

    def welcome_if_new(self, node: Node) -> None:
        """Take a node that answered for a contact, and hand it what it should keep if it is new.

        One that only was silent is not handed everything again: it has what it had, and gets and
        republishing bring it the rest. On a busy machine, where many are silent at times, all that
        handing over would keep it busy.
        """
        if node.id == self.source_node.id:
            return
        new = not self.router.knows(node)
        silent = any(other.id == node.id for other in self.lapsed)
        for other in self.lapsed:
            if other.id == node.id or other.same_home_as(node):
                del self._lapsed[other.id]
        self.router.add_contact(node)
        if new:
            self._events.emit("contact", peer=f"{node.ip}:{node.port}", id=node.id.hex())
        if new and not silent:
            self._hand_over(node)

    def check(self, node: Node) -> None:
        """See `apps.kademlia.routing.Checks`."""
        self.background(("check", node.id), self._check(node))

    async def _check(self, node: Node) -> None:
        await self.call_ping(node)

    def background(self, name: object, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for, once at a time by this name, and never too much."""
        if name in self._tasks or len(self._tasks) >= MOST_TASKS:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    def _greet(self, node: Node) -> None:
        """Learn of a node that asked us something: it is a contact when it answers as itself."""
        if node.id != self.source_node.id and not self.router.knows(node):
            self.background(("greet", node.id), self._greeted(node))

    async def _greeted(self, node: Node) -> None:
        answered, id_ = await self.call(Address(node.ip, node.port), "ping")
        if answered and id_ == node.id:
            self.welcome_if_new(node)

    # Handing over

    def keepers(self, key: bytes, copies: int, but: Node | None = None) -> list[Node]:
        """Give the nodes that should keep a key, as far as we know: the nearest first."""
        target = Node(key)
        known = [n for n in self.router.contacts() if but is None or n.id != but.id]
        nearest: list[Node] = sorted([self.source_node, *known], key=target.distance_to)
        return nearest[:copies]

    def _hand_over(self, node: Node) -> None:
        self.background(("hand over", node.id), self._handed_over(node))

    async def _handed_over(self, node: Node) -> None:
        """Have a newcomer keep what it should, of what is ours to hand over."""
        handed = 0
        for key, kept in list(self.shelf.items(self.now())):
            owed = [entry for entry in kept.values() if self._owes(key, entry.copies, node)]
            if owed:
                answered, _ = await self.call_keep(node, key, owed)
                if not answered:
                    break
                handed += 1
        if handed:
            self._events.emit("handed_over", peer=f"{node.ip}:{node.port}", keys=handed)

    def _owes(self, key: bytes, copies: int, node: Node) -> bool:
        """Whether a newcomer should keep a key, and we are one of those who hand it over."""
        others = self.keepers(key, copies, but=node)
        target = Node(key)
        near = len(others) < copies or node.distance_to(target) < others[-1].distance_to(target)
        return near and self.source_node in others[:HANDERS]

    # Being asked

    def _sender(self, sender: Address, id_: Any) -> Node:
        node = Node(wire.identity(id_), *sender)
        self._greet(node)
        return node

    def rpc_stun(self, sender: Address) -> list[Any]:
        """Say from where we are asked."""
        return list(sender)

    def rpc_ping(self, sender: Address, id_: Any) -> bytes:
        """Say who we are."""
        self._sender(sender, id_)
        mine: bytes = self.source_node.id
        return mine

    def rpc_join(self, sender: Address, id_: Any) -> bool:
        """Have a node begin anew: it is handed what it should keep as soon as it has answered."""
        node = self._sender(sender, id_)
        if self.router.knows(node):
            self._hand_over(node)
        return True

    def rpc_find_node(self, sender: Address, id_: Any, key: Any) -> list[Any]:
        """Tell who is near an id, as far as we know."""
        asker = self._sender(sender, id_)
        near = self.router.find_neighbors(Node(wire.identity(key)), exclude=asker)
        return wire.told(near)

    def rpc_find(self, sender: Address, id_: Any, key: Any) -> list[Any]:
        """Tell who we are, what we keep of a key, and who is near it."""
        near = self.rpc_find_node(sender, id_, key)
        kept = wire.listed(self.shelf.get(self.now(), key).values(), self.now())
        return [self.source_node.id, kept, near]

    def rpc_find_value(self, sender: Address, id_: Any, key: Any) -> Any:
        """Tell a program that uses the library alone the value, or who is near it."""
        near = self.rpc_find_node(sender, id_, key)
        entry = self._plain(self.shelf.get(self.now(), key))
        return near if entry is None else {"value": entry.value}

    def rpc_keep(self, sender: Address, id_: Any, key: Any, kept: Any) -> list[bool]:
        """Keep entries of a key; of each, whether it or a later one is kept."""
        self._sender(sender, id_)
        digest, now = wire.identity(key), self.now()
        return [self.shelf.keep(now, digest, received(entry, now)) for entry in wire.entries(kept)]

    def rpc_store(self, sender: Address, id_: Any, key: Any, value: Any) -> bool:
        """Keep a value of a program that uses the library alone.

        It comes without a version, so it cannot tell a set from an old copy that returns: it is
        taken where nothing with a version is kept.
        """
        self._sender(sender, id_)
        digest, now = wire.identity(key), self.now()
        known = self.shelf.get(now, digest).get(PLAIN)
        if known is not None and known.writer:
            return False
        version = 1 if known is None else known.version + 1
        expires = now + wire.LONGEST_LEASE
        entry = Entry(PLAIN, version, "", wire.plain(value), expires, self.ksize)
        return self.shelf.keep(now, digest, entry)

    @staticmethod
    def _plain(kept: Entries) -> Entry | None:
        entry = kept.get(PLAIN)
        return None if entry is None or entry.value is None else entry

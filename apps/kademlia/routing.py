"""The library's routing table, with its borders where they belong.

What is wrong in kademlia 2.2.3 (`kademlia/routing.py`), and put right here by subclassing:

- A bucket's range includes its last id, and the search for an id's bucket excludes it. An id on a
  border is put into one bucket by a split and sought in the next one: it is a new node for ever,
  and cannot be removed. If it is added again, two contacts have one id, and `find_neighbors` fails
  where it compares them. The whole range ends at 2**160, one past the last id, so a refresh may
  draw an id that has no 20 bytes. No issue upstream.
- A bucket's depth is that of the ids that happen to be in it, not of its range, so buckets that
  should be split are not, and others are (bmuller/kademlia issues 23 and 73).
- `find_neighbors` gives the first k that it meets in the order of buckets, not the nearest
  (issue 28, and pull request 52, which is open).
- A full bucket pings its oldest contact in a task that nobody keeps, one for each newcomer. It may
  be collected before it is done, and a flood of newcomers is a flood of pings. No issue.
- A node that comes back with another id stands beside what it was before: calls to its old id
  succeed, so that is never removed. And one that comes back at another address keeps its old one.
  Here a contact is one id and one address. No issue.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Protocol

from kademlia.node import Node
from kademlia.routing import KBucket, RoutingTable

ID_BITS = 160


class Checks(Protocol):
    """Whoever finds out whether a contact is still there."""

    def check(self, node: Node) -> None:
        """See whether it answers, in a while."""


class Bucket(KBucket):  # type: ignore[misc]  # the library has no types
    """The contacts whose ids begin with the same bits."""

    def split(self) -> tuple[Bucket, Bucket]:
        """Give two buckets of half the range each."""
        lower, upper = self.range
        middle = (lower + upper) // 2
        halves = Bucket(lower, middle, self.ksize), Bucket(middle + 1, upper, self.ksize)
        for node in [*self.nodes.values(), *self.replacement_nodes.values()]:
            halves[node.long_id > middle].add_node(node)
        return halves

    def depth(self) -> int:
        """Give how many first bits its range has in common."""
        lower, upper = self.range
        return ID_BITS - int(upper - lower).bit_length()

    def head(self) -> Node:
        """Give the contact that was heard of the longest ago."""
        return next(iter(self.nodes.values()))


class Table(RoutingTable):  # type: ignore[misc]  # the library has no types
    """The contacts of a node."""

    def __init__(self, checks: Checks, ksize: int, node: Node) -> None:
        """Of the node with this id, which is never among them."""
        super().__init__(checks, ksize, node)

    def flush(self) -> None:
        """Have no contacts."""
        self.buckets = [Bucket(0, 2**ID_BITS - 1, self.ksize)]

    def get_bucket_for(self, node: Node) -> int:
        """Give the number of the bucket that its id belongs to."""
        for index, bucket in enumerate(self.buckets):
            if node.long_id <= bucket.range[1]:
                return index
        raise ValueError(f"no id has more than {ID_BITS} bits")

    def add_contact(self, node: Node) -> None:
        """Take a node that was heard of; the one that was at its address before goes."""
        if node.id == self.node.id:
            return
        for other in self.contacts():
            if other.same_home_as(node) and other.id != node.id:
                self.remove_contact(other)
        while not self._room(node):
            self.split_bucket(self.get_bucket_for(node))

    def _room(self, node: Node) -> bool:
        """Put it into its bucket; False if that has to be split first."""
        bucket = self.buckets[self.get_bucket_for(node)]
        if bucket.add_node(node):
            return True
        # The paper's section 4.2: our own range is always split, others to every fifth bit.
        if bucket.has_in_range(self.node) or bucket.depth() % 5:
            return False
        self.protocol.check(bucket.head())
        return True

    def remove_contact(self, node: Node) -> None:
        """Have a node no longer."""
        self.buckets[self.get_bucket_for(node)].remove_node(node)

    def knows(self, node: Node) -> bool:
        """Whether this id is a contact, at this address."""
        known = self.buckets[self.get_bucket_for(node)][node.id]
        return known is not None and known.same_home_as(node)

    def contacts(self) -> Iterator[Node]:
        """Yield all; they may come and go meanwhile."""
        for bucket in list(self.buckets):
            yield from bucket.get_nodes()

    def find_neighbors(
        self, node: Node, k: int | None = None, exclude: Node | None = None
    ) -> list[Node]:
        """Give the k contacts that are nearest to an id, the nearest first."""
        self.buckets[self.get_bucket_for(node)].touch_last_updated()
        others = (
            other
            for other in self.contacts()
            if other.id != node.id and (exclude is None or not other.same_home_as(exclude))
        )
        return heapq.nsmallest(k or self.ksize, others, key=node.distance_to)

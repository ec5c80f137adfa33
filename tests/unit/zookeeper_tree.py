"""A tree of nodes in memory that participants of recipes share, and whose answers may be lost.

It is not ZooKeeper: the recipes meet that on the hosts. It is what cannot be brought about there at
will: an answer that is lost after the write was done, a session that is lost at a given moment.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

from kazoo.exceptions import (
    BadVersionError,
    KazooException,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
)

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Rejected, Unknown
from apps.kit.zookeeper import Read
from apps.zookeeper_recipes.participant import Participant, Told, number


class Tree:
    """Nodes by path; each has its data, its version, and the session that it goes with."""

    def __init__(self) -> None:
        self.nodes: dict[str, tuple[bytes, int, object]] = {}
        self.lock = threading.RLock()
        self._numbers: dict[str, int] = {}
        self._watches: dict[str, list[Callable[[], None]]] = {}

    def create(self, path: str, data: bytes, owner: object, *, sequence: bool) -> str:
        parent = path.rpartition("/")[0]
        if parent and parent not in self.nodes:
            self.create(parent, b"", None, sequence=False)
        if sequence:
            path += f"{self._numbers.get(parent, 0):010}"
            self._numbers[parent] = self._numbers.get(parent, 0) + 1
        if path in self.nodes:
            raise NodeExistsError
        self.nodes[path] = (data, 0, owner)
        self.changed(path)
        return path

    def delete(self, path: str) -> None:
        if path not in self.nodes:
            raise NoNodeError
        del self.nodes[path]
        self.changed(path)

    def write(self, path: str, data: bytes, version: int) -> int:
        if path not in self.nodes:
            raise NoNodeError
        _, known, owner = self.nodes[path]
        if version not in {-1, known}:
            raise BadVersionError
        self.nodes[path] = (data, known + 1, owner)
        self.changed(path)
        return known + 1

    def expire(self, owner: object) -> None:
        """Take all away that goes with a session."""
        with self.lock:
            for path in [p for p, (_, _, whose) in self.nodes.items() if whose is owner]:
                self.delete(path)

    def children(self, path: str) -> list[str]:
        below = f"{path}/"
        with self.lock:
            if path not in self.nodes:
                raise NoNodeError
            names = [other[len(below) :] for other in self.nodes if other.startswith(below)]
        return sorted(name for name in names if "/" not in name)

    def watched(self, path: str, told: Told) -> None:
        self._watches.setdefault(path, []).append(lambda: told("CHANGED"))

    def changed(self, path: str) -> None:
        for place in (path, path.rpartition("/")[0]):
            for told in self._watches.pop(place, []):
                told()


class Transaction:
    """What is added to it, done as one on a tree, or not at all."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._steps: list[Callable[[], Any]] = []

    def create(self, path: str, data: bytes, *, sequence: bool = False) -> None:
        self._steps.append(lambda: self._tree.create(path, data, None, sequence=sequence))

    def delete(self, path: str) -> None:
        self._steps.append(lambda: self._tree.delete(path))

    def set_data(self, path: str, data: bytes, version: int) -> None:
        self._steps.append(lambda: self._tree.write(path, data, version))

    def check(self, path: str, version: int) -> None:
        def step() -> None:
            if path not in self._tree.nodes:
                raise NoNodeError
            if self._tree.nodes[path][1] != version:
                raise BadVersionError

        self._steps.append(step)

    def commit(self) -> bool:
        before = dict(self._tree.nodes)
        try:
            for step in self._steps:
                step()
        except (NoNodeError, NodeExistsError, BadVersionError, RolledBackError):
            self._tree.nodes = before
            return False
        return True


class InMemory(Participant):
    """A participant on a tree; so many of its writes' answers are lost."""

    def __init__(
        self,
        tree: Tree,
        events: Events,
        *,
        lost: float = 0.0,
        seed: object = 0,
        patience: float = 9,
    ) -> None:
        super().__init__([Address("nowhere", 1)], events, patience=patience, session=4.0)
        self.tree = tree
        self._lost = lost
        self._rng = random.Random(f"{seed}")

    @property
    def id(self) -> str:
        return f"{id(self):#x}"

    def lose_session(self) -> None:
        """Have the session lost, and another one at once."""
        self._turned("lost")
        self.tree.expire(self)
        self._turned("connected")

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequence: bool = False
    ) -> str:
        owner = self if ephemeral else None
        return str(self._write(lambda: self.tree.create(path, data, owner, sequence=sequence)))

    def get(self, path: str) -> Read:
        with self.tree.lock:
            if path not in self.tree.nodes:
                raise Rejected("NoNode") from NoNodeError()
            data, version, _ = self.tree.nodes[path]
            return Read(data, version, 0)

    def look(self, path: str, told: Told) -> Read:
        with self.tree.lock:
            self.tree.watched(path, told)
            return self.get(path)

    def set(self, path: str, data: bytes, version: int = -1) -> int:
        return int(self._write(lambda: self.tree.write(path, data, version)))

    def delete(self, path: str, version: int = -1) -> None:  # noqa: ARG002
        self._write(lambda: self.tree.delete(path))

    def children(self, path: str) -> list[str]:
        return self.line(path)

    def line(self, parent: str, told: Told | None = None) -> list[str]:
        with self.tree.lock:
            if told is not None:
                self.tree.watched(parent, told)
            try:
                return sorted(self.tree.children(parent), key=number)
            except NoNodeError as error:
                raise Rejected("NoNode") from error

    def watch(self, path: str, told: Told) -> bool:
        with self.tree.lock:
            self.tree.watched(path, told)
            return path in self.tree.nodes

    def sync(self, path: str) -> None:
        pass

    def together(self, add: Callable[[Any], None]) -> bool:
        transaction = Transaction(self.tree)
        add(transaction)
        return bool(self._write(transaction.commit))

    def _write(self, do: Callable[[], Any]) -> Any:
        with self.tree.lock:
            fate = self._rng.random()
            if fate < self._lost / 2:
                raise Unknown("it was not done, and no answer came")
            try:
                done = do()
            except KazooException as error:
                raise Rejected(type(error).__name__) from error
            if fate < self._lost:
                raise Unknown("it was done, and no answer came")
            return done

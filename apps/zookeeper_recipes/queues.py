"""A queue with acknowledgement: what is taken is there until it is done, whoever dies meanwhile.

An item is a node with a number. Who takes it makes an ephemeral node of its name below `taken`:
there can be one. Who has done it deletes both in one transaction, which also asks that its own node
below `workers` is there: who lost its session, and with it what it had taken, acknowledges nothing.
Who dies before leaves the item, and the next one takes it.

So each item is done at least once, and acknowledged exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kazoo.exceptions import NodeExistsError, NoNodeError

from apps.kit.operation import Operation
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.retry import Deadline
from apps.zookeeper_recipes.participant import Participant, Told, because, fresh


class Item(NamedTuple):
    """What somebody took: the node's name, and what was put into it."""

    name: str
    value: str


class Queue:
    """The queue at a path."""

    def __init__(self, participant: Participant, path: str) -> None:
        """Nothing is asked yet."""
        self._participant = participant
        self._path = path
        self._items = f"{path}/items"
        self._taken = f"{path}/taken"
        self._workers = f"{path}/workers"
        self._worker = ""
        self._losses = 0
        self._doubtful: set[str] = set()
        """Items that may be ours, and were not given to who asked: an answer is missing."""

    def put(self, value: str) -> str:
        """Put it at the end; give its name. Unknown if no answer came: it may be there."""
        self._participant.ensure(self._items)
        with Operation(self._participant.events, "put", value, key=self._path) as operation:
            made = self._participant.create(f"{self._items}/item-", value.encode(), sequence=True)
            return operation.ok(made.rpartition("/")[2])

    def waiting(self) -> list[str]:
        """Give the names of the items that nobody has acknowledged."""
        self._participant.ensure(self._items)
        return self._participant.insist(lambda: self._participant.line(self._items))

    def take(self, stopped: Callable[[], bool] = lambda: False) -> Item | None:
        """Wait for an item that nobody has, and take it; None if we are stopped meanwhile."""
        for path in (self._items, self._taken):
            self._participant.ensure(path)
        if not self._worker or self._losses != self._participant.losses:
            self._losses = self._participant.losses
            self._worker = self._participant.enrol(self._workers, fresh("worker"))
        found: list[Item] = []

        def looked(told: Told) -> bool:
            if stopped():
                return True
            taken = set(self._participant.line(self._taken, told)) - self._doubtful
            for name in self._participant.line(self._items, told):
                if name not in taken and (item := self._take(name)) is not None:
                    found.append(item)
                    return True
            return False

        self._participant.until(looked, f"there is something to do at {self._path}")
        if not found:
            return None
        self._participant.events.emit("taken", item=found[0].name, path=self._path)
        return found[0]

    def acknowledge(self, item: Item) -> None:
        """Say that it is done; Refused if we had lost it meanwhile, and somebody else does it."""
        events = self._participant.events
        with Operation(events, "ack", item.value, key=self._path, item=item.name) as operation:
            if not self._finish(item):
                raise Refused("it was lost with our session: somebody else does it")
            operation.ok(None)

    def _take(self, name: str) -> Item | None:
        """Take an item; None if somebody else was quicker."""
        mine = f"{self._taken}/{name}"
        owner = self._worker.encode()
        self._doubtful.add(name)
        try:
            self._participant.create(mine, owner, ephemeral=True)
        except Rejected as error:
            if not because(error, NodeExistsError):
                raise
            if self._read(mine) != owner:
                self._doubtful.discard(name)
                return None
        value = self._read(f"{self._items}/{name}")  # may fail: then it is ours, and we ask again
        if value is None:
            self._participant.drop(mine)
        self._doubtful.discard(name)
        return None if value is None else Item(name, value.decode(errors="replace"))

    def _finish(self, item: Item) -> bool:
        """Take away item and claim; tell whether that was done. Unknown if nobody can tell."""

        def add(transaction: Any) -> None:
            transaction.check(f"{self._workers}/{self._worker}", 0)
            transaction.delete(f"{self._taken}/{item.name}")
            transaction.delete(f"{self._items}/{item.name}")

        worker = f"{self._workers}/{self._worker}"
        deadline = Deadline(self._participant.patience)
        doubtful = False
        try:
            while not deadline.passed:
                try:
                    done = self._participant.together(add)
                except Unknown:
                    doubtful = True
                    self._participant.insist(lambda: self._participant.sync(self._items))
                    continue
                if done or not doubtful:
                    return done
                # As long as our worker's node is there, nobody else could take the item away.
                if self._participant.insist(lambda: self._read(worker)) is not None:
                    return True
                break
        except Refused as error:
            if not doubtful:
                raise
            raise Unknown(str(error)) from error
        raise Unknown("no answer came while we had our session")

    def _read(self, path: str) -> bytes | None:
        try:
            return self._participant.get(path).data
        except Rejected as error:
            if not because(error, NoNodeError):
                raise
            return None

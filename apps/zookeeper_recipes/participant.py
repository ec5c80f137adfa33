"""What every recipe stands on: a session whose owner repeats what may be repeated, and waits.

Three things make a recipe right where a first attempt at it is not.

- An answer may be lost while what was asked for is done. What may be done twice is asked again
  (`insist`); a node with a number is made under a name of our own, and looked for (`enrol`).
- A watch tells once, and only that something changed. So who waits looks again, with a watch left
  behind, each time that it is told anything (`until`).
- A session that is `suspended` may be over for all that we know: others may be let in already. Who
  is inside of something stops to rely on it at once (`stay`), and asks again when it knows more.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, TypeAlias, TypeVar

from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Deadline
from apps.kit.zookeeper import Read, Session

T = TypeVar("T")
Told: TypeAlias = Callable[[str], None]
"""What a watch calls, once: something changed, or nobody knows."""

_ANSWER = 4.0
"""Seconds that one operation may take; what takes longer is asked again."""
_PAUSE = 0.1
"""Seconds before what failed is asked again."""


class Participant(Session):
    """A context manager: a session, as a recipe uses it. Every thread may.

    What it does raises Refused if it was in vain for `patience` seconds.
    """

    def __init__(
        self, servers: Sequence[Address], events: Events, *, patience: float, session: float
    ) -> None:
        """`session` is how long the ensemble waits for us, in seconds."""
        super().__init__(
            servers,
            events,
            timeout=min(_ANSWER, patience),
            session=session,
            changed=self._turned,
        )
        self.events = events
        self.patience = patience
        self.sure = True
        """Whether we are connected, hence have our session for sure."""
        self.losses = 0
        """How often our session was lost, with all its ephemeral nodes."""
        self._waiting: set[threading.Event] = set()

    def __enter__(self) -> Self:
        """Begin the session; Refused if no server that has a quorum answers for so long."""
        answer, self._timeout = self._timeout, self.patience
        try:
            return super().__enter__()
        finally:
            self._timeout = answer

    # Asking

    def insist(self, once: Callable[[], T], losses: int | None = None) -> T:
        """Do what may be done twice, until it is known to be done.

        With `losses`, as long as we have the session that we had after so many: what only who holds
        a lock may do must not be tried again when another may hold it.
        """
        deadline = Deadline(self.patience)
        while True:
            if losses is not None and not self.has(losses):
                raise Refused("our session is doubtful")
            try:
                return once()
            except (Refused, Unknown) as error:
                if deadline.passed:
                    raise Refused(f"in vain for {self.patience:g} s: {error}") from error
                self._wait(threading.Event(), min(_PAUSE, deadline.remaining))

    def ensure(self, path: str, data: bytes = b"") -> None:
        """Have a node, those above it too, whoever made it."""

        def once() -> None:
            try:
                self.create(path, data)
            except Rejected as error:
                if not because(error, NodeExistsError):
                    raise

        self.insist(once)

    def drop(self, path: str) -> None:
        """Have a node no longer, whoever took it away."""

        def once() -> None:
            try:
                self.delete(path)
            except Rejected as error:
                if not because(error, NoNodeError):
                    raise

        self.insist(once)

    def enrol(self, parent: str, own: str, data: bytes = b"") -> str:
        """Make an ephemeral node; give its name: `own`, which nobody else has (`fresh`), a number.

        If no answer came it may be there, hence the name of our own. It may even come later, twice:
        the first counts, and `withdraw` takes them all.
        """
        self.ensure(parent)

        def once() -> str:
            if found := self.own(parent, own):
                return found[0]
            path = self.create(f"{parent}/{own}", data, ephemeral=True, sequence=True)
            return path.rpartition("/")[2]

        return self.insist(once)

    def withdraw(self, parent: str, own: str) -> None:
        """Take away what `enrol` made, all of it."""
        for name in self.insist(lambda: self.own(parent, own)):
            self.drop(f"{parent}/{name}")

    def own(self, parent: str, prefix: str) -> list[str]:
        """Give the names below a node that begin so, in the order of their numbers."""
        self.sync(parent)
        return [name for name in self.line(parent) if name.startswith(prefix)]

    def line(self, parent: str, told: Told | None = None) -> list[str]:
        """Give the names below a node in the order of their numbers; `told` hears of a change."""

        def begin(client: Any) -> Any:
            watch = None if told is None else lambda event: told(event.type)
            return client.get_children_async(parent, watch)

        return sorted(self.ask(begin), key=number)

    def look(self, path: str, told: Told) -> Read:
        """Read a node; `told` hears of its next change."""

        def begin(client: Any) -> Any:
            return client.get_async(path, lambda event: told(event.type))

        data, stat = self.ask(begin)
        return Read(data, stat.version, stat.czxid)

    def together(self, add: Callable[[Any], None]) -> bool:
        """Do what is added to a transaction of kazoo's: all of it, or nothing; tell which."""

        def begin(client: Any) -> Any:
            transaction = client.transaction()
            add(transaction)
            return transaction.commit_async()

        return not any(isinstance(result, KazooException) for result in self.ask(begin))

    # Waiting

    def until(self, satisfied: Callable[[Told], bool], what: str) -> None:
        """Wait until it is so; asked again whenever a watch that was left with `told` tells."""
        deadline = Deadline(self.patience)
        while True:
            changed = threading.Event()
            if self.insist(partial(satisfied, partial(_set, changed))):
                return
            if deadline.passed:
                raise Refused(f"after {self.patience:g} s it is still not so that {what}")
            self._wait(changed, deadline.remaining)

    def stay(self, seconds: float) -> bool:
        """Wait for so long; False at once if we are not sure any longer to have our session."""
        deadline = Deadline(seconds)
        while self.sure and not deadline.passed:
            self._wait(threading.Event(), deadline.remaining)
        return self.sure

    def has(self, losses: int) -> bool:
        """Whether we are sure to have the session that we had after so many losses."""
        return self.sure and self.losses == losses

    def wake(self) -> None:
        """Have all who wait look again."""
        for waiting in tuple(self._waiting):
            waiting.set()

    def _wait(self, changed: threading.Event, seconds: float) -> None:
        """Wait for the event, or for a turn of the session."""
        self._waiting.add(changed)
        try:
            changed.wait(seconds)
        finally:
            self._waiting.discard(changed)

    def _turned(self, state: str) -> None:
        self.sure = state == "connected"
        self.losses += state == "lost"
        self.wake()


def fresh(kind: str) -> str:
    """Give the beginning of a node's name that nobody else has."""
    return f"{kind}-{secrets.token_hex(6)}-"


def number(name: str) -> tuple[int, str]:
    """Give what a name's place in line goes by: ZooKeeper ends it with ten digits."""
    digits = name[-10:]
    return int(digits) if digits.isdecimal() else -1, name


def because(error: CallFailed, kind: type[KazooException]) -> bool:
    """Tell whether a server said no for this reason."""
    return isinstance(error.__cause__, kind)


def _set(event: threading.Event, _kind: str) -> None:
    event.set()

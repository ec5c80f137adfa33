"""A session with a ZooKeeper ensemble, over kazoo, with our words for what is known.

A session outlives its connections: while it is `suspended` the ensemble may be there or not, and
only the ensemble says that it is `lost`, with all its ephemeral nodes; whoever was away hears of it
when it comes back (ZooKeeper, programmer's guide, "ZooKeeper Sessions"). Each turn is an event.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from kazoo.client import KazooClient
from kazoo.exceptions import (
    KazooException,
    NoNodeError,
    SessionExpiredError,
    SessionMovedError,
    ZookeeperError,
)
from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.protocol.states import KazooState, WatchedEvent
from kazoo.retry import KazooRetry

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.retry import Deadline

PORT = 2181
SERVER = "zookeeper_server"
"""The component whose group holds the ensemble."""
_ANSWER = -100
"""ZooKeeper's codes from here on downwards are a server's answers, those above are troubles."""
_NO_ANSWERS = (SessionExpiredError, SessionMovedError)
_STATES = {
    KazooState.CONNECTED: "connected",
    KazooState.SUSPENDED: "suspended",
    KazooState.LOST: "lost",
}


class Read(NamedTuple):
    """What was read of a node."""

    data: bytes
    version: int
    """How often its data was changed."""
    created: int
    """The number (zxid) of the transaction that made it: no two of an ensemble have one."""


class Session:
    """A context manager: a session while it is entered. Every thread may use it.

    Its operations raise Refused (no server could be asked), Rejected (a server said no) or Unknown.
    None is repeated here: whether that is safe, its caller knows.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        events: Events,
        *,
        timeout: float = 5.0,
        session: float = 4.0,
        changed: Callable[[str], None] | None = None,
    ) -> None:
        """`timeout` bounds an operation, `session` is how long the ensemble waits for us (seconds).

        `changed` is told each state, in a thread of kazoo's, where it must not wait.
        """
        self._servers = list(map(str, servers))
        self._events = events
        self._timeout = timeout
        self._changed = changed or (lambda _: None)
        self._connected = threading.Event()
        self._closing = False
        tries = {"max_tries": -1, "delay": 0.05, "max_delay": 0.5}
        self.client = KazooClient(
            hosts=",".join(self._servers),
            timeout=session,
            handler=_Handler(session / len(self._servers)),
            connection_retry=KazooRetry(**tries),
            command_retry=KazooRetry(**tries, deadline=timeout),
            logger=_silence(),
        )
        """Kazoo's own, for its recipes."""
        self.client.add_listener(self._listen)

    @property
    def id(self) -> str:
        """The session's number, as ZooKeeper's own tools write it."""
        known = self.client.client_id
        return f"{known[0]:#x}" if known and known[0] else ""

    def __enter__(self) -> Self:
        """Begin the session; Refused if no server that has a quorum answers in time."""
        self.client.start_async()
        if not self._connected.wait(self._timeout):
            self._close()
            raise Refused(self._nobody())
        return self

    def __exit__(self, *error: object) -> None:
        """End the session: its ephemeral nodes go."""
        self._close()

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequence: bool = False
    ) -> str:
        """Make a node, and those above it; give its path, with its number if it is to have one."""
        how = {"ephemeral": ephemeral, "sequence": sequence, "makepath": True}
        return str(self.ask(lambda client: client.create_async(path, data, **how)))

    def get(self, path: str) -> Read:
        """Read what the server that we are connected to has: it may be behind the others."""
        data, stat = self.ask(lambda client: client.get_async(path))
        return Read(data, stat.version, stat.czxid)

    def set(self, path: str, data: bytes, version: int = -1) -> int:
        """Write; give the version that this made. Rejected if `version` is not the current one."""
        stat = self.ask(lambda client: client.set_async(path, data, version))
        return int(stat.version)

    def delete(self, path: str, version: int = -1) -> None:
        """Take a node away."""
        self.ask(lambda client: client.delete_async(path, version))

    def clear(self, path: str) -> None:
        """Take a node away with all below it, or find that it is gone."""
        try:
            for name in self.children(path):
                self.clear(f"{path.rstrip('/')}/{name}")
            self.delete(path)
        except Rejected as error:
            if not isinstance(error.__cause__, NoNodeError):
                raise

    def children(self, path: str) -> list[str]:
        """Give the names below a node, sorted."""
        return sorted(self.ask(lambda client: client.get_children_async(path)))

    def watch(self, path: str, told: Callable[[str], None]) -> bool:
        """Tell whether a node is there; `told` hears once that it changed, or that we cannot know.

        It hears in a thread of kazoo's, where it must not wait.
        """

        def changed(event: WatchedEvent) -> None:
            told(event.type)

        return self.ask(lambda client: client.exists_async(path, changed)) is not None

    def sync(self, path: str) -> None:
        """Let our server catch up with the leader: what is read next is not older than now."""
        self.ask(lambda client: client.sync_async(path))

    def ask(self, begin: Callable[[KazooClient], Any]) -> Any:
        """Begin an operation of kazoo's and wait for its end, with our words for what failed."""
        deadline = Deadline(self._timeout)
        if not self._connected.wait(deadline.remaining):
            raise Refused(self._nobody())
        try:
            return begin(self.client).get(timeout=deadline.remaining)
        except KazooTimeoutError:
            raise Unknown("no answer in time; it may have been applied") from None
        except (ValueError, TypeError) as error:
            raise Rejected(f"this cannot be asked: {error}") from error
        except KazooException as error:
            raise _known(error) from error

    def _listen(self, state: str) -> None:
        if self._closing:
            return
        told = _STATES[state]
        self._events.emit("session", state=told, session=self.id)
        if told == "connected":
            self._connected.set()
        else:
            self._connected.clear()
        self._changed(told)

    def _close(self) -> None:
        self._closing = True
        self.client.stop()
        self.client.close()

    def _nobody(self) -> str:
        return f"no server with a quorum answered: {', '.join(self._servers)}"


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """Kazoo's threads, with a bound on each server: kazoo gives the first the session's whole time.

    A server without power would cost us the session.
    """

    def __init__(self, connecting: float) -> None:
        super().__init__()
        self._connecting = connecting

    def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        return super().create_connection(*args, **{**kwargs, "timeout": self._connecting})


def _known(error: KazooException) -> Rejected | Unknown:
    """Tell whether a server said no, or nobody knows."""
    name = type(error).__name__.removesuffix("Error")
    definite = isinstance(error, ZookeeperError) and error.code <= _ANSWER
    if definite and not isinstance(error, _NO_ANSWERS):
        return Rejected(f"{name}: {error}" if str(error) else name)
    return Unknown(f"{name}: it may have been applied")


def _silence() -> logging.Logger:
    """Give a logger that nobody hears: what it would say, events and outcomes do."""
    logger = logging.getLogger("distlab.kazoo")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger

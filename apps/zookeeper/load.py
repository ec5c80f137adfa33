"""Many sessions at once: nodes that are added, a register that is written and read.

Reads are without a sync, as most programs read. Each session has an ephemeral node, which is there
as long as it is.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import Rejected
from apps.kit.summary import Load, Threaded, crowd
from apps.kit.zookeeper import Session


async def measure(
    servers: Sequence[Address],
    events: Events,
    load: Load,
    below: str,
    *,
    writes: float,
    patience: float,
    session: float,
) -> None:
    """Let a crowd of sessions work below a path, and sum up; `writes` is the part that writes.

    `patience` bounds an operation, in seconds; `session` as `Session` has it.
    """

    def connect(_: random.Random) -> _Caller:
        return _Caller(Session(servers, events, timeout=patience, session=session), events, below)

    async def ask(caller: _Caller, rng: random.Random) -> None:
        what = caller.read if rng.random() >= writes else rng.choice((caller.write, caller.add))
        await caller.run(what)

    await crowd(events, connect, ask, load)


class _Caller(Threaded[Session]):
    """A session, and what it does; each operation tells which session it was."""

    def __init__(self, session: Session, events: Events, below: str) -> None:
        super().__init__(session)
        self._events = events
        self._log = f"{below}/log"
        self._register = f"{below}/register"
        self._alive = f"{below}/alive"

    async def __aenter__(self) -> _Caller:
        await super().__aenter__()
        await self.run(self._prepare)
        return self

    def add(self) -> None:
        """Add a node; ZooKeeper gives it a number, and which add made it stands in it."""
        with self._operation("add", self._log) as operation:
            data = operation.op.encode()
            operation.ok(self.client.create(f"{self._log}/entry-", data, sequence=True))

    def write(self) -> None:
        """Write the register, whatever its version."""
        with self._operation("write", self._register) as operation:
            operation.ok(self.client.set(self._register, operation.op.encode()))

    def read(self) -> None:
        """Read the register as our server has it."""
        with self._operation("read", self._register) as operation:
            operation.ok(self.client.get(self._register).version)

    def _operation(self, f: str, path: str) -> Operation:
        return Operation(self._events, f, None, key=path, session=self.client.id)

    def _prepare(self) -> None:
        self.client.create(f"{self._alive}/session-", ephemeral=True, sequence=True)
        for path in (self._log, self._register):
            try:
                self.client.create(path)
            except Rejected:
                continue  # another session was quicker

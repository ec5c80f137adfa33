"""A secondary's side of the log: it takes what follows what it has, and nothing else.

What it has is how the master's log begins, without a gap. An entry that comes again is known; one
that comes early is not kept, as the master will send it again; the next one is written, synced, and
then acknowledged, with all before it. While one write is synced, what comes gathers for the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from apps.kit.effects import Emit, Message, Send, SetTimer
from apps.replicated_log.effects import Effect, Log, Write
from apps.replicated_log.entries import Entry, size

SILENCE = 1.5
"""Seconds without a word of the master after which it is told what this node has."""
AGAIN = 0.2
"""Seconds between two requests to have what is missing sent again."""
GATHERED_MOST = 16 << 20
"""Bytes that wait for the disk; what comes beyond is not kept."""
WRITE_MOST = 1 << 20
"""Bytes of a write; it ends with the entry that reaches them."""


class Follower:
    """A secondary; see the module's docstring."""

    def __init__(self, master: str, log: Log) -> None:
        """`log` is what is on the disk."""
        self._master = master
        self._log = log
        self.identity = log.identity
        """The log that it follows; "" before the master has said which."""
        self.heard = float("-inf")
        """When the master last spoke."""
        self.full = False
        """Whether the disk had no room for what came last."""
        self._durable = log.length
        self._writing: tuple[Entry, ...] = ()
        self._gathered: deque[Entry] = deque()
        self._bytes = 0
        self._asked = float("-inf")
        self._session = 0
        """What the master called the present session when it last spoke."""
        self._effects: list[Effect] = []

    def start(self, now: float) -> list[Effect]:
        """Begin by telling the master what is here."""
        return self.timer(now, "silence")

    def timer(self, now: float, name: str) -> list[Effect]:
        """Say what is here, if the master is silent."""
        del name
        if now - self.heard > SILENCE:
            self._tell("follow")
        self._effects.append(SetTimer("silence", SILENCE / 2))
        return self._finish()

    def receive(self, now: float, sender: str, message: Message) -> list[Effect]:
        """Take what the master sends; without entries it is a heartbeat."""
        if sender != self._master or message["kind"] != "append":
            error = f"{message['kind']} of {sender} is not for a secondary"
            return [Emit("malformed", {"peer": sender, "error": error})]
        if self.identity not in ("", message["log"]):
            if now - self._asked > SILENCE:
                self._asked = now
                self._tell("follow")
                self._effects.append(Emit("foreign", {"peer": sender, "log": message["log"]}))
            return self._finish()
        self.heard = now
        self.identity = message["log"]
        self._session = message["session"]
        self._take(now, message["first"], message["entries"])
        return self._finish()

    def written(self, now: float) -> list[Effect]:
        """Acknowledge what is on the disk now."""
        del now
        first = self._durable
        self._durable += len(self._writing)
        self._writing = ()
        self.full = False
        self._effects.append(Emit("stored", {"first": first, "length": self._durable}))
        self._tell("stored")
        self._write_next()
        return self._finish()

    def refused(self, now: float) -> list[Effect]:
        """Keep nothing of what the disk has no room for; it will be sent again."""
        del now
        self._writing = ()
        self._gathered.clear()
        self._bytes = 0
        if not self.full:
            self._effects.append(Emit("disk_full", {"length": self._durable}))
        self.full = True
        return self._finish()

    def _take(self, now: float, first: int, entries: Sequence[Entry]) -> None:
        """Have what is new of these entries written."""
        have = self._durable + len(self._writing) + len(self._gathered)
        if first > have and now - self._asked > AGAIN:
            self._asked = now
            self._effects.append(Emit("gap", {"have": have, "first": first}))
            self._tell("follow")
        new = entries[have - first :] if first <= have else ()
        if first <= have and not new:
            self._tell("stored")  # to a heartbeat, or what was said of these entries was lost
        elif self._bytes < GATHERED_MOST:
            self._gathered.extend(new)
            self._bytes += sum(map(size, new))
            self._write_next()

    def _write_next(self) -> None:
        if self._writing or not self._gathered:
            return
        batch, length = [], 0
        while self._gathered and length < WRITE_MOST:
            batch.append(self._gathered.popleft())
            length += size(batch[-1])
        self._bytes -= length
        self._writing = tuple(batch)
        self._effects.append(Write(self.identity, self._writing))

    def _tell(self, kind: str) -> None:
        message = {"kind": kind, "log": self._log.identity, "session": self._session}
        self._effects.append(Send(self._master, {**message, "length": self._durable}))

    def _finish(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

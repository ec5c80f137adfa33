"""The master's side of the log, as a pure state machine.

The problem: a message that was acknowledged must not be lost, whichever hosts die, and every node
must show the same messages in the same order.

The rule: an offset has one content for ever. One node, the master, gives out the offsets. It hands
an entry to others only after the entry is synced on its own disk, and whoever acknowledges one has
it, and all before it, on a disk of its own. From that all else follows:

- Every node's log is a prefix of the master's, at any time, over any crash: no node can have what
  the master may forget. (Raft's leader may be overtaken, and needs terms and a check of the entry
  before to find that out and cut the others back; Ongaro and Ousterhout 2014, section 5.3. With
  one master for ever there is nothing to overtake it, and with this order nothing to cut.)
- Messages between the nodes may be lost, doubled, late, or from an earlier life of their sender: a
  copy of an entry is the same entry, and an acknowledged length stays acknowledged. But a secondary
  may return with a new disk. So each time that one begins anew, a session with it does: only what
  it says since then counts, and if its log is shorter, nothing of what it said before does.
- A message is acknowledged once w disks have it, the master's among them: it survives the loss of
  any w - 1 of those.

The price: the master's disk and a secondary's are synced one after the other, not at the same time
as a Raft leader may (Ongaro's thesis, section 10.2.1). That is one sync more for who waits for each
answer, and none for the rate: while the secondaries sync one batch the master syncs the next.

What it does not give: if the master is away, nothing is written; nobody takes its place. And a disk
that loses what it had synced breaks the rule. It is found out where a secondary has more than the
master: then nothing is written any more, until a person has looked.

Batches: while one write is synced, what comes gathers, and is one write next ("group commit"). The
first of many that come at once waits for the others, for no time but that of taking them.
Each secondary is sent batches in a pipeline, `Pace.pipeline` of them before the first is answered.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

from apps.kit.effects import Emit, Message, Reject, Reply, Send, SetTimer
from apps.replicated_log.clients import ClientTable, Outdated
from apps.replicated_log.effects import Effect, Log, Write
from apps.replicated_log.entries import Entry, size
from apps.replicated_log.peers import Pace, Secondary
from apps.replicated_log.requests import Asked, majority
from apps.replicated_log.stages import Stage


class Master:
    """The one that gives out offsets; see the module's docstring.

    To refuse, it says one of `read_only`, `busy`, `full`, `outdated` and `lost`.
    """

    def __init__(
        self,
        secondaries: Sequence[str],
        log: Log,
        clients: ClientTable,
        stage: Stage,
        *,
        rng: Random,
        pace: Pace | None = None,
    ) -> None:
        """`log` has an identity, and `clients` was told of all its entries."""
        self._log = log
        self._clients = clients
        self._stage = stage
        self._rng = rng
        self._pace = pace or Pace()
        self.secondaries = {
            name: Secondary(name, self._pace.first, self._session(), next=log.length)
            for name in secondaries
        }
        self.nodes = 1 + len(secondaries)
        self.lost = False
        """Whether a secondary has more than this node: then its disk has lost something."""
        self.read_only = False
        self._durable = log.length
        self._writing: tuple[Entry, ...] = ()
        self._gathered: deque[Entry] = deque()
        self._unwritten = ClientTable(sys.maxsize)
        """The requests that are not on the disk yet."""
        self._recent: tuple[int, tuple[Entry, ...]] = (self._durable, ())
        """The last write, which the secondaries are sent from memory."""
        self._soon = False
        """Whether the next write was asked for."""
        self._waiting: dict[int, list[tuple[int, int, str]]] = {}
        """By write concern, a heap of requests by their offsets; some may be forgotten already."""
        self._answers: dict[str, int] = {}
        """Requests that wait, and their offsets."""
        self._numbers = itertools.count()
        self._effects: list[Effect] = []

    @property
    def state(self) -> str:
        """Whether it takes messages: `ok`, `read_only`, or `lost`."""
        return "lost" if self.lost else "read_only" if self.read_only else "ok"

    # What happens

    def start(self, now: float) -> list[Effect]:
        """Begin; the secondaries will say what they have."""
        self._look_around(now)
        return self._finish()

    def request(self, now: float, request: str, asked: Asked) -> list[Effect]:
        """Append a message; the answer comes when enough disks have it, or never."""
        del now
        entry, w = asked
        refusal = self._refusal()
        if refusal is not None:
            return [Reject(request, refusal)]
        try:
            offset = self._find(entry)
        except Outdated:
            return [Reject(request, "outdated")]
        if offset is None:
            offset = self._durable + len(self._writing) + len(self._gathered)
            self._gathered.append(entry)
            self._unwritten.add(offset, entry)
        self._answers[request] = offset
        heap = self._waiting.setdefault(w, [])
        heapq.heappush(heap, (offset, next(self._numbers), request))
        self._write_soon()
        self._acknowledge()
        return self._finish()

    def forget(self, request: str) -> None:
        """Wait no longer to answer a request; what it asked for goes on."""
        self._answers.pop(request, None)

    def written(self, now: float) -> list[Effect]:
        """Take note that what was to be written is on the disk."""
        first, entries = self._durable, self._writing
        for offset, entry in enumerate(entries, first):
            self._clients.add(offset, entry)
            self._unwritten.remove(entry)
        self._recent = (first, entries)
        self._durable += len(entries)
        self._writing = ()
        self._effects.append(Emit("stored", {"first": first, "length": self._durable}))
        self._write_soon()
        for secondary in self.secondaries.values():
            self._pump(now, secondary)
        self._acknowledge()
        return self._finish()

    def refused(self, now: float) -> list[Effect]:
        """Take note that the disk had no room: nothing of what waits for it will be written."""
        del now
        for request in [r for r, offset in self._answers.items() if offset >= self._durable]:
            self.forget(request)
            self._effects.append(Reject(request, "full"))
        self._writing = ()
        self._gathered.clear()
        self._unwritten = ClientTable(sys.maxsize)
        return self._finish()

    def receive(self, now: float, sender: str, message: Message) -> list[Effect]:
        """Take a secondary's word: what it has, or that it needs more."""
        secondary = self.secondaries.get(sender)
        kind = message["kind"]
        if secondary is None or kind not in ("stored", "follow"):
            return [Emit("malformed", {"peer": sender, "error": f"{kind} is not for a master"})]
        if message["log"] not in ("", self._log.identity):
            return self._foreign(secondary)
        if message["length"] > self._durable:
            self._has_more(secondary, message["length"])
            return self._finish()
        secondary.heard = now
        self._judge(now, secondary)
        if kind == "follow":
            self._begin_session(secondary, message["length"])
        elif message["session"] == secondary.session:
            self._took(now, secondary, message["length"])
        if not secondary.known or (kind == "follow" and self._stage.repeats):
            self._rewind(now, secondary, message["length"])
        secondary.known = True
        self._pump(now, secondary)
        self._acknowledge()
        self._watch()
        return self._finish()

    def timer(self, now: float, name: str) -> list[Effect]:
        """Write what has gathered; or send heartbeats, and again what was not acknowledged."""
        if name == "write":
            self._soon = False
            self._write_next()
        else:
            self._tidy()
            self._look_around(now)
        return self._finish()

    # Writing

    def _refusal(self) -> str | None:
        if self.lost:
            return "lost"
        if self.read_only:
            return "read_only"
        return "busy" if len(self._answers) >= self._pace.waiting else None

    def _find(self, entry: Entry) -> int | None:
        """Give where a request is already; None if it is new."""
        if not entry.client or not self._stage.recognises:
            return None
        under_way = self._unwritten.find(entry)
        return self._clients.find(entry) if under_way is None else under_way

    def _write_soon(self) -> None:
        """Have a write begin once all that has come by now was taken: it gathers for this one."""
        if self._gathered and not self._writing and not self._soon:
            self._soon = True
            self._effects.append(SetTimer("write", 0.0))

    def _write_next(self) -> None:
        if self._writing or not self._gathered:
            return
        batch, length = [], 0
        while self._gathered and length < self._pace.batch:
            batch.append(self._gathered.popleft())
            length += size(batch[-1])
        self._writing = tuple(batch)
        self._effects.append(Write(self._log.identity, self._writing))

    def _acknowledge(self) -> None:
        """Answer all whose entry is on as many disks as they asked for."""
        lengths = sorted((s.acked for s in self.secondaries.values()), reverse=True)
        for w, heap in self._waiting.items():
            safe = min([self._durable, *lengths[: w - 1]])
            while heap and heap[0][0] < safe:
                offset, _, request = heapq.heappop(heap)
                if self._answers.get(request) == offset:
                    del self._answers[request]
                    self._effects.append(Reply(request, {"offset": offset, "w": w}))

    def _tidy(self) -> None:
        """Keep no more of what was forgotten than of what waits."""
        if sum(map(len, self._waiting.values())) > 2 * len(self._answers):
            for heap in self._waiting.values():
                heap[:] = [waiting for waiting in heap if waiting[2] in self._answers]
                heapq.heapify(heap)

    # Replicating

    def _pump(self, now: float, secondary: Secondary) -> None:
        """Send a secondary what it lacks, as far as its pipeline has room."""
        while (
            secondary.known
            and secondary.next < self._durable
            and len(secondary.flying) < self._pace.pipeline
        ):
            if not secondary.flying:
                secondary.moved = now
            entries = self._entries(secondary.next)
            self._send(secondary, entries)
            secondary.next += len(entries)
            secondary.flying.append(secondary.next)

    def _entries(self, first: int) -> Sequence[Entry]:
        """Give a batch from an offset on: the last write if it is that one, else from the disk."""
        recent, entries = self._recent
        if first == recent and entries:
            return entries
        return self._log.read(first, 10_000, self._pace.batch)[: self._durable - first]

    def _send(self, secondary: Secondary, entries: Sequence[Entry]) -> None:
        message = {"kind": "append", "log": self._log.identity, "session": secondary.session}
        sent = {**message, "first": secondary.next, "entries": entries}
        self._effects.append(Send(secondary.name, sent))

    def _session(self) -> int:
        return self._rng.getrandbits(62)

    def _begin_session(self, secondary: Secondary, length: int) -> None:
        """Count what a secondary says from now on, and not what it said with another disk."""
        secondary.session = self._session()
        if length < secondary.acked:
            secondary.acked = 0

    def _took(self, now: float, secondary: Secondary, length: int) -> None:
        """Take note of what is on a secondary's disk; that never gets less in a session."""
        if length <= secondary.acked:
            return
        secondary.acked = length
        secondary.moved = now
        secondary.patience = self._pace.first
        secondary.next = max(secondary.next, length)
        while secondary.flying and secondary.flying[0] <= length:
            secondary.flying.popleft()

    def _rewind(self, now: float, secondary: Secondary, to: int) -> None:
        """Send again from an offset on; what is under way may be lost."""
        secondary.next = to
        secondary.flying.clear()
        secondary.moved = now

    # Watching

    def _look_around(self, now: float) -> None:
        for secondary in self.secondaries.values():
            self._judge(now, secondary)
            late = now - secondary.moved > secondary.patience
            if self._stage.repeats and secondary.flying and late and secondary.state != "unhealthy":
                secondary.patience = min(2 * secondary.patience, self._pace.longest)
                self._rewind(now, secondary, secondary.acked)
                self._pump(now, secondary)
            else:
                self._send(secondary, ())
        self._watch()
        self._effects.append(SetTimer("beat", self._pace.beat))

    def _judge(self, now: float, secondary: Secondary) -> None:
        """Say how a secondary is, by how long it has said nothing."""
        silence = now - secondary.heard
        state = "healthy"
        if silence > self._pace.suspected:
            state = "suspected" if silence <= self._pace.unhealthy else "unhealthy"
        if state != secondary.state:
            secondary.state = state
            self._effects.append(Emit("health", {"peer": secondary.name, "state": state}))

    def _watch(self) -> None:
        """Take messages only while a majority of the nodes is there."""
        there = 1 + sum(s.state != "unhealthy" for s in self.secondaries.values())
        read_only = self._stage.watches and there < majority(self.nodes)
        if read_only != self.read_only:
            self.read_only = read_only
            self._effects.append(Emit("read_only" if read_only else "writable", {"there": there}))

    def _foreign(self, secondary: Secondary) -> list[Effect]:
        told = f"{secondary.name} has another log: move its file away, and it gets this one"
        return [Emit("foreign", {"peer": secondary.name, "error": told})]

    def _has_more(self, secondary: Secondary, length: int) -> None:
        if not self.lost:
            lost: dict[str, Any] = {"peer": secondary.name, "theirs": length}
            self._effects.append(Emit("lost", {**lost, "ours": self._durable}))
        self.lost = True

    def _finish(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

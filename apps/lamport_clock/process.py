"""One process that stamps all it does, and speaks to its peers over reliable FIFO links.

This is the paper's system without the resource: a set of processes, each a sequence of events, that
send messages in order and without loss. `core` adds the mutual exclusion.

What the paper leaves out is that a process may crash and return. Two values are durable, each
written before anything is said that depends on it:
- `incarnation`: which life of the process this is. The links tell the lives apart by it.
- `ceiling`: no number above it was ever given. It is raised a block at a time, so most events cost
  no write, and a new life starts at the ceiling: the clock never goes back.
The vector is not durable. A new life is a process of its own in it (`n1.2` after `n1.1`): it cannot
have in its past what it has forgotten. A vector has one entry per life that was heard of, about 15
bytes in a message each: some thousand restarts fit, until all nodes were restarted.

The paper's events are emitted with their stamps: `start`, `say` (a message handed to the link) and
`hear` (the same message, by its `id`, taken from it), and what the owner adds. A `say` is emitted
before its message leaves, so what anyone heard, its sender recorded. `send` and `recv` are not the
paper's: they are the shell's record of the link's frames, repetitions and acknowledgements too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apps.kit.effects import Effect, Emit, Message, Persist
from apps.kit.link import BadFrame, Link, News, Pace, PeerUp
from apps.lamport_clock.clocks import LamportClock, VectorClock
from apps.lamport_clock.messages import BadMessage, Stamped

BLOCK = 1000
"""Clock numbers that one write of the ceiling makes usable."""


class Process:
    """The clocks, the links and the effects of one life of a process.

    Its owner adds effects with `do`, and takes all of them at the end of an input with `finish`.
    """

    def __init__(
        self, node: str, peers: Iterable[str], stored: Mapping[str, Any], pace: Pace | None
    ) -> None:
        """`peers` are the other nodes, all of them; `stored` is what an earlier life persisted."""
        self.node = node
        self.incarnation: int = stored.get("incarnation", 0) + 1
        self._ceiling: int = stored.get("ceiling", 0)
        self.clock = LamportClock(self._ceiling)
        self._vector = VectorClock(f"{node}.{self.incarnation}")
        self.links = {peer: Link(peer, self.incarnation, pace) for peer in sorted(peers)}
        self._joined = False
        self._effects: list[Effect] = []

    def begin(self) -> None:
        """Make this life's number durable, before it says anything."""
        self.do(Persist("incarnation", self.incarnation))

    def join(self) -> None:
        """Begin to speak to the peers."""
        self._joined = True
        self.event("start")
        for link in self.links.values():
            link.open()

    def event(self, event: str, **fields: Any) -> int:
        """Record an event of this process alone (IR1); return its number."""
        lamport = self.clock.tick()
        self._record(event, lamport, self._vector.tick(), fields)
        return lamport

    def say(self, peer: str, kind: str, **fields: Any) -> str:
        """Hand a stamped message to the link to a peer (IR2); return the message's id."""
        lamport, vector = self.clock.tick(), self._vector.tick()
        name = f"{self._vector.process}:{self._vector.count}"
        self._record("say", lamport, vector, {"id": name, "peer": peer, "kind": kind, **fields})
        stamps = {"kind": kind, "id": name, "lamport": lamport, "vector": vector}
        self.links[peer].send({**stamps, **fields})
        return name

    def receive(self, peer: str, frame: Message) -> list[PeerUp | Stamped]:
        """Take a frame; return the new lives and the messages that it brings, in order.

        The owner records each message with `hear` when it comes to it. Before `join`, and for what
        is malformed, nothing is brought; the latter is said so.
        """
        if peer not in self.links:
            self.note("refused", peer=peer, reason="not a peer of this process")
            return []
        if not self._joined:
            return []
        try:
            brought = self.links[peer].receive(frame)
        except BadFrame as error:
            self.note("refused", peer=peer, reason=str(error))
            return []
        return [news for item in brought if (news := self._understand(peer, item)) is not None]

    def hear(self, peer: str, message: Stamped) -> None:
        """Record that a message was received (IR2)."""
        lamport = self.clock.receive(message.lamport)
        fields = {"id": message.id, "peer": peer, "kind": message.kind, **message.told()}
        self._record("hear", lamport, self._vector.receive(message.vector), fields)

    def note(self, event: str, **fields: Any) -> None:
        """Emit what is no event of the paper's: it has no stamp."""
        self.do(Emit(event, {"incarnation": self.incarnation, **fields}))

    def do(self, effect: Effect) -> None:
        """Add an effect, after those that were added before."""
        self._effects.append(effect)

    def finish(self) -> list[Effect]:
        """Take all that was decided in this input, in order; what leaves the process comes last."""
        effects, self._effects = self._effects, []
        if self._joined:
            for link in self.links.values():
                effects += link.flush()
        return effects

    def _record(
        self, event: str, lamport: int, vector: Mapping[str, int], fields: Mapping[str, Any]
    ) -> None:
        if lamport > self._ceiling:
            self._ceiling = lamport + BLOCK
            self.do(Persist("ceiling", self._ceiling))
        self.note(event, lamport=lamport, vector=vector, **fields)

    def _understand(self, peer: str, news: News) -> PeerUp | Stamped | None:
        try:
            return news if isinstance(news, PeerUp) else Stamped.read(news.body)
        except BadMessage as error:
            self.note("refused", peer=peer, reason=str(error))
            return None

"""Pure cores in a simulated world: virtual time, a bad network, crashes, all from one seed.

The problem: the faults that break a protocol are rare and cannot be repeated on real hosts. Here
they are common, thousands of runs take seconds, and a seed brings a run back event for event.

The world: nodes run the cores of `apps.kit.effects`, unchanged. A message takes a random time, may
be lost or doubled, and overtakes others unless the wire is FIFO. Who reaches whom is any relation,
one-way too; a message is cut off if its way is closed when it leaves or when it would arrive. A
crash takes a node's memory, its timers and the outcome of its clients' requests, and leaves what it
persisted; it may fall between any two effects of one batch. Messages already on their way survive
the crash of their sender, and reach whichever life of the receiver they find. A paused node does
nothing: its timers, and all that comes to it, wait; when it goes on, what came is taken first, then
the timers that are late, as an event loop does it.

All that happens is in `trace`, as events of the live format with the virtual time as `t`: what a
core emits, and the `send` and `recv` of its messages, as `apps.kit.node` writes them on a host; for
clients `invoke`, then `ok`, `fail` (not applied: rejected, or the node was down) or `unknown` (it
crashed first, or the client gave up); and of the world `lost`, `crash`, `restart`, `pause`,
`resume`, `cut`, `heal`.

Rules that keep a run repeatable: one `random.Random` decides all, and nothing here or in a core may
depend on the order of a set of strings, on `id()`, or on the clock on the wall.

Source: the idea is FoundationDB's (Zhou et al., SIGMOD 2021, section 4, "Simulation").
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from apps.kit.claims import Event
from apps.kit.effects import (
    CancelTimer,
    Core,
    Effect,
    Effects,
    Emit,
    Message,
    Persist,
    Reject,
    Reply,
    Send,
    SetTimer,
)
from lab.simulator.clients import Clients, Outcome
from lab.simulator.network import Network, Way, Wire

Build: TypeAlias = Callable[[str, Mapping[str, Any], random.Random], Core]
"""Make the core of a node from its name, what it persisted, and a randomness of its own."""


class Simulation:
    """A world of nodes. Schedule what is to happen (`at`, `request`, `inject`), then `run`."""

    def __init__(
        self,
        nodes: Iterable[str],
        build: Build,
        *,
        seed: int,
        wire: Wire | None = None,
        wires: Mapping[Way, Wire] | None = None,
        pattern: str = "simulation",
        component: str = "node",
        encode: bool = True,
    ) -> None:
        """Start every node at time 0. `wires` are the ways that differ from `wire`.

        `encode` sends every message through JSON, as a network does: a core that shares an object
        with another, or sends what JSON cannot carry, is found out. It costs half of the speed.
        """
        self.nodes = tuple(nodes)
        self.rng = random.Random(seed)
        self.seed = seed
        self.now = 0.0
        self.trace: list[Event] = []
        self.disks: dict[str, dict[str, Any]] = {node: {} for node in self.nodes}
        self.full: set[str] = set()
        """The nodes whose disks have no room at the moment."""
        self._build = build
        self._network = Network(self.rng, wire or Wire(), wires or {})
        self._pattern = pattern
        self._component = component
        self._encode = encode
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = 0
        self._cores: dict[str, Core] = {}
        self._timers: dict[str, dict[str, int]] = {node: {} for node in self.nodes}
        self._doomed: dict[str, int] = {}
        self._waiting: dict[str, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {}
        """What waits for each node that is paused."""
        self._clients = Clients(self.record)
        for node in self.nodes:
            self.at(0.0, self._start, node)

    # Running

    def run(self, until: float) -> None:
        """Let happen all that happens up to this time, in seconds from the start."""
        agenda = self._agenda
        while agenda and agenda[0][0] <= until:
            self.now, _, act, arguments = heapq.heappop(agenda)
            act(*arguments)
        self.now = until

    def run_until(self, done: Callable[[], bool], deadline: float) -> bool:
        """Let things happen until `done`, or up to `deadline`; say whether it is done."""
        while not done():
            if not self._agenda or self._agenda[0][0] > deadline:
                self.now = deadline
                return done()
            self.now, _, act, arguments = heapq.heappop(self._agenda)
            act(*arguments)
        return True

    def at(self, time: float, act: Callable[..., None], *arguments: Any) -> None:
        """Do this at that time; what is scheduled first is done first."""
        self._numbers += 1
        heapq.heappush(self._agenda, (max(time, self.now), self._numbers, act, arguments))

    # Clients

    @property
    def open_requests(self) -> int:
        """How many requests were made and have no outcome yet."""
        return len(self._clients)

    def request(
        self,
        node: str,
        body: Message,
        *,
        after: float = 0.0,
        timeout: float | None = None,
        then: Callable[[Outcome], None] | None = None,
    ) -> str:
        """Ask a node `after` so many seconds; return the operation's id.

        `then` gets the outcome; it may schedule more. With `timeout` the client gives up after so
        many seconds; the node is not told.
        """
        self._numbers += 1
        op = f"op{self._numbers}"
        self.at(self.now + after, self._ask, op, node, body, timeout, then)
        return op

    # Faults

    def running(self, node: str) -> bool:
        """Whether the node is up."""
        return node in self._cores

    def crash(self, node: str, within: int | None = None) -> None:
        """Take the node down; `within`: in its next batch of effects, after so many of them."""
        if node not in self._cores:
            return
        if within is None:
            self._die(node)
        else:
            self._doomed[node] = within

    def restart(self, node: str, within: int | None = None) -> None:
        """Start the node from what it persisted, if it is down; `within` as in `crash`.

        In either case a crash that was to come, and has not, is called off.
        """
        self._doomed.pop(node, None)
        if node not in self._cores:
            if within is not None:
                self._doomed[node] = within
            self.record("restart", "world", node)
            self._start(node)

    def pause(self, node: str) -> None:
        """Hold the node up, if it runs."""
        if node in self._cores and node not in self._waiting:
            self._waiting[node] = []
            self.record("pause", "world", node)

    def resume(self, node: str) -> None:
        """Let the node go on, if it is paused: what came first, then its timers."""
        if node not in self._waiting:
            return
        self.record("resume", "world", node)
        late = self._waiting.pop(node)
        for act, arguments in sorted(late, key=lambda what: what[0] == self._fire):
            act(*arguments)

    def cut(self, ways: Iterable[Way]) -> None:
        """Close these ways, and open all others."""
        self._network.closed = frozenset(ways)
        self.record("cut", "world", "", ways=[list(way) for way in sorted(self._network.closed)])

    def worsen(self, wires: Mapping[Way, Wire]) -> None:
        """Have messages on these ways fare so, and on all others as in the beginning."""
        self._network.worse = wires

    def wire(self, way: Way) -> Wire:
        """Give how messages fared on a way in the beginning."""
        return self._network.wire(way)

    def heal(self) -> None:
        """Open all ways."""
        self._network.closed = frozenset()
        self.record("heal", "world", "")

    # What the nodes do

    def _start(self, node: str) -> None:
        own = random.Random(self.rng.getrandbits(32))
        self._cores[node] = core = self._build(node, dict(self.disks[node]), own)
        self._perform(node, core.start(self.now))

    def _perform(self, node: str, effects: Effects) -> None:
        """Do a batch in order; a doomed node gets part of the way."""
        doom = self._doomed.pop(node, None)
        try:
            for number, effect in enumerate(effects):
                if number == doom:
                    break
                if node in self.full and isinstance(effect, Persist):
                    self._refuse(node, effect)
                    break
                _DO[type(effect)](self, node, effect)
        except Exception as error:
            error.add_note(f"in the core of {node} at t={self.now:.6f}, seed {self.seed}")
            raise
        if doom is not None and node in self._cores:
            self._die(node, within=doom)

    def _emit(self, node: str, effect: Emit) -> None:
        self.record(effect.event, self._component, node, **effect.fields)

    def _set_timer(self, node: str, effect: SetTimer) -> None:
        self._numbers += 1
        self._timers[node][effect.name] = self._numbers
        self.at(self.now + effect.after, self._fire, node, effect.name, self._numbers)

    def _cancel_timer(self, node: str, effect: CancelTimer) -> None:
        self._timers[node].pop(effect.name, None)

    def _persist(self, node: str, effect: Persist) -> None:
        self.disks[node][effect.key] = json.loads(json.dumps(effect.value))

    def _reply(self, node: str, effect: Reply) -> None:
        self._clients.settle(effect.request, Outcome("ok", effect.result), node)

    def _reject(self, node: str, effect: Reject) -> None:
        self._clients.settle(effect.request, Outcome("fail", effect.reason), node)

    def _refuse(self, node: str, effect: Persist) -> None:
        """Have no room for what was to be kept: the core knows what to do then, or dies of it."""
        if effect.otherwise is None:
            self._die(node)
            return
        for instead in effect.otherwise:
            _DO[type(instead)](self, node, instead)

    def _die(self, node: str, within: int | None = None) -> None:
        del self._cores[node]
        self._timers[node] = {}
        self._waiting.pop(node, None)
        self.record("crash", "world", node, **({} if within is None else {"within": within}))
        self._clients.lose(node)

    def _fire(self, node: str, name: str, number: int) -> None:
        if self._timers[node].get(name) != number:
            return
        if node in self._waiting:
            self._waiting[node].append((self._fire, (node, name, number)))
            return
        del self._timers[node][name]
        self._perform(node, self._cores[node].timer(self.now, name))

    # The network

    def _send(self, sender: str, effect: Send) -> None:
        to, message = effect.to, effect.message
        if to not in self.disks:
            raise ValueError(f"{sender} sends to {to!r}, which is no node of this simulation")
        if self._encode:
            message = json.loads(json.dumps(message))
        self._numbers += 1
        name = f"{sender}:{self._numbers}"
        self.record("send", self._component, sender, id=name, peer=to, message=message)
        way = (sender, to)
        fate = self._network.carry(way, self.now)
        if isinstance(fate, str):
            self._lose(way, name, fate)
            return
        for arrival in fate:
            self.at(arrival, self._arrive, way, name, message)

    def _arrive(self, way: Way, name: str, message: Message) -> None:
        _, to = way
        if way in self._network.closed:
            self._lose(way, name, "cut")
        elif to not in self._cores:
            self._lose(way, name, "down")
        elif to in self._waiting:
            self._waiting[to].append((self._receive, (way, name, message)))
        else:
            self._receive(way, name, message)

    def _receive(self, way: Way, name: str, message: Message) -> None:
        sender, to = way
        core = self._cores.get(to)
        if core is None:  # it crashed over what had waited before this
            self._lose(way, name, "down")
            return
        self.record("recv", self._component, to, id=name, peer=sender)
        self._perform(to, core.receive(self.now, sender, message))

    def _lose(self, way: Way, name: str, why: str) -> None:
        self.record("lost", "world", way[0], id=name, peer=way[1], why=why)

    # Requests and the trace

    def _ask(
        self,
        op: str,
        node: str,
        body: Message,
        timeout: float | None,
        then: Callable[[Outcome], None] | None,
    ) -> None:
        self._clients.invoke(op, node, body, then)
        if node not in self._cores:
            self._clients.settle(op, Outcome("fail", "the node is down"))
            return
        if timeout is not None:
            gone = Outcome("unknown", "no answer in time")
            self.at(self.now + timeout, self._clients.settle, op, gone)
        if node in self._waiting:
            self._waiting[node].append((self._hand_over, (op, node, body)))
        else:
            self._hand_over(op, node, body)

    def _hand_over(self, op: str, node: str, body: Message) -> None:
        core = self._cores.get(node)
        if core is not None:
            self._perform(node, core.request(self.now, op, body))

    def record(self, event: str, component: str, node: str, **fields: Any) -> None:
        """Write an event into the trace."""
        self.trace.append(
            {
                "event": event,
                "pattern": self._pattern,
                "component": component,
                "node": node,
                "t": self.now,
                **fields,
            }
        )


_DO: Mapping[type[Effect], Callable[[Simulation, str, Any], None]] = {
    Send: Simulation._send,
    Emit: Simulation._emit,
    SetTimer: Simulation._set_timer,
    CancelTimer: Simulation._cancel_timer,
    Persist: Simulation._persist,
    Reply: Simulation._reply,
    Reject: Simulation._reject,
}
"""How an effect is done; by its type, for they are many."""

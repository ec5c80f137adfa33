"""The vocabulary between a pure protocol core and the shell that runs it.

A core is an object with no socket, no clock and no randomness of its own. Its shell tells it what
happened (a message arrived, a client asked, a timer fired), always with the time, and the core
answers with effects: what is to be done, in order. `apps.kit.node` does them over real sockets,
`lab.simulator` over a simulated network, so one core serves both.

Source: the pattern is etcd-io/raft's "Ready" and h11's sans-IO, in the field's words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

Message: TypeAlias = Mapping[str, Any]
"""What crosses the network: a JSON object with string keys."""


@dataclass(frozen=True, slots=True)
class Send:
    """Hand a message to the network; it may be lost, delayed, duplicated or reordered."""

    to: str
    message: Message


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer the client's request of this id: it succeeded, with this result."""

    request: str
    result: Message


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer the client's request of this id: it was refused and changed nothing."""

    request: str
    reason: str


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call `timer(name)` after so many seconds; a running timer of that name is replaced."""

    name: str
    after: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Forget the timer of this name, if it runs."""

    name: str


@dataclass(frozen=True, slots=True)
class Persist:
    """Make `key` durable with this JSON value before any later effect is done.

    `otherwise` is what to do instead of all later effects of this batch if there is no room for it.
    Only a core that has not yet taken the value for its own can go on then; without `otherwise` the
    process ends, and begins anew from what is durable.
    """

    key: str
    value: Any
    otherwise: tuple[Effect, ...] | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """Record an event: the log, the metric source and the evidence of a claim."""

    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)


Effect: TypeAlias = Send | Reply | Reject | SetTimer | CancelTimer | Persist | Emit
Effects: TypeAlias = Iterable[Effect]


class Core(Protocol):
    """A protocol as a state machine. Times are seconds of a clock that never goes back.

    A core gets what it persisted before (key to value) in its constructor, and is started once.
    After a crash a new core is built from the same durable values, and started again.
    """

    def start(self, now: float) -> Effects:
        """Begin; called once, before anything else."""

    def receive(self, now: float, sender: str, message: Message) -> Effects:
        """Take a message of a peer. Anything may arrive: a malformed one is ignored and said so."""

    def request(self, now: float, request: str, body: Message) -> Effects:
        """Take a client's request; it is answered, now or later, by one Reply or Reject."""

    def timer(self, now: float, name: str) -> Effects:
        """Take note that the timer of this name fired."""

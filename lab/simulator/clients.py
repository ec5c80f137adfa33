"""The clients of a simulation: what they asked, and what they know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from apps.kit.effects import Message


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a client's request; `value` is the result, or why there is none."""

    kind: Literal["ok", "fail", "unknown"]
    value: Any


@dataclass(frozen=True, slots=True)
class _Open:
    node: str
    f: str
    then: Callable[[Outcome], None] | None


class Clients:
    """The requests that have no outcome yet, by operation id."""

    def __init__(self, record: Callable[..., None]) -> None:
        """`record(event, component, node, **fields)` writes the history."""
        self._record = record
        self._open: dict[str, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def invoke(
        self, op: str, node: str, body: Message, then: Callable[[Outcome], None] | None
    ) -> None:
        """Record that a client asks a node; `then` gets the outcome."""
        f = str(body.get("f", ""))
        value = {key: value for key, value in body.items() if key != "f"}
        self._record("invoke", "client", node, op=op, f=f, value=value)
        self._open[op] = _Open(node, f, then)

    def settle(self, op: str, outcome: Outcome, node: str | None = None) -> None:
        """Record the outcome, given by `node`; it reaches nobody once the client gave up."""
        waits = self._open.get(op)
        if waits is None:
            return
        if node not in (None, waits.node):
            raise ValueError(f"{node} answers {op}, which was asked of {waits.node}")
        del self._open[op]
        self._record(outcome.kind, "client", waits.node, op=op, f=waits.f, value=outcome.value)
        if waits.then is not None:
            waits.then(outcome)

    def lose(self, node: str) -> None:
        """The node crashed: nobody knows what became of the requests that it had."""
        for op in [op for op, waits in self._open.items() if waits.node == node]:
            self.settle(op, Outcome("unknown", "the node crashed before it answered"))

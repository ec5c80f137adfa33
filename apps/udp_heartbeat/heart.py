"""The sender's side: numbered heartbeats of a numbered life.

The problem: a heartbeat that was delayed on its way must not count as a sign of life after newer
ones, nor after the process that sent it died and another took its place.

The rule: a heartbeat carries the sender's incarnation and its number in it. Each start of the
process is an incarnation above all before: above the durable one, and at least the start's time in
seconds, which outruns a sender that lost its disk. Only a pair above the highest seen is life.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apps.kit.effects import Effect, Effects, Emit, Message, Persist, Reject, Send, SetTimer

_BEAT = "beat"


class Heart:
    """Sends a heartbeat to each target every interval. See `apps.kit.effects.Core`."""

    def __init__(
        self,
        node: str,
        targets: Sequence[str],
        interval: float,
        durable: Mapping[str, Any],
        *,
        at_least: int = 0,
    ) -> None:
        """`interval` is in seconds; the incarnation is above the durable one and `at_least`."""
        self.incarnation = max(int(durable.get("incarnation", 0)) + 1, at_least)
        self._node = node
        self._targets = tuple(targets)
        self._interval = interval
        self._seq = 0
        self._due = 0.0

    def start(self, now: float) -> Effects:
        """Make the incarnation durable, and begin."""
        yield Persist("incarnation", self.incarnation)
        yield Emit("incarnation", {"incarnation": self.incarnation})
        self._due = now
        yield from self._beat(now)

    def receive(self, _now: float, _sender: str, _message: Message) -> Effects:
        """Nobody answers a heartbeat."""
        return ()

    def request(self, _now: float, request: str, _body: Message) -> Effects:
        """A sender has no clients."""
        return (Reject(request, "a sender answers nobody: ask the monitor"),)

    def timer(self, now: float, _name: str) -> Effects:
        """It is time for the next heartbeat."""
        return self._beat(now)

    def _beat(self, now: float) -> Iterator[Effect]:
        self._seq += 1
        beat = {"incarnation": self.incarnation, "seq": self._seq}
        for target in self._targets:
            yield Send(target, {"kind": "heartbeat", "node": self._node, **beat})
        self._due += self._interval
        if self._due <= now:  # the process was held up: what it left out is not made up for
            self._due = now + self._interval
        yield SetTimer(_BEAT, self._due - now)

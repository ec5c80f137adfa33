"""Structured events: one JSON object a line. The log, the metric source and the evidence at once.

A component writes them to standard output, which journald keeps. Events of messages (`send`,
`recv`) are bounded in rate, so that a flood of garbage cannot fill a disk: what is left out is
counted, and the count is an event itself.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import reprlib
import secrets
import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, TextIO

TRACE_RATE = 2000.0
"""Message events a second that a process writes in the long run."""
TRACE_BURST = 10000.0
"""Message events that it may write at once."""
TRACE_STRETCH = 0.1
"""Part of the burst that must be free again before it writes on, once it had to leave some out: so
what it writes under load are whole stretches, and not one event here and there."""


class Events:
    """Writes the events of one process. What JSON has no word for is written as text.

    `text` turns the events off and `say` on: what a person at a terminal wants to see. `only` names
    the events that are written; without it, all are.
    """

    def __init__(
        self,
        pattern: str,
        component: str,
        node: str,
        *,
        out: TextIO | None = None,
        text: bool = False,
        only: Collection[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`node` names the host (or the simulated process) in every event."""
        self._fixed = {"pattern": pattern, "component": component, "node": node}
        self._out = sys.stdout if out is None else out
        self._clock = clock
        self._budget = TRACE_BURST
        self._filled = clock()
        self._left_out = 0
        self._spent = False
        self._only = only
        self._run = secrets.token_hex(4)
        self._operations = itertools.count(1)
        self.text = text
        self.pattern = pattern
        self.component = component
        self.node = node

    def operation(self) -> str:
        """Give the id of a new operation: no other operation, of any run, has it."""
        return f"{self.node}-{self._run}:{next(self._operations)}"

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event, always."""
        if self._wants(event):
            now = self._clock()
            self._tell_left_out(now)
            self._write(event, now, fields)

    def send(self, message_id: str, peer: str, **fields: Any) -> None:
        """Record that a message left for `peer`."""
        self.bounded("send", id=message_id, peer=peer, **fields)

    def recv(self, message_id: str, peer: str, **fields: Any) -> None:
        """Record that a message of `peer` arrived."""
        self.bounded("recv", id=message_id, peer=peer, **fields)

    def say(self, line: str) -> None:
        """Tell a person, if one is listening; programs get the events instead."""
        if self.text:
            print(line, file=self._out, flush=True)

    def _wants(self, event: str) -> bool:
        return not self.text and (self._only is None or event in self._only)

    def bounded(self, event: str, **fields: Any) -> None:
        """Write an event that a peer can bring about at will: bounded in rate, the rest counted."""
        if not self._wants(event):
            return
        now = self._clock()
        refill = (now - self._filled) * TRACE_RATE
        if refill > 0:
            self._budget = min(TRACE_BURST, self._budget + refill)
        self._filled = now
        self._spent = self._budget < max(1.0, TRACE_STRETCH * TRACE_BURST * self._spent)
        if self._spent:
            self._left_out += 1
            return
        self._tell_left_out(now)
        self._budget -= 1
        self._write(event, now, fields)

    def _tell_left_out(self, now: float) -> None:
        if self._left_out:
            self._write("left_out", now, {"events": self._left_out})
            self._left_out = 0

    def _write(self, event: str, now: float, fields: Mapping[str, Any]) -> None:
        record = {"event": event, **self._fixed, "t": round(now, 6)}
        try:
            line = _json({**record, **fields})
        except (TypeError, ValueError, RecursionError):  # a tuple as key, NaN, a circle
            line = _json({**record, **{key: _sayable(value) for key, value in fields.items()}})
        # One write for a line: threads write at once, and lines must stay whole.
        self._out.write(f"{line}\n")
        self._out.flush()


# One for all: json.dumps makes another for each record.
_json = json.JSONEncoder(separators=(",", ":"), default=str, allow_nan=False).encode


def _sayable(value: Any) -> Any:
    """Give the value if JSON can say it, else a short text of it."""
    try:
        _json({"": value})
    except (TypeError, ValueError, RecursionError):
        with contextlib.suppress(ValueError):  # an integer of very many digits
            return reprlib.repr(value)
        return f"<{type(value).__name__}>"
    return value

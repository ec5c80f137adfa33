"""Structured events: one JSON object a line. The log, the metric source and the evidence at once.

A component writes them to standard output, which journald keeps. Events of messages (`send`,
`recv`) are bounded in rate, and so is all else that a peer can bring about, each kind for itself:
a flood of garbage cannot fill a disk, and no kind hides another. What is left out is counted, and
the count is an event itself. It stands before the next event of its kind, and before others, but
not before each of many.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import reprlib
import secrets
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TextIO

TRACE_BURST = 10000.0
"""Message events that a process may write at once."""
TRACE_RATE = TRACE_BURST / 30
"""Message events a second that it writes in the long run. Both are what journald takes of a service
by default (journald.conf(5)): a line costs it some 0.1 ms, more than most messages cost."""
TRACE_STRETCH = 0.1
"""Part of the burst that must be free again before it writes on, once it had to leave some out: so
what it writes under load are whole stretches, and not one event here and there."""
TOLD = 1.0
"""Seconds for which what was left out of one kind is not told again before an event of another."""
_MESSAGE = "message"
"""The kind of what is sent and received."""


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
        self._budgets: dict[str, _Budget] = {}
        self._only = only
        self._held = _Held()
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
        self._write_within(_MESSAGE, "send", {"id": message_id, "peer": peer, **fields})

    def recv(self, message_id: str, peer: str, **fields: Any) -> None:
        """Record that a message of `peer` arrived."""
        self._write_within(_MESSAGE, "recv", {"id": message_id, "peer": peer, **fields})

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Have what this thread tells meanwhile written at the end, as one, which costs less.

        It is not entered within itself.
        """
        if self._held.lines is not None:
            raise RuntimeError("what is told together is not told together once more")
        self._held.lines = []
        try:
            yield
        finally:
            lines, self._held.lines = self._held.lines, None
            if lines:
                self._put("".join(lines))

    def say(self, line: str) -> None:
        """Tell a person, if one is listening; programs get the events instead."""
        if self.text:
            print(line, file=self._out, flush=True)

    def _wants(self, event: str) -> bool:
        return not self.text and (self._only is None or event in self._only)

    def bounded(self, event: str, **fields: Any) -> None:
        """Write an event that a peer can bring about at will: so many of them, the rest counted."""
        self._write_within(event, event, fields)

    def _write_within(self, kind: str, event: str, fields: Mapping[str, Any]) -> None:
        if not self._wants(event):
            return
        now = self._clock()
        budget = self._budgets.get(kind) or self._budgets.setdefault(kind, _Budget(now))
        if budget.allows(now):
            self._tell_left_out(now, kind)
            self._write(event, now, fields)

    def _tell_left_out(self, now: float, before: str | None = None) -> None:
        """Tell what was left out, before an event of this kind, or one that is always written."""
        for kind, budget in list(self._budgets.items()):
            late = not 0 <= now - budget.told < TOLD
            if budget.left_out and (before in (None, kind) or late):
                self._write("left_out", now, {"events": budget.left_out, "of": kind})
                budget.left_out, budget.told = 0, now

    def _write(self, event: str, now: float, fields: Mapping[str, Any]) -> None:
        record = {"event": event, **self._fixed, "t": round(now, 6)}
        try:
            line = _json({**record, **fields})
        except (TypeError, ValueError, RecursionError):  # a tuple as key, NaN, a circle
            line = _json({**record, **{key: _sayable(value) for key, value in fields.items()}})
        if self._held.lines is None:
            self._put(f"{line}\n")
        else:
            self._held.lines.append(f"{line}\n")

    def _put(self, lines: str) -> None:
        """Write whole lines at once: other threads write, too."""
        self._out.write(lines)
        self._out.flush()


class _Budget:
    """How many events of a kind may be written."""

    def __init__(self, now: float) -> None:
        self.left_out = 0
        """Those that were not, and of which nobody was told yet."""
        self.told = float("-inf")
        """When that was last told."""
        self._free = TRACE_BURST
        self._filled = now
        self._spent = False

    def allows(self, now: float) -> bool:
        """Take one, if there is one."""
        refill = (now - self._filled) * TRACE_RATE
        if refill > 0:
            self._free = min(TRACE_BURST, self._free + refill)
        self._filled = now
        self._spent = self._free < max(1.0, TRACE_STRETCH * TRACE_BURST * self._spent)
        if self._spent:
            self.left_out += 1
        else:
            self._free -= 1
        return not self._spent


class _Held(threading.local):
    """What a thread tells together, if it does."""

    lines: list[str] | None = None


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

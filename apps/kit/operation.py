"""What a client does, recorded: `invoke`, and then what is known of its end.

How long it took, if it succeeded, is a sample as well (`apps.kit.metrics`).
"""

from __future__ import annotations

import time
from typing import Any, Self, TypeVar

from apps.kit.events import Events
from apps.kit.metrics import sample
from apps.kit.outcome import CallFailed

T = TypeVar("T")


class Operation:
    """A context manager: entering it is `invoke`; a failed call in it is `fail` or `unknown`."""

    def __init__(self, events: Events, f: str, value: Any, **fields: Any) -> None:
        """`f` is what is done, `value` what is given with it; `op` is its id, if it has one."""
        self._events = events
        self._value = value
        self.op = str(fields.pop("op", None) or events.operation())
        self._f = f
        self._fixed = {"op": self.op, "f": f, **fields}

    def __enter__(self) -> Self:
        self._events.emit("invoke", **self._fixed, value=self._value)
        self._began = time.perf_counter()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CallFailed):
            known = {"how": type(error).__name__.lower(), "error": str(error)}
            self._events.emit(error.event, **self._fixed, value=self._value, **known)

    def ok(self, value: T) -> T:
        """Record that it succeeded, and with what; give that."""
        sample(self._events, self._f, time.perf_counter() - self._began)
        self._events.emit("ok", **self._fixed, value=value)
        return value

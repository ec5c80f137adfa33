"""Conditions that come true, or do not."""

from __future__ import annotations

import time
from collections.abc import Callable

_POLL = 0.02


def becomes(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition holds; whether it does in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True

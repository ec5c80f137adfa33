"""A fault of a demo, from its injection to its end; see `apps.kit.demo.Injection`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from lab.faults.control import Injected


class Injection:
    """A fault that took."""

    def __init__(self, injected: Injected, seconds: float, healed: Callable[[float], None]) -> None:
        """`healed` is told once when it was over: when it was healed, or ended by itself."""
        self.fault = injected.fault
        self._injected = injected
        self._expires = time.time() + seconds
        self._healed = healed
        self._over = False
        self._lock = threading.Lock()

    def heal(self) -> None:
        """See `apps.kit.demo.Injection.heal`."""
        with self._lock:  # a schedule's thread heals, and so does the demo's end
            if self._over:
                return
            self._injected.heal()
            self._over = True
            self._healed(min(time.time(), self._expires))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()

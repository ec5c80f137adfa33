"""A schedule played beside a workload that is under way: each fault begins and ends at its time.

Each has a thread of its own, for faults overlap, and to cut a host's power takes longer than to
pause a unit. What is planned to come after another comes after it, on a slow machine too: it waits
until the other is really over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lab.errors import LabError
from lab.evidence.injection import Injection
from lab.faults.planned import Planned, Schedule


class Playing:
    """A schedule under way."""

    def __init__(self, schedule: Schedule, inject: Callable[[Planned, str], Injection]) -> None:
        """Begin now; `inject` is given what is planned, and the fault's id, such as `f1`."""
        self.failed: list[str] = []
        """What could not be injected, or healed, and why."""
        self.count = len(schedule.planned)
        self._inject = inject
        self._began = time.monotonic()
        self._last = max((plan.end for plan in schedule.planned), default=0.0)
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        for number, plan in enumerate(schedule.planned, 1):
            before = [
                thread
                for thread, other in zip(self._threads, schedule.planned, strict=False)
                if other.end <= plan.at
            ]
            play = (plan, f"f{number}", before)
            self._threads.append(threading.Thread(target=self._play, args=play, daemon=True))
        for thread in self._threads:
            thread.start()

    def wait(self, timeout: float) -> None:
        """Wait until all is over; LabError if that is not so `timeout` seconds after its time.

        A fault lasts from when it took, so one that is slow to inject ends later than planned.
        """
        self._join(self._last - self._elapsed() + timeout, "the schedule of faults is not over")

    def stop(self, timeout: float = 60.0) -> None:
        """Inject nothing more, and heal what is on; LabError if that takes too long."""
        self._stopped.set()
        self._join(timeout, "a fault is still being injected or healed")

    def _play(self, plan: Planned, id_: str, before: list[threading.Thread]) -> None:
        self._stopped.wait(max(0.0, plan.at - self._elapsed()))
        for thread in before:
            thread.join()
        if self._stopped.is_set():
            self.failed.append(f"{id_}, {plan.fault}: all was over before its time")
            return
        try:
            injection = self._inject(plan, id_)
            self._stopped.wait(plan.seconds)
            injection.heal()
        except Exception as error:  # whatever it is, the run has to hear of it
            self.failed.append(f"{id_}, {plan.fault}: {error}")

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _join(self, seconds: float, trouble: str) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise LabError(trouble, "fab heal ends every fault")

"""What is planned to befall the hosts: faults at their times."""

from __future__ import annotations

from dataclasses import dataclass

from apps.kit.faults import Fault


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault, and when it begins and ends."""

    at: float
    """Seconds from the begin of the workload."""
    seconds: float
    """How long it lasts; 0 if it is over at once."""
    fault: Fault

    @property
    def end(self) -> float:
        """When it is over."""
        return self.at + self.seconds


@dataclass(frozen=True, slots=True)
class Schedule:
    """What befalls whom while a workload goes on."""

    seed: int
    seconds: float
    """How long the workload goes on."""
    planned: tuple[Planned, ...]
    """In the order of their begin."""

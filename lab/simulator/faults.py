"""Faults as hosts know them, brought about in a simulation: one schedule plays in both.

The words are those of `apps.kit.faults`, a node is its host, and the trace tells of them as a run's
history does, by `inject` and `heal`. What a simulation cannot tell apart is the same here: a link's
corruption is loss, for checksums are below it; its reordering is a delay that varies. Clocks, disks
and connections are not simulated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from apps.kit.faults import Fault, Kill, Link, Partition, Pause, PowerOff
from lab.errors import LabError
from lab.faults import aims
from lab.faults.planned import Planned
from lab.simulator.network import Way, Wire
from lab.simulator.simulation import Simulation

AGAIN = 1.0
"""Seconds after which a killed component is started again: `RestartSec` of a unit."""
KNOWN = ("kill", "pause", "power_off", "partition", "link")
"""The words of faults that can be simulated."""
NAMES = tuple(name for name, word in aims.NAMES.items() if word in KNOWN)
"""What a nemesis can draw of them."""


class Lab:
    """What is wrong with the hosts of a simulation at the moment."""

    def __init__(self, simulation: Simulation) -> None:
        """Nothing is wrong."""
        self._simulation = simulation
        self._active: dict[str, Fault] = {}

    def schedule(self, planned: Iterable[Planned]) -> None:
        """Have all this befall the hosts; LabError if something of it cannot be simulated."""
        for number, plan in enumerate(planned, 1):
            if plan.fault.word not in KNOWN:
                raise LabError(
                    f"a simulation knows no {plan.fault.word}",
                    f"play it on hosts, or leave it at {', '.join(KNOWN)}",
                )
            self._simulation.at(plan.at, self._begin, f"f{number}", plan)
            if plan.fault.lasts:
                self._simulation.at(plan.end, self._end, f"f{number}")

    def _begin(self, id_: str, plan: Planned) -> None:
        simulation, fault = self._simulation, plan.fault
        told = {"fault": fault.as_json(), "hosts": list(fault.where()), "seconds": plan.seconds}
        simulation.record("inject", "lab", "lab", id=id_, **told)
        match fault:
            case Kill(host):
                simulation.crash(host)
                simulation.at(simulation.now + AGAIN, self._start, host)
            case PowerOff(host):
                simulation.crash(host)
            case Pause(host):
                simulation.pause(host)
        if fault.lasts:
            self._active[id_] = fault
            self._apply()

    def _end(self, id_: str) -> None:
        fault = self._active.pop(id_)
        match fault:
            case PowerOff(host):
                self._start(host)
            case Pause(host):
                self._simulation.resume(host)
        self._apply()
        self._simulation.record("heal", "lab", "lab", id=id_)

    def _start(self, host: str) -> None:
        if not any(isinstance(f, PowerOff) and f.host == host for f in self._active.values()):
            self._simulation.restart(host)

    def _apply(self) -> None:
        """Have the network be as all that is wrong makes it."""
        cuts = [fault.cut() for fault in self._active.values() if isinstance(fault, Partition)]
        self._simulation.cut(frozenset[Way]().union(*cuts))
        wires: dict[Way, Wire] = {}
        for fault in self._active.values():
            if isinstance(fault, Link):
                wires |= self._worse(fault)
        self._simulation.worsen(wires)

    def _worse(self, fault: Link) -> Mapping[Way, Wire]:
        """Give the wires that a link's fault leaves."""
        nodes = self._simulation.nodes
        ways = [(a, b) for a in fault.on for b in fault.to or nodes if a != b]
        return {way: _wire(fault, self._simulation.wire(way)) for way in ways}


def _wire(fault: Link, before: Wire) -> Wire:
    least, most = before.delay
    sooner = 0.0 if fault.reorder else fault.delay - fault.jitter
    return replace(
        before,
        delay=(least + sooner, most + fault.delay + fault.jitter),
        loss=1 - (1 - before.loss) * (1 - fault.loss) * (1 - fault.corrupt),
        duplicate=max(before.duplicate, fault.duplicate),
    )

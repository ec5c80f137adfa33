"""Faults in the hosts' words, in a simulation: they befall it, end, and stand in its history."""

from __future__ import annotations

import pytest

from apps.kit.faults import Clock, Fault, Kill, Link, Partition, Pause, PowerOff
from lab.errors import LabError
from lab.faults.planned import Planned
from lab.simulator.faults import AGAIN, Lab
from lab.simulator.network import Wire
from lab.simulator.simulation import Simulation
from tests.unit.test_simulator import events, heard, send, world


def play(*planned: Planned, seconds: float = 10.0) -> Simulation:
    """Send a number each second from a to b, while this befalls them."""
    simulation = world()
    send(simulation, 10)
    Lab(simulation).schedule(planned)
    simulation.run(seconds)
    return simulation


@pytest.mark.parametrize(
    ("fault", "arrived"),
    [
        (Kill("b", "any"), [0, 1, 2, 4, 5, 6, 7, 8, 9]),
        (PowerOff("b"), [0, 1, 2, 6, 7, 8, 9]),
        (Pause("b", "any"), list(range(10))),
        (Partition("mute", ("a", "b")), [0, 1, 2, 6, 7, 8, 9]),
        (Partition("deaf", ("a", "b")), list(range(10))),
        (Link(("a",), loss=1.0), [0, 1, 2, 6, 7, 8, 9]),
        (Link(("a",), ("b",), corrupt=1.0), [0, 1, 2, 6, 7, 8, 9]),
        (Link(("b",), loss=1.0), list(range(10))),
        (Link(("a",), duplicate=1.0), [0, 1, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9]),
    ],
    ids=str,
)
def test_each_kind_befalls_whom_it_should_and_ends(fault: Fault, arrived: list[int]) -> None:
    simulation = play(Planned(2.5, 3.0 if fault.lasts else 0.0, fault))
    assert heard(simulation) == arrived


def test_it_stands_in_the_history_as_in_a_runs() -> None:
    fault = Partition("halves", ("a", "b"))
    simulation = play(Planned(2.5, 3.0, fault), Planned(7.0, 0.0, Kill("b", "any")))
    cut, kill = events(simulation, "inject")
    assert cut["fault"] == fault.as_json()
    assert (cut["t"], cut["hosts"], cut["seconds"]) == (2.5, ["a", "b"], 3.0)
    assert [(e["id"], e["t"]) for e in events(simulation, "heal") if "id" in e] == [("f1", 5.5)]
    assert [e["t"] for e in events(simulation, "restart")] == [kill["t"] + AGAIN]


def test_faults_that_overlap_end_each_for_itself() -> None:
    simulation = play(
        Planned(0.5, 4.0, Partition("mute", ("a", "b"))),
        Planned(2.5, 4.0, Partition("isolate", ("a", "b"))),
        Planned(0.6, 8.0, PowerOff("b")),
        Planned(1.5, 0.0, Kill("b", "any")),
    )
    assert heard(simulation) == [0, 9], "nobody starts what has no power"


def test_a_delayed_packet_is_late_by_the_delay_and_the_jitter() -> None:
    simulation = world(wire=Wire(delay=(0.0, 0.0)))
    send(simulation, 5)
    Lab(simulation).schedule([Planned(0.5, 9.0, Link(("a",), delay=0.2, jitter=0.05))])
    simulation.run(10.0)
    times = [event["t"] - event["n"] for event in events(simulation, "heard")]
    assert times[0] == 0.0
    assert all(0.15 <= late <= 0.25 for late in times[1:])


def test_what_a_simulation_knows_not_is_refused() -> None:
    with pytest.raises(LabError, match="a simulation knows no clock"):
        play(Planned(1.0, 1.0, Clock("a", "any", offset=1.0)))

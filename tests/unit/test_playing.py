"""A schedule as it is played: each fault begins and ends, whatever becomes of the others."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from apps.kit.faults import Kill, Partition, PowerOff
from lab.errors import LabError
from lab.evidence.injection import Injection
from lab.evidence.playing import Playing
from lab.faults.control import Injected
from lab.faults.planned import Planned, Schedule

CUT = Partition("isolate", ("n1", "n2"))
OFF = PowerOff("n3")
KILL = Kill("n1", "tcp_echo_server")
LONG = 3600.0


class Hosts:
    """Hosts on which faults are noted and nothing is done."""

    def __init__(self) -> None:
        self.on: dict[str, Any] = {}
        self.seen: list[str] = []
        self.injected = threading.Event()

    def inject(self, plan: Planned, id_: str) -> Injection:
        self.on[id_] = plan.fault
        self.seen.append(id_)
        self.injected.set()
        injected = Injected(id_, plan.fault, {}, lambda: self.on.pop(id_))
        return Injection(injected, LONG, lambda _: None)


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


def schedule(*planned: Planned) -> Schedule:
    return Schedule(1, LONG, planned)


def test_all_are_injected_and_healed(hosts: Hosts) -> None:
    planned = (Planned(0.0, 0.05, CUT), Planned(0.02, 0.01, OFF), Planned(0.03, 0.0, KILL))
    playing = Playing(schedule(*planned), hosts.inject)
    playing.wait(10)
    assert sorted(hosts.seen) == ["f1", "f2", "f3"]
    assert hosts.on == {}
    assert playing.failed == []


def test_to_stop_heals_what_is_on_and_injects_nothing_more(hosts: Hosts) -> None:
    playing = Playing(schedule(Planned(0.0, LONG, CUT), Planned(LONG, 1.0, OFF)), hosts.inject)
    assert hosts.injected.wait(10)
    playing.stop(10)
    assert hosts.seen == ["f1"]
    assert hosts.on == {}
    assert playing.failed == [f"f2, {OFF}: all was over before its time"]


def test_to_wait_for_what_does_not_end_is_an_error(hosts: Hosts) -> None:
    release = threading.Event()

    def stuck(plan: Planned, id_: str) -> Injection:
        release.wait(10)
        return hosts.inject(plan, id_)

    playing = Playing(schedule(Planned(0.0, 0.0, KILL)), stuck)
    with pytest.raises(LabError, match="not over"):
        playing.wait(0.01)
    with pytest.raises(LabError, match="still being injected"):
        playing.stop(0.01)
    release.set()
    playing.stop(10)


@pytest.mark.parametrize("error", [LabError("lost n3", "see"), ValueError("a bug")])
def test_what_fails_is_told_and_stops_no_other(error: Exception, hosts: Hosts) -> None:
    def inject(plan: Planned, id_: str) -> Injection:
        if plan.fault == OFF:
            raise error
        return hosts.inject(plan, id_)

    playing = Playing(schedule(Planned(0.0, 0.01, OFF), Planned(0.01, 0.01, CUT)), inject)
    playing.wait(10)
    (failed,) = playing.failed
    assert failed.startswith("f1, power_off host=n3: ")
    assert str(error) in failed
    assert hosts.seen == ["f2"]


def test_an_injection_is_healed_once_by_whoever_comes_first() -> None:
    undone: list[int] = []
    told: list[float] = []
    injected = Injected("f1", CUT, {}, lambda: undone.append(1))
    with Injection(injected, LONG, told.append) as injection:
        injection.heal()
    assert (len(undone), len(told)) == (1, 1)


def test_what_comes_after_another_waits_until_that_is_over(hosts: Hosts) -> None:
    slow = threading.Event()

    def inject(plan: Planned, id_: str) -> Injection:
        if id_ == "f1":
            slow.wait(10)
        return hosts.inject(plan, id_)

    planned = (Planned(0.0, 0.01, CUT), Planned(0.0, LONG, OFF), Planned(0.02, 0.0, KILL))
    playing = Playing(schedule(*planned), inject)
    assert hosts.injected.wait(10)
    assert hosts.seen == ["f2"]
    slow.set()
    while len(hosts.seen) < 3:
        hosts.injected.wait(0.01)
    assert hosts.seen == ["f2", "f1", "f3"]
    playing.stop(10)
    assert playing.failed == []

"""Schedules and the nemesis that draws them: read, written, refused, and always the same."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.demo import Lab, Workload
from apps.kit.faults import (
    SHAPES,
    Clock,
    Disk,
    Fault,
    Kill,
    Link,
    Partition,
    Pause,
    PowerOff,
    Reset,
)
from lab.catalogue import select
from lab.errors import LabError
from lab.faults import nemesis, schedule
from lab.faults.aims import NAMES, Aims, aims_of, chosen
from lab.faults.planned import Planned, Schedule
from lab.hosts.inventory import Host, Inventory

NODES = ("hub", "n1", "n2", "n3", "n4")
SERVER = "tcp_echo_server"
BAD_ENTRIES = {
    "it is no mapping": "kill n1",
    "does not say when": {"fault": "kill", "host": "n1", "component": SERVER},
    "no such fault: 'flood'": {"at": "1s", "fault": "flood"},
    "no host or group 'n9'": {"at": "1s", "fault": "kill", "host": "n9", "component": SERVER},
    "is 2 hosts, and one is meant": {
        "at": "1s",
        "fault": "kill",
        "host": "tcp_echo_client",
        "component": SERVER,
    },
    "no component 'tcp_ekko'": {"at": 1, "fault": "kill", "host": "n1", "component": "tcp_ekko"},
    "not placed on n2": {"at": 1, "fault": "kill", "host": "n2", "component": SERVER},
    "missing 1 required": {"at": 1, "fault": "kill", "host": "n1"},
    "no shape": {"at": 1, "for": 1, "fault": "partition", "shape": "star", "hosts": "all"},
    "for how long": {"at": 1, "fault": "partition", "shape": "halves", "hosts": "all"},
    "over at once": {"at": 1, "for": 1, "fault": "reset", "host": "n1"},
    "lasts for no time": {"at": 1, "for": "0s", "fault": "power_off", "host": "n1"},
    "'soon' is not a time": {"at": "soon", "fault": "reset", "host": "n1"},
    "at cannot be -1": {"at": -1, "fault": "reset", "host": "n1"},
    "at cannot be nan": {"at": float("nan"), "fault": "reset", "host": "n1"},
    "at is no quantity": {"at": None, "fault": "reset", "host": "n1"},
    "'200%%' is not a part": {"at": 1, "for": 1, "fault": "link", "on": "n1", "loss": "200%%"},
    "loss is a part": {"at": 1, "for": 1, "fault": "link", "on": "n1", "loss": "200%"},
    "what it could aim at": {"at": 1, "for": 1, "fault": "random"},
}


def five_hosts() -> Inventory:
    """Five hosts; tcp_echo's server on n1, its clients on n2 and n3."""
    hosts = {
        name: Host(
            name=name,
            address=IPv4Address(f"198.18.9.{10 + number}"),
            login_host=name,
            user="lab",
            port=22,
            key=None,
            ssh_args=(),
            memory=None,
        )
        for number, name in enumerate(NODES)
    }
    groups = {
        "lab": NODES,
        "tcp_echo": ("n1", "n2", "n3"),
        SERVER: ("n1",),
        "tcp_echo_client": ("n2", "n3"),
    }
    return Inventory(
        path=Path("inventory"),
        lab="test",
        machines="nspawn",
        subnet=IPv4Network("198.18.9.0/24"),
        controller=IPv4Address("198.18.9.1"),
        directory=Path("lab"),
        hosts=hosts,
        groups=groups,
    )


@pytest.fixture
def inventory() -> Inventory:
    return five_hosts()


@pytest.fixture
def aims(inventory: Inventory) -> Aims:
    return aims_of(select("tcp_echo")[0], Workload(play, aims=(SERVER,)), inventory)


def play(lab: Lab, seconds: float) -> None:
    raise NotImplementedError


def written(*entries: Any, **more: Any) -> str:
    return yaml.safe_dump({"faults": list(entries), **more})


def test_a_schedule_is_read_as_people_write_it(inventory: Inventory) -> None:
    text = """
    seed: 7
    faults:
      - {at: 9s, fault: kill, host: n1, component: tcp_echo_server}
      - {at: 2s, for: 5s, fault: partition, shape: halves, hosts: [hub, tcp_echo]}
      - {at: 3, for: 500ms, fault: link, on: tcp_echo_client, delay: 50ms, jitter: 5ms, loss: 20%}
      - {at: 4s, for: 1s, fault: link, on: [n1], to: all, rate: 1mbit}
      - {at: 5s, for: 1s, fault: clock, host: tcp_echo_server, component: tcp_echo_server,
         offset: -2s}
      - {at: 6s, for: 1s, fault: disk, host: n1, component: tcp_echo_server, full: true, free: 4K}
    """
    read = schedule.load(text, "s.yml", inventory)
    assert read.seed == 7
    assert read.seconds == 9 + nemesis.RECOVERY
    assert read.planned == (
        Planned(2.0, 5.0, Partition("halves", ("hub", "n1", "n2", "n3"))),
        Planned(3.0, 0.5, Link(("n2", "n3"), delay=0.05, jitter=0.005, loss=0.2)),
        Planned(4.0, 1.0, Link(("n1",), to=NODES, rate=1e6)),
        Planned(5.0, 1.0, Clock("n1", SERVER, offset=-2.0)),
        Planned(6.0, 1.0, Disk("n1", SERVER, full=True, free=4096)),
        Planned(9.0, 0.0, Kill("n1", SERVER)),
    )


@pytest.mark.parametrize("wrong", BAD_ENTRIES, ids=str)
def test_a_wrong_entry_is_named_with_what_is_wrong(wrong: str, inventory: Inventory) -> None:
    good = {"at": 1, "fault": "reset", "host": "n1"}
    with pytest.raises(LabError) as error:
        schedule.load(written(good, BAD_ENTRIES[wrong]), "s.yml", inventory)
    assert error.value.what.startswith("s.yml: entry 2")
    assert wrong in error.value.what


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{", "is no YAML"),
        ("- kill", "is no schedule"),
        ("faults: kill", "`faults` is no list"),
        ("{faults: [{}], speed: 1}", "what is 'speed'?"),
        ("{faults: [{}], seed: many}", "no whole number"),
        ("{for: 1s, faults: [{at: 2s, fault: reset, host: n1}]}", "ends after 1 s"),
    ],
)
def test_a_wrong_schedule_is_refused(text: str, wrong: str, inventory: Inventory) -> None:
    with pytest.raises(LabError, match=wrong.replace("?", r"\?")):
        schedule.load(text, "s.yml", inventory)


def test_a_file_that_is_not_there_is_named(inventory: Inventory, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"absent\.yml cannot be read"):
        schedule.read(tmp_path / "absent.yml", inventory)


def test_random_ones_are_drawn_from_the_seed(inventory: Inventory, aims: Aims) -> None:
    entry = {"at": "1s", "for": "3s", "fault": "random", "among": ["loss", "pause", "partition"]}
    texts = [written(*[entry] * 6, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (schedule.load(text, "s.yml", inventory, aims) for text in texts)
    assert one == same
    assert one != other
    assert {plan.fault.word for plan in one.planned} <= {"link", "pause", "partition"}


def test_a_random_one_that_makes_no_sense_says_why(inventory: Inventory, aims: Aims) -> None:
    immune = replace(aims, immune={"reset": "it has no connections"})
    entry = {"at": "1s", "for": "3s", "fault": "random", "among": ["reset"]}
    with pytest.raises(LabError, match=r"entry 1 \(random\).*it has no connections"):
        schedule.load(written(entry), "s.yml", inventory, immune)


def faults(hosts: st.SearchStrategy[str]) -> st.SearchStrategy[Fault]:
    some = st.lists(hosts, min_size=2, unique=True).map(tuple)
    part = st.floats(0, 1)
    short = st.floats(0.001, 1000)
    unit = st.sampled_from([("n1", SERVER)])
    return st.one_of(
        unit.map(lambda u: Kill(*u)),
        unit.map(lambda u: Pause(*u)),
        hosts.map(PowerOff),
        st.builds(Partition, st.sampled_from(SHAPES), some),
        st.builds(Link, some, some, delay=short, loss=part, reorder=part, rate=st.floats(1, 1e9)),
        st.builds(
            lambda u, o, d: Clock(u[0], u[1], o, d), unit, st.floats(-9, -0.1), st.floats(-0.9, 9)
        ),
        st.builds(lambda u, f: Disk(u[0], u[1], full=True, free=f), unit, st.integers(0, 10**9)),
        st.builds(Reset, hosts, some),
    )


@given(st.data())
def test_what_is_written_is_read_as_it_was(data: st.DataObject) -> None:
    planned = [
        Planned(at, length if fault.lasts else 0.0, fault)
        for at, length, fault in data.draw(
            st.lists(
                st.tuples(st.floats(0, 1e4), st.floats(1e-3, 1e4), faults(st.sampled_from(NODES))),
                max_size=5,
            )
        )
    ]
    ordered = tuple(sorted(planned, key=lambda plan: plan.at))
    whole = Schedule(
        data.draw(st.integers()), max((plan.end for plan in planned), default=0) + 1, ordered
    )
    assert schedule.load(schedule.dump(whole), "s.yml", five_hosts()) == whole


def test_names_of_faults_are_chosen() -> None:
    assert chosen("") == tuple(NAMES)
    assert chosen("kill, disk") == ("kill", "disk_full", "disk_slow")
    assert chosen("power-off") == ("power_off",)
    with pytest.raises(LabError, match="there is no fault 'partitoin'") as error:
        chosen("partitoin")
    assert "partition" in error.value.fix


def test_what_makes_no_sense_is_told_why(aims: Aims) -> None:
    assert aims.powered() == ["n1"]
    assert not aims.why_not("power_off")
    beside = replace(aims, clients=frozenset({"n1"}))
    assert "clients run" in beside.why_not("power_off")
    alone = replace(aims, hosts=("n1",))
    assert "one host" in alone.why_not("mute")
    immune = replace(aims, immune={"disk": "no disk", "loss": "no loss"})
    assert immune.sensible(["disk_full", "disk_slow", "loss", "delay"]) == ["delay"]


@st.composite
def some_aims(draw: st.DrawFn) -> Aims:
    hosts = draw(st.lists(st.sampled_from(NODES), min_size=1, unique=True))
    units = draw(st.lists(st.sampled_from(hosts), min_size=1, unique=True))
    clients = draw(st.frozensets(st.sampled_from(NODES)))
    components = [(host, f"component_{n}") for host in units for n in range(draw(st.just(2)))]
    return Aims(components, tuple(hosts), clients)


@given(st.integers(), some_aims(), st.floats(nemesis.SHORTEST, 120), st.data())
def test_the_nemesis_draws_what_makes_sense(
    seed: int, aims: Aims, seconds: float, data: st.DataObject
) -> None:
    names = data.draw(st.lists(st.sampled_from([*NAMES]), min_size=1, unique=True))
    if not aims.sensible(names):
        with pytest.raises(LabError):
            nemesis.draw(seed, aims, names, seconds)
        return
    drawn = nemesis.draw(seed, aims, names, seconds)
    assert drawn == nemesis.draw(seed, aims, names, seconds)
    assert drawn.planned
    assert drawn.planned[0].at >= nemesis.WARM
    assert max(plan.end for plan in drawn.planned) <= seconds - nemesis.RECOVERY + 1e-6
    for plan in drawn.planned:
        assert plan.fault.word in {NAMES[name] for name in names}
        assert set(plan.fault.where()) <= set(aims.hosts)
        if isinstance(plan.fault, PowerOff):
            assert plan.fault.host not in aims.clients
        if isinstance(plan.fault, Partition):
            assert plan.fault.cut()
        if isinstance(plan.fault, Clock):
            assert abs(plan.fault.offset) <= 5
    for number, plan in enumerate(drawn.planned):
        for other in drawn.planned[number + 1 :]:
            apart = other.at > plan.end
            assert apart or nemesis.compatible(plan.fault, other.fault)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (PowerOff("n1"), Pause("n1", SERVER), False),
        (PowerOff("n1"), Partition("halves", ("n2", "n1")), False),
        (PowerOff("n1"), Link(("n2",), loss=0.1), False),
        (PowerOff("n1"), PowerOff("n1"), False),
        (Kill("n1", SERVER), Pause("n1", SERVER), False),
        (Link(("n1",), loss=0.1), Partition("isolate", ("n2", "n3")), False),
        (Kill("n1", SERVER), Partition("isolate", ("n1", "n2")), True),
        (Pause("n1", SERVER), Link(("n1",), loss=0.1), True),
        (PowerOff("n1"), Kill("n2", SERVER), True),
    ],
    ids=str,
)
def test_faults_that_hide_each_other_are_not_drawn_together(
    one: Fault, other: Fault, *, together: bool
) -> None:
    assert nemesis.compatible(one, other) is together
    assert nemesis.compatible(other, one) is together


def test_a_nemesis_needs_time(aims: Aims) -> None:
    with pytest.raises(LabError, match="too short"):
        nemesis.draw(1, aims, ["kill"], 3.0)


def test_every_name_can_be_drawn_and_written(aims: Aims, inventory: Inventory) -> None:
    for name in NAMES:
        fault = nemesis.draw_one(random.Random(name), aims, [name])
        assert fault.word == NAMES[name]
        whole = Schedule(1, 9.0, (Planned(1.0, 2.0 if fault.lasts else 0.0, fault),))
        assert schedule.load(schedule.dump(whole), name, inventory) == whole

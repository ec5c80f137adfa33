"""The simulated world: its faults happen, and its history is true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from apps.kit.claims import Event
from apps.kit.effects import (
    CancelTimer,
    Effect,
    Emit,
    Message,
    Persist,
    Reject,
    Reply,
    Send,
    SetTimer,
)
from lab.simulator.clients import Outcome
from lab.simulator.network import Wire, between
from lab.simulator.simulation import Simulation


class Counter:
    """Sends numbers to its peer, counts what it hears durably, and answers clients."""

    def __init__(self, node: str, stored: Mapping[str, Any]) -> None:
        self.node = node
        self.heard: int = stored.get("heard", 0)

    def start(self, now: float) -> list[Effect]:
        return [Emit("start", {"heard": self.heard, "at": now})]

    def receive(self, now: float, sender: str, message: Message) -> list[Effect]:
        self.heard += 1
        heard = {"of": sender, "n": message["n"], "at": now}
        return [Persist("heard", self.heard), Emit("heard", heard)]

    def request(self, now: float, request: str, body: Message) -> list[Effect]:
        match body:
            case {"f": "send", "to": str(to), "n": n}:
                return [Send(to, {"n": n}), Reply(request, {"sent": n, "at": now})]
            case {"f": "alarm", "after": after}:
                return [SetTimer(str(body.get("name", "alarm")), after), Reply(request, {})]
            case {"f": "calm"}:
                return [CancelTimer("alarm"), Reply(request, {})]
            case {"f": "silence"}:
                return []
        return [Reject(request, "what?")]

    def timer(self, now: float, name: str) -> list[Effect]:
        return [Emit("alarm", {"name": name, "at": now})]


def world(seed: int = 0, nodes: str = "ab", **options: Any) -> Simulation:
    return Simulation(nodes, lambda node, stored, _: Counter(node, stored), seed=seed, **options)


def send(simulation: Simulation, count: int, to: str = "b", spacing: float = 1.0) -> None:
    for n in range(count):
        simulation.request("a", {"f": "send", "to": to, "n": n}, after=n * spacing)


def events(simulation: Simulation, *names: str) -> list[Event]:
    return [event for event in simulation.trace if event["event"] in names]


def heard(simulation: Simulation) -> list[int]:
    return [event["n"] for event in events(simulation, "heard")]


def test_history_has_the_live_format_and_virtual_time() -> None:
    simulation = world(pattern="counting", component="counter")
    send(simulation, 1)
    simulation.run(1.0)
    ((sending,), (receipt,)) = (events(simulation, name) for name in ("send", "recv"))
    fixed = {"pattern": "counting", "component": "counter"}
    assert sending.items() >= {"node": "a", "t": 0.0, "peer": "b", **fixed}.items()
    assert sending["message"] == {"n": 0}
    assert receipt.items() >= {"node": "b", "id": sending["id"], "peer": "a", **fixed}.items()
    assert 0.001 <= receipt["t"] <= 0.010
    assert [event["t"] for event in simulation.trace] == sorted(e["t"] for e in simulation.trace)


def test_wire_loses_doubles_and_reorders() -> None:
    for wire, spacing, expected in (
        (Wire(loss=1.0), 1.0, []),
        (Wire(duplicate=1.0), 1.0, [0, 0, 1, 1, 2, 2]),
        (Wire(delay=(0.0, 1.0), fifo=True, duplicate=1.0), 0.0, [0, 0, 1, 1, 2, 2]),
    ):
        simulation = world(wire=wire)
        send(simulation, 3, spacing=spacing)
        simulation.run(10.0)
        assert heard(simulation) == expected
    simulation = world(wire=Wire(delay=(0.0, 1.0)))
    send(simulation, 20, spacing=0.0)
    simulation.run(10.0)
    assert heard(simulation) != sorted(heard(simulation)) == list(range(20))


def test_wires_differ_by_way() -> None:
    simulation = world(nodes="abc", wires={("a", "b"): Wire(loss=1.0)})
    send(simulation, 1, to="b")
    send(simulation, 1, to="c")
    simulation.run(1.0)
    assert [event["node"] for event in events(simulation, "heard")] == ["c"]
    assert [event["why"] for event in events(simulation, "lost")] == ["loss"]


def test_cut_is_one_way_catches_what_is_under_way_and_heals() -> None:
    simulation = world(wire=Wire(delay=(0.5, 0.5)))
    send(simulation, 6)
    simulation.at(0.9, simulation.cut, [("b", "a")])
    simulation.at(2.3, simulation.cut, [("a", "b")])
    simulation.at(3.7, simulation.heal)
    simulation.run(10.0)
    assert heard(simulation) == [0, 1, 4, 5]
    assert [event["why"] for event in events(simulation, "lost")] == ["cut", "cut"]
    assert between("a", "bc") == [("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")]


def test_a_paused_node_takes_what_came_when_it_goes_on_and_then_its_timers() -> None:
    simulation = world()
    send(simulation, 4)
    simulation.request("b", {"f": "alarm", "after": 1.2})
    simulation.at(0.5, simulation.pause, "b")
    simulation.request("b", {"f": "send", "to": "a", "n": 9}, after=0.7, timeout=1.0)
    simulation.at(2.5, simulation.resume, "b")
    simulation.run(10.0)
    late = [(e["event"], e.get("n", 0)) for e in simulation.trace if e["node"] == "b"]
    after = late[late.index(("resume", 0)) :]
    told = [event for event in after if event[0] in ("heard", "alarm", "send")]
    assert told == [("send", 0), ("heard", 1), ("heard", 2), ("alarm", 0), ("heard", 3)]
    (unknown,) = events(simulation, "unknown")
    assert unknown["value"] == "no answer in time"


def test_a_crash_takes_what_waited_for_a_paused_node() -> None:
    simulation = world()
    send(simulation, 3)
    simulation.at(0.5, simulation.pause, "b")
    simulation.at(1.5, simulation.crash, "b")
    simulation.at(1.6, simulation.resume, "b")
    simulation.at(1.7, simulation.restart, "b")
    simulation.run(10.0)
    assert heard(simulation) == [0, 2]
    assert not events(simulation, "resume"), "it was not paused any more"


def test_crash_takes_memory_and_timers_and_leaves_the_disk() -> None:
    simulation = world()
    send(simulation, 4)
    simulation.request("b", {"f": "alarm", "after": 5.0})
    simulation.at(1.5, simulation.crash, "b")
    simulation.at(2.5, simulation.restart, "b")
    simulation.run(10.0)
    starts = [event["heard"] for event in events(simulation, "start") if event["node"] == "b"]
    assert starts == [0, 2]
    assert heard(simulation) == [0, 1, 3]
    assert events(simulation, "alarm") == []
    assert [event["why"] for event in events(simulation, "lost")] == ["down"]


@pytest.mark.parametrize(
    ("within", "durable", "told"), [(0, 0, 0), (1, 1, 0), (2, 1, 1), (9, 1, 1)]
)
def test_crash_falls_between_two_effects(within: int, durable: int, told: int) -> None:
    """A receipt is Persist, then Emit: the crash comes before, between or after them."""
    simulation = world()
    simulation.at(0.0, simulation.crash, "b", within)
    send(simulation, 1)
    simulation.run(1.0)
    assert simulation.disks["b"].get("heard", 0) == durable
    assert len(heard(simulation)) == told
    assert [event["within"] for event in events(simulation, "crash")] == [within]
    assert not simulation.running("b")


def test_restart_calls_off_a_crash_to_come_and_may_crash_itself() -> None:
    simulation = world()
    simulation.at(0.1, simulation.crash, "b", 0)
    simulation.at(0.2, simulation.restart, "b")
    send(simulation, 1, spacing=0.0)
    simulation.at(0.3, simulation.crash, "a")
    simulation.at(0.4, simulation.restart, "a", 0)
    simulation.run(1.0)
    assert simulation.running("b")
    assert not simulation.running("a")
    assert [event["node"] for event in events(simulation, "start")] == ["a", "b"]


def test_timer_is_replaced_and_cancelled() -> None:
    simulation = world(nodes="a")
    simulation.request("a", {"f": "alarm", "after": 2.0})
    simulation.request("a", {"f": "alarm", "after": 3.0}, after=1.0)
    simulation.request("a", {"f": "alarm", "after": 1.0, "name": "other"}, after=4.5)
    simulation.request("a", {"f": "alarm", "after": 1.0}, after=5.0)
    simulation.request("a", {"f": "calm"}, after=5.5)
    simulation.run(10.0)
    assert [(e["t"], e["name"]) for e in events(simulation, "alarm")] == [
        (4.0, "alarm"),
        (5.5, "other"),
    ]


def test_every_request_has_one_definite_or_unknown_outcome() -> None:
    simulation = world()
    outcomes: list[Outcome] = []

    def ask(body: Message, **options: Any) -> None:
        simulation.request("a", body, then=outcomes.append, **options)

    ask({"f": "send", "to": "b", "n": 7})
    ask({"f": "nonsense", "x": 1})
    ask({"f": "silence"}, timeout=1.0)
    ask({"f": "silence"})
    simulation.at(2.0, simulation.crash, "a")
    ask({"f": "silence"}, after=3.0)
    assert simulation.run_until(lambda: len(outcomes) == 5, 10.0)
    assert [outcome.kind for outcome in outcomes] == ["ok", "fail", "unknown", "unknown", "fail"]
    assert [outcome.value for outcome in outcomes][1:] == [
        "what?",
        "no answer in time",
        "the node crashed before it answered",
        "the node is down",
    ]
    operations = events(simulation, "invoke", "ok", "fail", "unknown")
    assert len({event["op"] for event in operations}) == len(operations) / 2 == 5
    assert operations[0].items() >= {"f": "send", "value": {"to": "b", "n": 7}}.items()


def test_what_breaks_the_rules_of_a_core_is_an_error_that_says_where() -> None:
    simulation = world(seed=5)
    simulation.request("a", {"f": "send", "to": "nowhere", "n": 1}, after=1.0)
    with pytest.raises(ValueError, match="a sends to 'nowhere'") as caught:
        simulation.run(2.0)
    assert caught.value.__notes__ == ["in the core of a at t=1.000000, seed 5"]
    simulation = world()
    simulation.request("a", {"f": "send", "to": "b", "n": {1, 2}})
    with pytest.raises(TypeError, match="not JSON serializable"):
        simulation.run(1.0)


def test_run_until_says_whether_it_is_done() -> None:
    simulation = world()
    assert not simulation.run_until(lambda: False, 3.0)
    assert simulation.now == 3.0

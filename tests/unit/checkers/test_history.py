"""Operations of a history: paired, renamed, and with what is known of their outcome."""

from __future__ import annotations

import math
from typing import Any

import pytest

from apps.kit.checkers import Register, linearizable
from apps.kit.effects import Effects, Message, Reply, Send
from apps.kit.history import chooser, frozen, left_out, operations
from lab.simulator.simulation import Simulation
from tests.unit.checkers.histories import event, merged, op


def test_an_operation_knows_what_its_client_knew() -> None:
    history = merged(
        op("read", None, 0, 1, 7),
        op("write", 8, 2, 3, outcome="fail"),
        op("write", 9, 4, 5, outcome="unknown"),
        op("write", 10, 6, 7)[:1],
    )
    told = [(one.outcome, one.value, one.result, one.start, one.end) for one in operations(history)]
    assert told == [
        ("ok", None, 7, 0, 1),
        ("fail", 8, None, 2, 3),
        ("unknown", 9, None, 4, math.inf),
        ("unknown", 10, None, 6, math.inf),
    ]


def test_the_first_outcome_counts_and_none_without_an_invocation() -> None:
    asked, answered = op("read", None, 0, 1, 7)
    again = {**answered, "event": "unknown", "t": 2}
    stray = op("read", None, 5, 6, 1)[1]
    (found,) = operations([asked, answered, again, stray])
    assert found.events == (asked, answered)


def test_a_pattern_has_its_own_names() -> None:
    history = merged(
        op("put", {"id": 1, "text": "a"}, 0, 1, {}),
        op("get", {"id": 1}, 2, 3, {"text": "a"}),
        op("list", None, 4, 5, []),
    )
    found = operations(
        history,
        {"put": "write", "get": "read"},
        key=lambda e: e["value"]["id"],
        value=lambda e: e["value"].get("text"),
        result=lambda e: e["value"].get("text"),
    )
    assert [(one.f, one.key, one.value, one.result) for one in found] == [
        ("write", 1, "a", None),
        ("read", 1, None, "a"),
    ]
    assert linearizable(found, Register).holds


@pytest.mark.parametrize(
    "value", [None, 1, "a", [1, [2, {"b": [3]}]], {"a": {"b": []}}, [[1], "a"]]
)
def test_values_of_json_can_be_hashed(value: object) -> None:
    assert hash(frozen(value)) == hash(frozen(value))


def test_a_list_is_no_object() -> None:
    assert frozen([["a", 1]]) != frozen({"a": 1})


def test_events_are_chosen_by_name_by_names_or_by_a_function() -> None:
    send = event("send", "a", id=1)
    assert chooser("send")(send)
    assert chooser(("recv", "send"))(send)
    assert chooser(lambda e: e["id"] == 1)(send)
    assert not chooser("recv")(send)
    assert left_out([send, event("left_out", "a", events=2), event("left_out", "b", events=3)]) == 5


class Replica:
    """A register that answers at once and tells the others afterwards: not linearizable."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name
        self.value = None

    def start(self, _: float) -> Effects:
        return []

    def timer(self, _: float, __: str) -> Effects:
        return []

    def receive(self, _: float, __: str, message: Message) -> Effects:
        self.value = message["value"]
        return []

    def request(self, _: float, request: str, body: Message) -> Effects:
        if body["f"] == "write":
            self.value = body["value"]
            yield from (Send(to, {"value": self.value}) for to in "ab" if to != self.name)
        yield Reply(request, {"value": self.value})


def simulated(reader: str) -> list[Any]:
    simulation = Simulation("ab", Replica, seed=1)
    simulation.request("a", {"f": "write", "value": 1}, after=1.0)
    simulation.request(reader, {"f": "read"}, after=1.0005)
    simulation.request(reader, {"f": "read"}, after=2.0)
    simulation.run(5.0)
    return operations(
        simulation.trace,
        {"read": "read", "write": "write"},
        value=lambda e: e["value"].get("value"),
        result=lambda e: e["value"]["value"],
    )


def test_a_simulated_history_is_judged_alike() -> None:
    assert linearizable(simulated("a"), Register).holds
    found = linearizable(simulated("b"), Register)
    assert found.holds is False
    stale = next(e for e in found.witness if e["event"] == "ok" and e["f"] == "read")
    assert stale["value"] == {"value": None}
    assert any(e["event"] == "ok" and e["f"] == "write" for e in found.witness)

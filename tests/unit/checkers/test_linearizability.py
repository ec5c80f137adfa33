"""Linearizability: what has an order, what has none, and what shows it.

The search is compared with the definition on tiny histories, and with good histories of correct
objects, changed so that they surely have no order any more, on long ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apps.kit.checkers import Log, Model, Queue, Register, Set, linearizable
from apps.kit.checkers.search import MakeModel
from apps.kit.claims import Event
from apps.kit.history import Operation, operations
from lab.simulator import objects
from lab.simulator.objects import Thing, Usage, used
from tests.unit.checkers.histories import brute_force, merged, op


@dataclass(frozen=True)
class Kind:
    """An object, its model, and how a read of it is told."""

    thing: Callable[[], Thing]
    model: MakeModel


KINDS = {
    "register": Kind(objects.Register, Register),
    "log": Kind(objects.Log, Log),
    "set": Kind(objects.Set, Set),
    "set with removals": Kind(partial(objects.Set, removes=True), Set),
    "queue": Kind(objects.Queue, Queue),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))

HOLD = {
    "a read sees the last write": (
        Register,
        merged(op("write", 1, 0, 1), op("read", None, 2, 3, 1)),
    ),
    "a read at the same time sees the old or the new": (
        Register,
        merged(op("write", 1, 0, 1), op("write", 2, 2, 9), op("read", None, 3, 4, 1)),
    ),
    "an unknown write takes effect much later": (
        Register,
        merged(
            op("write", 1, 0, 1, outcome="unknown"),
            op("write", 2, 2, 3),
            op("read", None, 4, 5, 2),
            op("read", None, 6, 7, 1),
        ),
    ),
    "a swap is refused": (
        Register,
        merged(op("write", 1, 0, 1), op("cas", [2, 3], 2, 3, result=False)),
    ),
    "a log's appends at once get their offsets in either order": (
        Log,
        merged(
            op("append", "a", 0, 5, 1),
            op("append", "b", 0, 5, 0),
            op("read", None, 6, 7, ["b", "a"]),
        ),
    ),
    "an append of unknown outcome is in the log": (
        Log,
        merged(op("append", "a", 0, 1, outcome="unknown"), op("read", None, 2, 3, ["a"])),
    ),
    "what was removed is not read": (
        Set,
        merged(op("add", 1, 0, 1), op("remove", 1, 2, 3), op("contains", 1, 4, 5, result=False)),
    ),
    "the queue gives the eldest": (
        Queue,
        merged(
            op("enqueue", 1, 0, 1),
            op("enqueue", 2, 2, 3),
            op("dequeue", None, 4, 5, 1),
            op("dequeue", None, 6, 7, 2),
            op("dequeue", None, 8, 9),
        ),
    ),
    "somebody of unknown outcome took the eldest": (
        Queue,
        merged(
            op("enqueue", 1, 0, 1),
            op("enqueue", 2, 2, 3),
            op("dequeue", None, 4, 5, outcome="unknown"),
            op("dequeue", None, 6, 7, 2),
        ),
    ),
}
BREAK = {
    "a stale read": (
        Register,
        merged(op("write", 1, 0, 1), op("write", 2, 2, 3), op("read", None, 4, 5, 1)),
    ),
    "a value from nowhere": (Register, merged(op("read", None, 0, 1, 7))),
    "a failed write is seen": (
        Register,
        merged(op("write", 1, 0, 1, outcome="fail"), op("read", None, 2, 3, 1)),
    ),
    "a value that comes back": (
        Register,
        merged(
            op("write", 1, 0, 9),
            op("write", 2, 0, 9),
            op("read", None, 1, 2, 1),
            op("read", None, 3, 4, 2),
            op("read", None, 5, 6, 1),
        ),
    ),
    "two swaps from one value": (
        Register,
        merged(op("write", 1, 0, 1), op("cas", [1, 2], 2, 5), op("cas", [1, 3], 2, 5)),
    ),
    "two entries at one offset": (
        Log,
        merged(op("append", "a", 0, 5, 1), op("append", "b", 0, 5, 1)),
    ),
    "an acknowledged entry is gone": (
        Log,
        merged(op("append", "a", 0, 1, 0), op("read", None, 2, 3, [])),
    ),
    "two logs": (
        Log,
        merged(
            op("append", "a", 0, 9),
            op("append", "b", 0, 9),
            op("read", None, 0, 9, ["a"]),
            op("read", None, 0, 9, ["b"]),
        ),
    ),
    "a member is gone": (Set, merged(op("add", 1, 0, 1), op("read", None, 2, 3, []))),
    "two reads that each lack the other's member": (
        Set,
        merged(
            op("add", 1, 0, 9),
            op("add", 2, 0, 9),
            op("read", None, 1, 2, [1]),
            op("read", None, 1, 2.5, [2]),
        ),
    ),
    "the younger comes out first": (
        Queue,
        merged(
            op("enqueue", 1, 0, 1),
            op("enqueue", 2, 2, 3),
            op("dequeue", None, 4, 5, 2),
            op("dequeue", None, 6, 7, 1),
        ),
    ),
    "one comes out twice": (
        Queue,
        merged(op("enqueue", 1, 0, 1), op("dequeue", None, 2, 5, 1), op("dequeue", None, 2, 6, 1)),
    ),
    "nothing is found where something waits": (
        Queue,
        merged(op("enqueue", 1, 0, 1), op("dequeue", None, 2, 3)),
    ),
}


@pytest.mark.parametrize(("model", "history"), HOLD.values(), ids=list(HOLD))
def test_what_has_an_order_holds(model: MakeModel, history: list[Event]) -> None:
    assert brute_force(history, model)
    assert linearizable(history, model).holds


@pytest.mark.parametrize(("model", "history"), BREAK.values(), ids=list(BREAK))
def test_what_has_no_order_is_shown(model: MakeModel, history: list[Event]) -> None:
    assert not brute_force(history, model)
    found = linearizable(history, model)
    assert found.holds is False
    assert all(event in history for event in found.witness)
    assert linearizable(found.witness, model).holds is False


def test_a_witness_is_small() -> None:
    """Of a thousand operations, the write, the one over it, and the read of the former."""
    history = used(objects.Register(), 1, Usage(count=1000))
    last = history[-1]["t"]
    stale = merged(
        op("write", -1, last + 1, last + 2),
        op("write", -2, last + 3, last + 4),
        op("read", None, last + 5, last + 6, -1),
    )
    found = linearizable([*history, *stale], Register)
    assert list(found.witness) == stale


def test_a_witness_shrinks_without_any_help_of_the_model() -> None:
    class Plain(Model):
        """As a reader writes it."""

        def step(self, state: Any, op: Operation) -> tuple[Any, ...]:
            if op.f == "write":
                return (op.value,)
            return (state,) if op.told(state) else ()

    writes = [op("write", n, n, n + 0.5) for n in range(6)]
    found = linearizable(merged(*writes, op("read", None, 30, 31, 4)), Plain)
    assert found.holds is False
    answers = [(e["f"], e["value"]) for e in found.witness if e["event"] == "ok"]
    assert len(answers) == 3
    assert answers[-1] == ("read", 4)  # after write 4 and write 5


def test_keys_are_judged_apart() -> None:
    keyed = [
        {**event, "key": key}
        for key, value in (("x", 1), ("y", 2))
        for event in merged(op("write", value, 0, 1), op("read", None, 2, 3, value))
    ]
    names = [{**event, "op": f"{event['key']}{event['op']}"} for event in keyed]
    assert linearizable(names, Register).holds is False
    found = linearizable(operations(names, key="key"), Register)
    assert found.holds
    assert "on 2 keys" in found.detail


def test_clocks_that_differ_excuse_what_they_may() -> None:
    history = merged(op("write", 1, 0, 1), op("write", 2, 2, 3), op("read", None, 4, 5, 1))
    assert linearizable(history, Register, skew=0.5).holds is False
    assert linearizable(history, Register, skew=1.5).holds


def test_beyond_the_budget_it_is_unknown() -> None:
    history = used(objects.Log(), 1, Usage(count=200))
    found = linearizable(history, Log, budget=50)
    assert found.holds is None
    assert found.detail.startswith("unknown:")


@pytest.mark.parametrize("history", [[], op("write", 1, 0, 1, outcome="unknown")])
def test_what_says_nothing_proves_nothing(history: list[Event]) -> None:
    assert linearizable(history, Register).holds is None


@every_kind
@given(
    seed=st.integers(0, 2**32),
    clients=st.integers(1, 8),
    count=st.integers(1, 120),
    unknown=st.sampled_from((0.0, 0.05)),
)
def test_a_correct_object_is_linearizable(
    kind: Kind, seed: int, clients: int, count: int, unknown: float
) -> None:
    usage = Usage(clients, count, unknown, failed=0.1)
    assert linearizable(used(kind.thing(), seed, usage), kind.model).holds is not False


@every_kind
@given(seed=st.integers(0, 2**32), clients=st.integers(1, 4), data=st.data())
def test_the_search_agrees_with_the_definition(
    kind: Kind, seed: int, clients: int, data: st.DataObject
) -> None:
    """Answers are exchanged at random: some of the histories have an order, some have none."""
    history = used(kind.thing(), seed, Usage(clients, count=5, unknown=0.2, failed=0.1))
    for _ in range(data.draw(st.integers(0, 2))):
        history = with_another_answer(history, data)
    assume(any(event["event"] == "ok" for event in history))
    found = linearizable(history, kind.model)
    assert found.holds is brute_force(history, kind.model)
    if not found.holds:
        assert not brute_force(found.witness, kind.model)


def with_another_answer(history: list[Event], data: st.DataObject) -> list[Event]:
    """Let an operation answer what another of its kind did."""
    answers = [(n, e) for n, e in enumerate(history) if e["event"] == "ok" and tells(e)]
    if not answers:
        return history
    place, event = data.draw(st.sampled_from(answers))
    other = data.draw(st.sampled_from([e["value"] for _, e in answers if e["f"] == event["f"]]))
    return [*history[:place], {**event, "value": other}, *history[place + 1 :]]


def tells(event: Event) -> bool:
    return event["f"] in {"read", "contains", "dequeue", "append", "cas"}


# What surely leaves no order, by kind: each takes a history and a randomness.


def ends(history: list[Event]) -> float:
    return float(history[-1]["t"])


def read_a_value_that_is_gone(history: list[Event], _: random.Random) -> list[Event]:
    end = ends(history)
    worse = (op("write", -1, 1, 2), op("write", -2, 3, 4), op("read", None, 5, 6, -1))
    return [*history, *shifted(merged(*worse), end)]


def read_a_value_of_nobody(history: list[Event], rng: random.Random) -> list[Event]:
    return answering(history, "read", rng, lambda _: -7)


def lose_an_acknowledged_entry(history: list[Event], _: random.Random) -> list[Event]:
    log = max((e["value"] for e in history if e["event"] == "ok" and e["f"] == "read"), key=len)
    assume(log)
    return [*history, *shifted(op("read", None, 1, 2, log[:-1]), ends(history))]


def give_an_offset_twice(history: list[Event], rng: random.Random) -> list[Event]:
    offsets = [e["value"] for e in history if e["event"] == "ok" and e["f"] == "append"]
    assume(offsets)
    again = op("append", -1, 1, 2, rng.choice(offsets))
    return [*history, *shifted(again, ends(history))]


def exchange_two_entries(history: list[Event], rng: random.Random) -> list[Event]:
    def exchanged(log: list[int]) -> list[int]:
        place = rng.randrange(len(log) - 1)
        return [*log[:place], log[place + 1], log[place], *log[place + 2 :]]

    long = {"read": [e for e in history if e["event"] == "ok" and e["f"] == "read"]}["read"]
    assume(sum(len(e["value"]) > 1 for e in long) > 1)
    last = max(long, key=lambda e: len(e["value"]))
    return [*history, *shifted(op("read", None, 1, 2, exchanged(last["value"])), ends(history))]


def lose_a_member(history: list[Event], _: random.Random) -> list[Event]:
    worse = merged(op("add", -1, 1, 2), op("contains", -1, 3, 4, result=False))
    return [*history, *shifted(worse, ends(history))]


def read_a_removed_member(history: list[Event], _: random.Random) -> list[Event]:
    worse = (op("add", -1, 1, 2), op("remove", -1, 3, 4), op("contains", -1, 5, 6, result=True))
    return [*history, *shifted(merged(*worse), ends(history))]


def take_one_twice(history: list[Event], rng: random.Random) -> list[Event]:
    taken = [e["value"] for e in history if e["event"] == "ok" and e["f"] == "dequeue"]
    found = [value for value in taken if value is not None]
    assume(found)
    return [*history, *shifted(op("dequeue", None, 1, 2, rng.choice(found)), ends(history))]


def take_the_younger_first(history: list[Event], _: random.Random) -> list[Event]:
    worse = (
        op("enqueue", -1, 1, 2),
        op("enqueue", -2, 3, 4),
        op("dequeue", None, 5, 6, -2),
        op("dequeue", None, 7, 8, -1),
    )
    return [*history, *shifted(merged(*worse), ends(history))]


def shifted(history: list[Event], by: float) -> list[Event]:
    return [{**event, "t": event["t"] + by} for event in history]


def answering(
    history: list[Event], f: str, rng: random.Random, worse: Callable[[Any], Any]
) -> list[Event]:
    places = [n for n, e in enumerate(history) if e["event"] == "ok" and e["f"] == f]
    assume(places)
    changed = list(history)
    place = rng.choice(places)
    changed[place] = {**changed[place], "value": worse(changed[place]["value"])}
    return changed


MUTATIONS = [
    ("register", read_a_value_that_is_gone),
    ("register", read_a_value_of_nobody),
    ("log", lose_an_acknowledged_entry),
    ("log", give_an_offset_twice),
    ("log", exchange_two_entries),
    ("set", lose_a_member),
    ("set with removals", lose_a_member),
    ("set with removals", read_a_removed_member),
    ("queue", take_one_twice),
    ("queue", take_the_younger_first),
]


@pytest.mark.parametrize(("name", "mutate"), MUTATIONS)
@given(seed=st.integers(0, 2**32), unknown=st.sampled_from((0.0, 0.03)))
def test_a_good_history_made_worse_is_caught(
    name: str,
    mutate: Callable[[list[Event], random.Random], list[Event]],
    seed: int,
    unknown: float,
) -> None:
    kind = KINDS[name]
    history = used(kind.thing(), seed, Usage(count=60, unknown=unknown, failed=0.05))
    worse = mutate(history, random.Random(seed))
    found = linearizable(worse, kind.model)
    assert found.holds is False
    assert linearizable(found.witness, kind.model).holds is False

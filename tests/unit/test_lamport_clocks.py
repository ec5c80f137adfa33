"""The clocks against a plain reading of Lamport 1978 and Mattern 1989, over random executions."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.lamport_clock.clocks import LamportClock, VectorClock, concurrent, happened_before

many = settings(max_examples=200, deadline=None)
PROCESSES = ("p", "q", "r")


@dataclass
class Stamp:
    """An event: its two stamps, and the events that are in its past by definition."""

    process: str
    number: int
    vector: dict[str, int]
    past: set[int] = field(default_factory=set)


def execute(plan: list[tuple[str, int]]) -> list[Stamp]:
    """Let processes act in turn: an event of their own, or the receipt of any earlier message.

    Every event may be the sending of a message; some are received, late, twice or never.
    """
    numbers = {process: LamportClock() for process in PROCESSES}
    vectors = {process: VectorClock(process) for process in PROCESSES}
    events: list[Stamp] = []
    for process, choice in plan:
        earlier = [i for i, event in enumerate(events) if event.process == process]
        past = events[earlier[-1]].past | {earlier[-1]} if earlier else set()
        others = [i for i, event in enumerate(events) if event.process != process]
        if others and choice:
            sending = others[choice % len(others)]
            sent = events[sending]
            number = numbers[process].receive(sent.number)
            vector = vectors[process].receive(sent.vector)
            past = past | sent.past | {sending}
        else:
            number, vector = numbers[process].tick(), vectors[process].tick()
        events.append(Stamp(process, number, vector, past))
    return events


executions = st.lists(
    st.tuples(st.sampled_from(PROCESSES), st.integers(0, 20)), min_size=1, max_size=40
).map(execute)


@many
@given(executions)
def test_clock_condition(events: list[Stamp]) -> None:
    """ "Logical Clocks": for any events a, b: if a -> b then C(a) < C(b)."""
    for event in events:
        assert all(events[a].number < event.number for a in event.past)


@many
@given(executions)
def test_number_and_name_order_all_events(events: list[Stamp]) -> None:
    """ "Ordering the Events Totally": (C, process) is a total order that extends ->."""
    assert len({(event.number, event.process) for event in events}) == len(events)


@many
@given(executions)
def test_vectors_are_happened_before(events: list[Stamp]) -> None:
    """Mattern 1989, theorem 10: V(a) < V(b) exactly where a -> b."""
    for b, event in enumerate(events):
        for a, other in enumerate(events):
            assert happened_before(other.vector, event.vector) == (a in event.past)
            unordered = a != b and a not in event.past and b not in other.past
            assert concurrent(other.vector, event.vector) == unordered


def test_receipt_is_later_than_both_pasts() -> None:
    """IR2 (b): beyond the message's stamp, and beyond the receiver's own."""
    clock = LamportClock()
    assert [clock.tick(), clock.receive(10), clock.receive(3), clock.tick()] == [1, 11, 12, 13]


def test_vector_is_the_callers_own() -> None:
    clock = VectorClock("p")
    first = clock.tick()
    clock.receive({"q": 4, "p": 0})
    assert first == {"p": 1}
    assert clock.count == 2
    assert clock.tick() == {"p": 3, "q": 4}


def test_absent_entry_counts_zero() -> None:
    assert happened_before({"p": 1, "q": 0}, {"p": 1, "r": 2})
    assert concurrent({"p": 1}, {"q": 1})
    assert not happened_before({"p": 1}, {"p": 1})

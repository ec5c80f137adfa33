"""What multicast claims: each claim on a history where it holds, and on one that violates it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apps.kit.claims import Event
from apps.zmq_multicast.claims import (
    as_sent,
    figures,
    gap_is_told,
    heard_from_the_start,
    in_order_once,
    incomplete,
    joined_late,
    never_heard,
    reached_all,
    unbroken,
)

STREAM = "n4/1"


def event(name: str, node: str, component: str = "subscriber", **fields: Any) -> Event:
    return {"event": name, "node": node, "component": component, "t": 0.0, **fields}


def sent(last: int) -> list[Event]:
    return [
        event("send", "n4", "publish", id=f"{STREAM}#{n}", crc=f"{n:08x}")
        for n in range(1, last + 1)
    ]


def came(node: str, numbers: Iterable[int], component: str = "subscriber") -> list[Event]:
    return [
        event("subscribed", node, component),
        *(event("recv", node, component, id=f"{STREAM}#{n}", crc=f"{n:08x}") for n in numbers),
    ]


def test_all_is_all_in_order_at_each() -> None:
    history = [*sent(3), *came("n1", (1, 2, 3)), *came("n2", (1, 2, 3))]
    assert reached_all(history, STREAM, 3, ["n1", "n2"]).holds is True
    assert reached_all(history, STREAM, 4, ["n1"]).holds is False
    assert "n3 has none of 3" in reached_all(history, STREAM, 3, ["n3"]).detail
    holed = reached_all([*sent(3), *came("n1", (1, 3))], STREAM, 3, ["n1"])
    assert (holed.holds, len(holed.witness)) == (False, 2)
    assert incomplete([*sent(3), *came("n1", (1, 3))], STREAM, 3, ["n1"]).holds is True
    told_in_part = [*history, event("left_out", "n1", events=5)]
    assert reached_all(told_in_part, STREAM, 3, ["n1"]).holds is None
    assert incomplete(told_in_part, STREAM, 3, ["n1"]).holds is None


def test_a_message_that_comes_twice_or_early_is_a_violation() -> None:
    assert in_order_once(came("n1", (1, 2, 4))).holds is True
    for numbers in ((1, 2, 2), (1, 3, 2)):
        found = in_order_once(came("n1", numbers))
        assert (found.holds, len(found.witness)) == (False, 2)
    assert in_order_once([]).holds is None


def test_a_new_life_begins_anew_and_another_process_is_another_life() -> None:
    restarted = [*came("n1", (1, 2)), *came("n1", (2, 3))]
    assert in_order_once(restarted).holds is True
    assert unbroken([*came("n1", (1, 2)), *came("n1", (7, 8))]).holds is True
    both = [*came("n1", (1, 2)), *came("n1", (1, 2), "subscribe")]
    assert in_order_once(both).holds is True


def test_a_gap_breaks_a_stream_and_a_late_beginning_does_not() -> None:
    assert unbroken(came("n1", (5, 6, 7))).holds is True
    broken = unbroken(came("n1", (5, 6, 9)))
    assert broken.holds is False
    assert "lacks 2" in broken.detail


def test_a_payload_is_as_it_was_sent() -> None:
    assert as_sent([*sent(2), *came("n1", (1, 2))]).holds is True
    other = event("recv", "n1", id=f"{STREAM}#2", crc="bad")
    assert as_sent([*sent(2), *came("n1", (1,)), other]).holds is False
    assert as_sent(came("n1", (1,))).holds is None


def test_limits_are_shown_by_what_was_told() -> None:
    gap = event("gap", "n1", stream=STREAM, first=4, missing=2)
    assert gap_is_told([gap], STREAM, "n1").holds is True
    assert gap_is_told([gap], STREAM, "n2").holds is False
    late = event("joined", "n4", stream=STREAM, first=17)
    assert joined_late([late], STREAM, "n4").holds is True
    assert joined_late([{**late, "first": 1}], STREAM, "n4").holds is False
    assert joined_late([], STREAM, "n4").holds is None
    assert heard_from_the_start([{**late, "first": 1}], STREAM, ["n4"]).holds is True
    assert heard_from_the_start([late], STREAM, ["n4"]).holds is False
    assert heard_from_the_start([], STREAM, ["n4"]).holds is False


def test_one_host_alone_hears_nothing_of_itself() -> None:
    history = came("n1", (1,))
    assert never_heard(history, STREAM, "n4", ["n1"]).holds is True
    assert never_heard(history, STREAM, "n4", ["n1", "n2"]).holds is None
    assert never_heard([*history, *came("n4", (1,), "subscribe")], STREAM, "n4", ["n1"]).holds is (
        False
    )


def test_figures_count_copies_for_each_node() -> None:
    history = [*sent(3), *came("n1", (1, 2, 2)), *came("n2", (1, 2, 3))]
    assert figures(history, ["n1", "n2"]) == {"sent": 3, "lost": 1, "duplicated": 1}

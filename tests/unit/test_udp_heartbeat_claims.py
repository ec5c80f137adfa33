"""The claims of udp_heartbeat, over histories that keep them and that break them."""

from __future__ import annotations

from typing import Any

import pytest

from apps.kit.claims import Event
from apps.kit.faults import Clock, Fault, Kill, Link, Partition, Pause, PowerOff, Reset
from apps.udp_heartbeat.claims import (
    MONITOR,
    SENDER,
    all_are_alive,
    false_suspicions,
    healthy_are_trusted,
    left_alone,
    patience_is_slow,
    pause_fools_both,
    phi_errs_less,
    readmitted,
    signs_of_life,
    silent_are_suspected,
    suspected_in_time,
    suspicions,
)

BOUNDS = {"fixed": 1.5, "phi": 5.0}


def turn(t: float, peer: str, detector: str, state: str, **fields: Any) -> Event:
    given = {"incarnation": 1, "silence": 1.5, **fields}
    return {
        "event": "transition",
        "t": t,
        "node": "hub",
        "peer": peer,
        "detector": detector,
        "state": state,
        **given,
    }


def both(t: float, peer: str, state: str, **fields: Any) -> list[Event]:
    return [turn(t, peer, detector, state, **fields) for detector in ("fixed", "phi")]


def killed(t: float, peer: str) -> Event:
    return injected(t, Kill(peer, SENDER))


def beat(t: float, peer: str, seq: int = 7) -> Event:
    received = {"event": "recv", "t": t, "node": "hub", "kind": "heartbeat"}
    return {**received, "id": f"{peer}.1:{seq}>hub", "peer": "198.18.0.11:40000"}


def injected(t: float, fault: Fault) -> Event:
    return {"event": "inject", "t": t, "node": "lab", "fault": fault.as_json()}


def test_a_suspicion_is_false_if_the_same_life_is_heard_again() -> None:
    history = [
        *both(1, "n1", "suspected"),
        turn(2, "n1", "fixed", "dead"),
        *both(3, "n1", "alive"),
        *both(5, "n1", "suspected"),
        *both(9, "n1", "alive", incarnation=2),
        *both(10, "n2", "suspected"),
    ]
    found = suspicions(history)
    assert [(s.peer, s.detector, s.false) for s in found] == [
        ("n1", "fixed", True),
        ("n1", "phi", True),
        ("n1", "fixed", False),
        ("n1", "phi", False),
        ("n2", "fixed", False),
        ("n2", "phi", False),
    ]
    assert [s.ended is None for s in found] == [False] * 4 + [True] * 2
    assert suspicions(history, ["n2"]) == found[4:]


def test_a_killed_sender_must_be_suspected_by_both_within_their_bounds() -> None:
    before = both(0, "n1", "suspected", silence=9.0)
    good = [*before, killed(1, "n1"), *both(3, "n1", "suspected")]
    assert suspected_in_time(good, "n1", BOUNDS).holds is True
    late = [killed(1, "n1"), *both(9, "n1", "suspected", silence=3.0)]
    finding = suspected_in_time(late, "n1", BOUNDS)
    assert finding.holds is False
    assert "fixed suspected n1 after 3.00 s" in finding.detail
    one = [killed(1, "n1"), turn(3, "n1", "fixed", "suspected")]
    assert suspected_in_time(one, "n1", BOUNDS).holds is False
    assert suspected_in_time([*before, killed(1, "n1")], "n1", BOUNDS).holds is False
    assert suspected_in_time(before, "n1", BOUNDS).holds is None


def test_a_healthy_sender_must_not_be_suspected() -> None:
    history = [beat(0, "n4"), beat(0, "n5"), *both(3, "n1", "suspected")]
    assert healthy_are_trusted(history, ["n4", "n5"]).holds is True
    wrong = healthy_are_trusted([*history, turn(4, "n5", "phi", "suspected")], ["n4", "n5"])
    assert wrong.holds is False
    assert "phi suspected n5" in wrong.detail
    assert healthy_are_trusted(history, ["n6"]).holds is None


def test_a_sender_that_returns_must_be_taken_back_as_a_new_life() -> None:
    away = both(1, "n1", "suspected")
    assert readmitted([*away, *both(3, "n1", "alive", incarnation=2)], "n1").holds is True
    assert readmitted([*away, *both(3, "n1", "alive")], "n1").holds is None
    assert readmitted(away, "n1").holds is False
    half = [*away, turn(3, "n1", "fixed", "alive", incarnation=2)]
    assert readmitted(half, "n1").holds is False
    assert readmitted([], "n1").holds is None


def test_a_long_pause_is_shown_to_fool_both_or_not() -> None:
    fooled = [*both(1, "n3", "suspected"), *both(3, "n3", "alive", silence=3.0)]
    assert pause_fools_both(fooled, "n3").holds is True
    assert pause_fools_both(fooled[::2], "n3").holds is None
    assert pause_fools_both([], "n3").holds is None


def test_the_comparison_says_so_if_phi_is_no_better() -> None:
    fixed = [turn(1, "n2", "fixed", "suspected"), turn(2, "n2", "fixed", "alive")]
    phi = [turn(1, "n2", "phi", "suspected"), turn(2, "n2", "phi", "alive")]
    assert phi_errs_less([*fixed, *fixed, *phi], "n2").holds is True
    equal = phi_errs_less([*fixed, *phi], "n2")
    assert equal.holds is False
    assert "phi was no better" in equal.detail
    assert phi_errs_less(phi, "n2").holds is None


def test_what_phi_has_learnt_is_shown_to_make_it_slow() -> None:
    rows = [{"node": n, "phi": {"horizon": h}} for n, h in (("n1", 1.5), ("n2", 4.0))]
    table = [{"event": "ok", "f": "status", "value": rows}]
    assert patience_is_slow(table, "n2", "n1").holds is True
    assert patience_is_slow(table, "n1", "n2").holds is False
    assert patience_is_slow(table, "n1", "n9").holds is None
    assert patience_is_slow([], "n2", "n1").holds is None


def test_false_suspicions_are_counted_by_detector() -> None:
    history = [*both(1, "n1", "suspected"), turn(2, "n1", "fixed", "alive")]
    assert false_suspicions(history) == {"fixed": 1, "phi": 0}
    assert false_suspicions(history, ["n2"]) == {"fixed": 0, "phi": 0}


def test_only_a_later_heartbeat_is_a_sign_of_life() -> None:
    """What came late or twice is none; nor is what a client sent over TCP."""
    frame = {"event": "recv", "t": 4, "id": "198.18.0.11:4000>198.18.0.10:12346#1", "peer": "x"}
    history = [beat(1, "n1", 1), beat(2, "n1", 3), beat(3, "n1", 2), beat(3, "n1", 3), frame]
    assert signs_of_life(history) == {"n1": history[:2]}
    body = {"node": "n1", "incarnation": 1, "seq": 1}
    sent = {"event": "send", "t": 1, "id": "n1:9", "message": body}
    simulated = {"event": "recv", "t": 2, "id": "n1:9", "peer": "n1", "node": "hub"}
    assert signs_of_life([sent, simulated]) == {"n1": [simulated]}


@pytest.mark.parametrize(
    ("fault", "trusted"),
    [
        (Kill("n1", SENDER), False),
        (Pause("n1", SENDER), False),
        (Clock("n1", SENDER, offset=1.0), False),
        (PowerOff("n1"), False),
        (Partition("isolate", ("n1", "hub", "n2")), False),
        (Partition("deaf", ("hub", "n1")), False),
        (Link(("n1",), loss=0.1), False),
        (Kill("n2", SENDER), True),
        (Kill("n1", "lamport_clock_node"), True),
        (Pause("hub", MONITOR), True),
        (PowerOff("hub"), True),
        (Partition("deaf", ("n1", "hub")), True),
        (Partition("isolate", ("n2", "hub", "n1")), True),
        (Link(("hub",), loss=0.1), True),
        (Link(("n1",), ("n2",), loss=0.1), True),
        (Reset("n1"), True),
    ],
)
def test_a_sender_is_left_alone_if_it_and_what_it_says_are(fault: Fault, *, trusted: bool) -> None:
    assert left_alone([injected(1, fault)], ["n1"], "hub") == (["n1"] if trusted else [])


def test_silence_beyond_the_bound_must_be_suspected_whatever_its_reason() -> None:
    def judge(*events: Event) -> bool | None:
        return silent_are_suspected([beat(0, "n1", 1), *events], "hub", BOUNDS).holds

    late = beat(9, "n1", 2)
    assert judge(*both(1.5, "n1", "suspected"), late) is True
    assert judge(turn(1.5, "n1", "fixed", "suspected"), late) is False, "phi did not"
    assert judge(turn(1.5, "n1", "fixed", "suspected"), beat(4, "n1", 2)) is True, "phi need not"
    assert judge(beat(1.4, "n1", 2), beat(2.8, "n1", 3)) is True
    assert judge(*both(1.5, "n2", "suspected"), late) is False
    assert judge(beat(9, "n2", 1)) is False, "it was never heard again"
    assert judge(injected(1.0, Pause("hub", MONITOR)), late) is True, "the monitor was held up"
    assert judge(injected(1.0, Pause("n1", SENDER)), late) is False


def test_in_the_end_all_must_be_alive_to_both() -> None:
    heard = [beat(0, "n1"), beat(0, "n2")]
    away = [*heard, *both(1, "n1", "suspected"), turn(2, "n1", "fixed", "alive")]
    assert all_are_alive(heard, ["n1", "n2"]).holds is True
    assert all_are_alive(heard, ["n1", "n3"]).holds is False
    assert all_are_alive(away, ["n1", "n2"]).holds is False
    assert all_are_alive([*away, turn(3, "n1", "phi", "alive")], ["n1", "n2"]).holds is True

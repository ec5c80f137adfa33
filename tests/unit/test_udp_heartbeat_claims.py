"""The claims of udp_heartbeat, over histories that keep them and that break them."""

from __future__ import annotations

from typing import Any

from apps.kit.claims import Event
from apps.kit.faults import Kill
from apps.udp_heartbeat.claims import (
    healthy_are_trusted,
    patience_is_slow,
    pause_fools_both,
    phi_errs_less,
    readmitted,
    suspected_in_time,
    suspicions,
)

BOUNDS = {"fixed": 1.5, "phi": 5.0}


def turn(t: float, peer: str, detector: str, state: str, **fields: Any) -> Event:
    given = {"incarnation": 1, "silence": 1.5, **fields}
    return {
        "event": "transition",
        "t": t,
        "peer": peer,
        "detector": detector,
        "state": state,
        **given,
    }


def both(t: float, peer: str, state: str, **fields: Any) -> list[Event]:
    return [turn(t, peer, detector, state, **fields) for detector in ("fixed", "phi")]


def killed(t: float, peer: str) -> Event:
    fault = Kill(peer, "udp_heartbeat_sender").as_json()
    return {"event": "inject", "t": t, "node": "lab", "component": "lab", "fault": fault}


def beat(t: float, peer: str) -> Event:
    return {"event": "recv", "t": t, "id": f"{peer}.1:7>hub", "peer": "198.18.0.11:40000"}


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

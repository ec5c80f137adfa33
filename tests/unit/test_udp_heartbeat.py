"""Failure detectors, the track of a sender, the monitor, the heart: pure, with time as a number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.effects import CancelTimer, Effect, Emit, Persist, Reject, Reply, Send, SetTimer
from apps.udp_heartbeat.core import KEPT, PAGE, WATCHERS, Monitor
from apps.udp_heartbeat.detectors import (
    FixedTimeout,
    PhiAccrual,
    PhiRules,
    minus_log10_of_tail,
)
from apps.udp_heartbeat.heart import Heart
from apps.udp_heartbeat.tracking import ALIVE, DEAD, SUSPECTED, Rules, Track

RULES = Rules()
TIMEOUT = RULES.timeout
DEAD_AFTER = RULES.dead_after


# Detectors


def test_phi_is_minus_log10_of_the_chance_of_a_later_heartbeat() -> None:
    """Hayashibara 2004, section 4: phi = -log10(P_later)."""
    normal = NormalDist()
    for z in (-3.0, -0.5, 0.0, 1.0, 3.0, 5.0):
        assert minus_log10_of_tail(z) == pytest.approx(-math.log10(1 - normal.cdf(z)), rel=1e-9)


def test_phi_goes_on_where_the_probability_leaves_the_floats() -> None:
    below, above = minus_log10_of_tail(29.999999), minus_log10_of_tail(30.0)
    assert above == pytest.approx(below, abs=2e-3)
    assert minus_log10_of_tail(1000.0) == pytest.approx(1000**2 / 2 / math.log(10), rel=1e-4)


def test_the_horizon_is_where_phi_reaches_the_threshold() -> None:
    for threshold in (1.0, 3.0, 8.0, 12.0):
        phi = PhiAccrual(PhiRules(threshold=threshold, ceiling=100.0))
        for interval in (0.2, 0.3, 0.25, 0.9, 0.26):
            phi.heard(interval)
        assert phi.phi(phi.horizon) == pytest.approx(threshold)
        assert phi.phi(phi.horizon * 1.01) > threshold > phi.phi(phi.horizon * 0.99)


def test_phi_begins_with_the_expected_interval_and_a_quarter_of_it() -> None:
    phi = PhiAccrual(PhiRules(interval=1.0, pause=0.0, least_deviation=0.001))
    assert phi.mean == pytest.approx(1.0)
    assert phi.deviation == pytest.approx(0.25)


def test_the_deviation_and_the_horizon_have_their_bounds() -> None:
    rules = PhiRules(least_deviation=0.1, ceiling=5.0, window=10)
    phi = PhiAccrual(rules)
    for _ in range(50):
        phi.heard(0.25)
    assert phi.deviation == pytest.approx(0.1)
    for interval in (0.1, 4.0) * 5:
        phi.heard(interval)
    assert phi.horizon == 5.0


@given(st.lists(st.floats(0.001, 100.0), min_size=1, max_size=60))
def test_the_window_keeps_the_newest_samples(intervals: list[float]) -> None:
    phi = PhiAccrual(PhiRules(window=7, pause=0.0, least_deviation=1e-9, ceiling=1e9))
    for interval in intervals:
        phi.heard(interval)
    kept = [0.1875, 0.3125, *intervals][-7:]
    mean = sum(kept) / len(kept)
    assert phi.mean == pytest.approx(mean)
    spread = math.sqrt(sum((x - mean) ** 2 for x in kept) / len(kept))
    assert phi.deviation == pytest.approx(spread, rel=1e-3, abs=1e-4)


def test_the_fixed_timeout_learns_nothing() -> None:
    fixed = FixedTimeout(1.5)
    fixed.heard(100.0)
    assert fixed.horizon == 1.5


# One sender


def regular(track: Track, since: float, count: int, interval: float = 0.25) -> float:
    """Let a sender beat on; give the time of its last heartbeat."""
    for number in range(count):
        track.hear(since + (number + 1) * interval, track.incarnation, track.seq + 1)
    return since + count * interval


def states(track: Track, now: float) -> tuple[str, str]:
    row = track.row(now)
    return row["fixed"]["state"], row["phi"]["state"]


def run_until(track: Track, end: float) -> list[tuple[float, str, str]]:
    """Check a track whenever it is due; give what changes: when, which detector, to which state."""
    seen = []
    while track.due is not None and track.due <= end:
        now = track.due
        seen += [(now, turn.detector, turn.state) for turn in track.check(now)]
    return seen


def test_silence_makes_suspected_and_then_dead_exactly_when_due() -> None:
    track = Track(0.0, 1, 1, RULES)
    last = regular(track, 0.0, 20)
    horizon = track.row(last)["phi"]["horizon"]
    turns = run_until(track, 100.0)
    assert [(detector, state) for _, detector, state in turns] == [
        ("fixed", SUSPECTED),
        ("phi", SUSPECTED),
        ("fixed", DEAD),
        ("phi", DEAD),
    ]
    times = [when - last for when, _, _ in turns]
    expected = [TIMEOUT, horizon, TIMEOUT + DEAD_AFTER, horizon + DEAD_AFTER]
    assert times == pytest.approx(expected, abs=1e-3)
    assert track.due is None
    assert track.dead_since == turns[-1][0]


def test_a_heartbeat_takes_suspicion_and_death_back() -> None:
    for silence in (TIMEOUT + 0.5, TIMEOUT + DEAD_AFTER + 1):
        track = Track(0.0, 1, 1, RULES)
        run_until(track, silence)
        turns = track.hear(silence, 1, 2)
        assert turns is not None
        assert [(t.detector, t.state) for t in turns] == [("fixed", ALIVE), ("phi", ALIVE)]
        assert turns[0].silence == silence
        assert states(track, silence) == (ALIVE, ALIVE)


@pytest.mark.parametrize("old", [(5, 9), (5, 10), (4, 99), (1, 1)])
def test_what_is_not_newer_is_no_sign_of_life(old: tuple[int, int]) -> None:
    track = Track(0.0, 5, 10, RULES)
    run_until(track, TIMEOUT + 0.5)
    assert track.hear(TIMEOUT + 0.6, *old) is None
    assert states(track, TIMEOUT + 0.6) == (SUSPECTED, SUSPECTED)
    assert track.row(2.0)["stale"] == 1
    assert track.row(2.0)["silence"] == 2.0


def test_gaps_in_the_numbers_are_counted() -> None:
    track = Track(0.0, 1, 1, RULES)
    track.hear(0.5, 1, 3)
    track.hear(0.75, 1, 7)
    track.hear(1.0, 2, 2)  # the new life's first was lost
    row = track.row(1.0)
    assert (row["heard"], row["missed"], row["incarnation"], row["seq"]) == (4, 5, 2, 2)


def test_a_new_incarnation_is_judged_afresh() -> None:
    track = Track(0.0, 1, 1, RULES)
    now = 0.0
    for _ in range(10):
        now = regular(track, now, 1, interval=1.2)
    assert track.row(now)["phi"]["horizon"] > 2
    track.hear(now + 0.25, 2, 1)
    assert track.row(now + 0.25)["phi"]["horizon"] == pytest.approx(1.511, abs=1e-3)


def test_the_interval_that_ends_a_suspicion_is_no_sample() -> None:
    track = Track(0.0, 1, 1, RULES)
    last = regular(track, 0.0, 20)
    before = track.row(last)["phi"]["horizon"]
    run_until(track, last + 4.0)
    track.hear(last + 4.0, 1, track.seq + 1)
    assert track.row(last + 4.0)["phi"]["horizon"] == before


def test_tolerated_irregularity_makes_phi_patient_and_fixed_not() -> None:
    track = Track(0.0, 1, 1, RULES)
    last = regular(track, 0.0, 5)
    for _ in range(3):
        last = regular(track, regular(track, last, 1, interval=1.2), 3)
    turns = run_until(track, last + 2.2)
    assert [(detector, state) for _, detector, state in turns] == [("fixed", SUSPECTED)]


def test_the_monitors_own_lateness_is_not_held_against_a_sender() -> None:
    track = Track(0.0, 1, 1, RULES)
    last = regular(track, 0.0, 20)
    assert track.due == last + TIMEOUT
    late = track.due + 10.0
    assert track.check(late) == []
    assert states(track, late) == (ALIVE, ALIVE)
    turns = run_until(track, late + TIMEOUT + 0.1)
    assert turns[0][0] == pytest.approx(late + TIMEOUT)
    assert turns[0][1:] == ("fixed", SUSPECTED)


def test_the_monitors_own_lateness_brings_nobody_back_to_life() -> None:
    track = Track(0.0, 1, 1, RULES)
    run_until(track, TIMEOUT + 0.1)
    assert track.due is not None
    assert track.check(track.due + 10.0) == []
    assert states(track, 20.0) == (SUSPECTED, SUSPECTED)
    run_until(track, 100.0)
    assert states(track, 100.0) == (DEAD, DEAD)


def test_what_waited_while_the_monitor_was_held_up_is_no_sample() -> None:
    track = Track(0.0, 1, 1, RULES)
    last = regular(track, 0.0, 20)
    before = track.row(last)["phi"]["horizon"]
    assert track.hear(last + 3.0, 1, track.seq + 1) == []
    assert track.row(last + 3.0)["phi"]["horizon"] == before
    assert states(track, last + 3.0) == (ALIVE, ALIVE)


# The monitor


class World:
    """Runs a monitor's effects by hand: timers when they are due, nothing else."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.now = 0.0
        self.timers: dict[str, float] = {}
        self.said: list[Effect] = []

    def do(self, effects: Iterable[Effect]) -> list[Effect]:
        done = list(effects)
        for effect in done:
            if isinstance(effect, SetTimer):
                assert effect.after > 0 or effect.name.startswith("r/")
                self.timers[effect.name] = self.now + effect.after
            elif isinstance(effect, CancelTimer):
                self.timers.pop(effect.name, None)
            else:
                self.said.append(effect)
        return done

    def run(self, until: float) -> None:
        while self.timers and min(self.timers.values()) <= until:
            name = min(self.timers, key=lambda timer: self.timers[timer])
            self.now = self.timers.pop(name)
            self.do(self.monitor.timer(self.now, name))
        self.now = until

    def hear(self, **message: Any) -> list[Effect]:
        return self.do(self.monitor.receive(self.now, "somewhere", message))

    def beat(self, node: str, seq: int, incarnation: int = 1) -> list[Effect]:
        return self.hear(kind="heartbeat", node=node, incarnation=incarnation, seq=seq)

    def ask(self, **body: Any) -> dict[str, Any]:
        (effect,) = self.do(self.monitor.request(self.now, "r/1", body))
        assert isinstance(effect, Reply)
        return dict(effect.result)

    def events(self, event: str) -> list[dict[str, Any]]:
        return [dict(e.fields) for e in self.said if isinstance(e, Emit) and e.event == event]


@pytest.fixture
def world() -> World:
    return World(Monitor(RULES, senders=3))


def test_a_sender_is_met_suspected_declared_dead_and_taken_back(world: World) -> None:
    world.beat("n1", 1)
    world.run(10.0)
    world.beat("n1", 1, incarnation=2)
    turns = [(e["detector"], e["state"], e["was"]) for e in world.events("transition")]
    assert turns == [
        ("fixed", ALIVE, None),
        ("phi", ALIVE, None),
        ("fixed", SUSPECTED, ALIVE),
        ("phi", SUSPECTED, ALIVE),
        ("fixed", DEAD, SUSPECTED),
        ("phi", DEAD, SUSPECTED),
        ("fixed", ALIVE, DEAD),
        ("phi", ALIVE, DEAD),
    ]
    assert [e["n"] for e in world.events("transition")] == list(range(1, 9))
    assert world.events("restarted") == [{"peer": "n1", "incarnation": 2, "was": 1}]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"node": "n1"},
        {"node": "", "incarnation": 1, "seq": 1},
        {"node": "../etc", "incarnation": 1, "seq": 1},
        {"node": "x" * 64, "incarnation": 1, "seq": 1},
        {"node": ["n1"], "incarnation": 1, "seq": 1},
        {"node": "n1", "incarnation": "1", "seq": 1},
        {"node": "n1", "incarnation": True, "seq": 1},
        {"node": "n1", "incarnation": 1, "seq": -1},
        {"node": "n1", "incarnation": 1, "seq": 1e300},
        {"node": "n1", "incarnation": 1, "seq": 1 << 60},
        {"node": "n1", "incarnation": 1, "seq": None},
    ],
)
def test_garbage_is_counted_and_changes_nothing(world: World, message: dict[str, Any]) -> None:
    for _ in range(1000):
        world.hear(**message)
    assert world.said == []
    world.run(5.0)
    (report,) = world.events("ignored")
    assert sum(report["counts"].values()) == 1000
    assert world.ask(f="status") == {"senders": []}


def test_a_full_table_ignores_new_names_until_somebody_is_dead(world: World) -> None:
    for number, name in enumerate(("a", "b", "c")):
        world.now = number * 0.1
        world.beat(name, 1)
    assert world.beat("d", 1) == [SetTimer(":ignored", 1.0)]
    world.run(0.5)
    world.beat("c", 2)
    world.run(5.0)
    world.beat("d", 1)
    assert [row["node"] for row in world.ask(f="status")["senders"]] == ["b", "c", "d"]
    world.run(50.0)
    assert {row["fixed"]["state"] for row in world.ask(f="status")["senders"]} == {DEAD}


def test_status_comes_in_pages() -> None:
    world = World(Monitor(RULES, senders=1000))
    names = [f"s{number:03}" for number in range(2 * PAGE + 5)]
    for name in reversed(names):
        world.beat(name, 1)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = world.ask(f="status", after=after)
        seen += [row["node"] for row in page["senders"]]
        after = page.get("next")
    assert seen == names


def test_who_watches_is_told_at_once_or_when_it_happens_or_when_time_is_up(world: World) -> None:
    assert list(world.do(world.monitor.request(0.0, "r/1", {"f": "watch", "wait": 5}))) == [
        SetTimer("r/1", 5)
    ]
    world.beat("n1", 1)
    (reply,) = (e for e in world.said if isinstance(e, Reply))
    assert reply.request == "r/1"
    assert [turn["detector"] for turn in reply.result["transitions"]] == ["fixed", "phi"]
    assert "r/1" not in world.timers
    again = world.ask(f="watch", after=1)
    assert [turn["detector"] for turn in again["transitions"]] == ["phi"]

    world.said.clear()
    world.do(world.monitor.request(world.now, "r/2", {"f": "watch", "after": 2, "wait": 1}))
    world.run(1.2)
    assert world.said == [Reply("r/2", {"transitions": [], "next": 2})]


def test_too_many_watchers_are_turned_away(world: World) -> None:
    for number in range(WATCHERS):
        world.do(world.monitor.request(0.0, f"r/{number}", {"f": "watch"}))
    (refused,) = world.monitor.request(0.0, "r/x", {"f": "watch"})
    assert isinstance(refused, Reject)
    world.run(60.0)
    assert len([e for e in world.said if isinstance(e, Reply)]) == WATCHERS


def test_a_watcher_that_was_away_for_long_gets_what_is_still_known(world: World) -> None:
    for number in range(KEPT):
        world.beat("n1", 1, incarnation=number + 1)
        world.run(world.now + 10.0)
    news = world.ask(f="watch", after=0)["transitions"]
    assert len(news) == PAGE
    assert news[0]["n"] > 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"f": "fly"},
        {"f": "status", "after": 3},
        {"f": "watch", "after": "n1"},
        {"f": "watch", "wait": -1},
        {"f": "watch", "wait": 1e9},
        {"f": "watch", "wait": True},
        {"f": ["status"]},
    ],
)
def test_a_wrong_request_is_told_what_is_right(world: World, body: dict[str, Any]) -> None:
    (effect,) = world.monitor.request(0.0, "r/1", body)
    assert isinstance(effect, Reject)
    assert '"f": "status"' in effect.reason


# The heart


def test_a_heart_makes_its_incarnation_durable_before_it_beats() -> None:
    first, *_ = effects = list(Heart("n1", ["hub", "n9"], 0.25, {"incarnation": 6}).start(10.0))
    assert first == Persist("incarnation", 7)
    beat = {"kind": "heartbeat", "node": "n1", "incarnation": 7, "seq": 1}
    assert [e for e in effects if isinstance(e, Send)] == [Send("hub", beat), Send("n9", beat)]
    assert effects[-1] == SetTimer("beat", 0.25)


def test_an_incarnation_grows_though_the_disk_or_the_clock_was_lost() -> None:
    assert Heart("n1", [], 1.0, {"incarnation": 6}, at_least=1000).incarnation == 1000
    assert Heart("n1", [], 1.0, {"incarnation": 2000}, at_least=1000).incarnation == 2001
    assert Heart("n1", [], 1.0, {}).incarnation == 1


def test_a_heart_keeps_its_rhythm_and_makes_up_for_nothing() -> None:
    heart = Heart("n1", ["hub"], 0.25, {})
    list(heart.start(0.0))
    late = list(heart.timer(0.30, "beat"))
    (timer,) = (e for e in late if isinstance(e, SetTimer))
    assert timer.after == pytest.approx(0.20)
    paused = list(heart.timer(9.0, "beat"))
    assert len([e for e in paused if isinstance(e, Send)]) == 1
    assert paused[-1] == SetTimer("beat", 0.25)

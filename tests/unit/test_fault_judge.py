"""Whether a fault took: right links pass, wrong ones are refused, by the probes' own numbers."""

from __future__ import annotations

import random
from socket import inet_aton

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.faults.onhost.emulator import Emulator
from lab.faults.onhost.judge import Judgement, burst, plausible, salvo
from lab.faults.onhost.probes import Salvo, Sample
from lab.faults.onhost.ways import Effects, Way

PEER = "198.18.0.12"
LINKS = [
    {"delay": 0.05},
    {"delay": 0.05, "jitter": 0.01},
    {"delay": 0.1, "jitter": 0.1},
    {"delay": 5.0},
    {"loss": 0.2},
    {"loss": 1.0},
    {"loss": 0.02},
    {"duplicate": 0.3},
    {"delay": 0.02, "reorder": 0.25},
    {"corrupt": 0.1},
    {"rate": 1e6},
    {"rate": 2e4},
    {"rate": 64e3, "delay": 0.1, "jitter": 0.02},
    {"delay": 0.03, "jitter": 0.01, "loss": 0.1, "duplicate": 0.1, "reorder": 0.1, "corrupt": 0.1},
]


def fired(what: Effects, shots: Salvo, seed: int) -> Sample:
    """What becomes of probes on a link that has these effects."""
    emulator = Emulator([Way((PEER,), what, 1)], random.Random(seed))
    sample, frames = Sample(), {}
    now, end = 0.0, shots.count * shots.pace + shots.patience
    for place in range(shots.count):
        sent = bytes(30) + inet_aton(PEER) + place.to_bytes(4, "big") + bytes(shots.frame - 38)
        frames[sent] = place
        now = place * shots.pace
        sample.sent.append(now)
        emulator.take(now, sent)
    while (wakes := emulator.wakes) is not None and wakes <= end:
        sample.left += [(frames.get(sent), wakes + 5e-5) for sent in emulator.release(wakes)]
    return sample


def judged(wanted: Effects, there: Effects, seed: int) -> Judgement:
    judgement = Judgement(wanted)
    for shots, judge in (
        (salvo(wanted, 0), judgement.probes),
        (burst(wanted, 0), judgement.burst),
    ):
        if shots is not None:
            judge(shots, fired(there, shots, seed))
    return judgement


@pytest.mark.parametrize("what", LINKS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_link_as_wanted_passes(what: dict[str, float], seed: int) -> None:
    judgement = judged(Effects(**what), Effects(**what), seed)
    assert judgement.complaints == []
    assert judgement.figures


@pytest.mark.parametrize("what", LINKS, ids=str)
def test_a_link_without_the_fault_is_refused(what: dict[str, float]) -> None:
    judgement = judged(Effects(**what), Effects(), 1)
    assert judgement.complaints
    assert any(
        f"{name}: wanted" in complaint for name in what for complaint in judgement.complaints
    )


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ({"delay": 0.05}, {"delay": 0.1}),
        ({"delay": 0.05}, {"delay": 0.05, "loss": 0.5}),
        ({"delay": 0.05, "jitter": 0.04}, {"delay": 0.05}),
        ({"loss": 0.2}, {"loss": 0.5}),
        ({"loss": 1.0}, {"loss": 0.9}),
        ({"duplicate": 0.1}, {"duplicate": 0.4}),
        ({"rate": 1e6}, {"rate": 2e6}),
        ({"rate": 1e6}, {"rate": 5e5}),
    ],
    ids=str,
)
def test_another_fault_is_refused(wanted: dict[str, float], there: dict[str, float]) -> None:
    assert judged(Effects(**wanted), Effects(**there), 1).complaints


@given(st.integers(1, 300), st.floats(0, 1), st.integers())
def test_what_chance_brings_is_plausible(of: int, chance: float, seed: int) -> None:
    rng = random.Random(seed)
    assert plausible(sum(rng.random() < chance for _ in range(of)), of, chance)


@pytest.mark.parametrize(("seen", "of", "chance"), [(0, 200, 0.2), (90, 200, 0.2), (199, 200, 1.0)])
def test_what_chance_does_not_bring_is_not(seen: int, of: int, chance: float) -> None:
    assert not plausible(seen, of, chance)


def test_probes_are_few_and_quick() -> None:
    for what in LINKS:
        for shots in (salvo(Effects(**what), 0), burst(Effects(**what), 0)):
            if shots is not None:
                assert shots.count <= 1000
                assert shots.count * shots.pace <= 1.0

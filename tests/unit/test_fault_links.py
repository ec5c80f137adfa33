"""Links with faults: how several come together, what the emulator does, what the engines are told.

The emulator is checked against tc-netem(8), whose place it takes.
"""

from __future__ import annotations

import itertools
import random
from socket import inet_aton

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.faults.onhost import emulation, netem, network
from lab.faults.onhost.emulator import HEADER, Emulator
from lab.faults.onhost.records import Record
from lab.faults.onhost.ways import LIMIT, LIMIT_OF_RATE, MULTICAST, Effects, Way, together, ways

PEER, OTHER, ALL = "198.18.0.12", "198.18.0.13", "198.18.0.255"
parts = st.floats(0, 1)
effects = st.builds(
    lambda delay, late, **rest: Effects(delay=delay, jitter=delay * late, **rest),
    delay=st.floats(0, 1),
    late=parts,
    loss=parts,
    duplicate=parts,
    reorder=parts,
    corrupt=parts,
    rate=st.sampled_from([0.0, 1e4, 1e6]),
)


def frame(number: int = 0, to: str = PEER, size: int = 100) -> bytes:
    """A frame of Ethernet with a packet of IPv4 for somebody."""
    header = bytes(12) + b"\x08\x00" + bytes(16) + inet_aton(to)
    return header + number.to_bytes(4, "big") + bytes(size - len(header) - 4)


def number(sent: bytes) -> int:
    return int.from_bytes(sent[34:38], "big")


def emulator(seed: int = 1, to: tuple[str, ...] = (PEER,), **what: float) -> Emulator:
    return Emulator([Way(to, Effects(**what), 1)], random.Random(seed))


def through(emulated: Emulator, count: int, gap: float = 0.001) -> list[tuple[float, bytes]]:
    """Send frames, one each `gap` seconds; give each that comes out, at the time it was due."""
    out: list[tuple[float, bytes]] = []
    for place in range(count):
        now = place * gap
        while emulated.wakes is not None and emulated.wakes <= now:
            out += [(wakes, one) for wakes in [emulated.wakes] for one in emulated.release(wakes)]
        emulated.take(now, frame(place))
    while (wakes := emulated.wakes) is not None:
        out += [(wakes, one) for one in emulated.release(wakes)]
    return out


def record(id_: str, *, to: tuple[str, ...] = (PEER,), all_: bool = False, **what: float) -> Record:
    parameters = {"to": list(to), "broadcast": all_, "effects": what, "ssh_port": 2222}
    return Record(id_, "link", parameters, {}, 60.0, since=0.0)


# Several faults on one way


def test_delays_add_up_parts_must_all_be_escaped_and_the_lowest_rate_counts() -> None:
    one = Effects(delay=0.05, jitter=0.01, loss=0.5, corrupt=0.1, rate=1e6)
    two = Effects(delay=0.02, loss=0.5, duplicate=0.2, reorder=0.3, rate=5e5)
    both = together([one, two])
    assert [both.delay, both.jitter, both.rate] == pytest.approx([0.07, 0.01, 5e5])
    assert [both.loss, both.duplicate, both.reorder, both.corrupt] == pytest.approx(
        [0.75, 0.2, 0.3, 0.1]
    )


@given(st.lists(effects, max_size=4))
def test_what_comes_together_is_a_link_again_in_any_order(several: list[Effects]) -> None:
    joint, back = together(several), together(several[::-1])
    for name in ("delay", "jitter", "loss", "duplicate", "reorder", "corrupt", "rate"):
        assert getattr(joint, name) == pytest.approx(getattr(back, name))
        assert getattr(joint, name) >= 0
    assert joint.jitter <= joint.delay * (1 + 1e-9)
    assert max(joint.loss, joint.duplicate, joint.reorder, joint.corrupt) <= 1
    assert together([joint]) == joint


def test_addresses_on_which_the_same_faults_act_are_one_way() -> None:
    links = [record("a", to=(PEER, OTHER), delay=0.1), record("b", to=(OTHER,), loss=0.5)]
    first, second = ways(links, [PEER, OTHER], [ALL, MULTICAST])
    assert (first.to, first.effects) == ((PEER,), Effects(delay=0.1))
    assert (second.to, second.effects) == ((OTHER,), Effects(delay=0.1, loss=0.5))
    assert first.number != second.number


def test_broadcasts_suffer_from_faults_towards_all_alone() -> None:
    some, everyone = record("a", delay=0.1), record("b", all_=True, loss=0.5)
    assert [way.to for way in ways([some], [PEER], [ALL, MULTICAST])] == [(PEER,)]
    found = {way.to: way.effects.delay for way in ways([some, everyone], [PEER], [ALL, MULTICAST])}
    assert found == {(PEER,): 0.1, (ALL, MULTICAST): 0.0}


# The emulator


def test_a_delay_keeps_the_order_and_every_frame() -> None:
    out = through(emulator(delay=0.05), 500)
    assert [number(sent) for _, sent in out] == list(range(500))
    assert all(at == pytest.approx(number(sent) * 0.001 + 0.05) for at, sent in out)


def test_jitter_is_even_around_the_delay() -> None:
    out = through(emulator(delay=0.05, jitter=0.02), 4000)
    late = [at - number(sent) * 0.001 for at, sent in out]
    assert 0.03 <= min(late) < 0.032
    assert 0.068 < max(late) <= 0.07
    assert sum(late) / len(late) == pytest.approx(0.05, abs=0.001)
    assert sorted(at for at, _ in out) == [at for at, _ in out]


@pytest.mark.parametrize("part", [0.01, 0.2, 0.9])
def test_so_many_are_lost(part: float) -> None:
    lost = 1 - len(through(emulator(loss=part), 20_000)) / 20_000
    assert lost == pytest.approx(part, abs=0.02)


def test_all_are_lost_where_all_shall_be() -> None:
    what = together([Effects(loss=1.0), Effects(duplicate=0.5)])
    assert through(Emulator([Way((PEER,), what, 1)], random.Random(1)), 1000) == []


def test_so_many_are_doubled_and_each_copy_can_be_lost() -> None:
    assert len(through(emulator(duplicate=0.3), 20_000)) == pytest.approx(26_000, rel=0.02)
    both = through(emulator(duplicate=1.0, loss=0.5), 20_000)
    assert len({number(sent) for _, sent in both}) == 20_000  # one of two at least: netem's rule


def test_so_many_overtake() -> None:
    out = through(emulator(delay=0.05, reorder=0.25), 8000)
    early = sum(at == pytest.approx(number(sent) * 0.001) for at, sent in out)
    assert early / 8000 == pytest.approx(0.25, abs=0.03)
    assert [number(sent) for _, sent in out] != sorted(number(sent) for _, sent in out)


def test_a_damaged_frame_has_one_bit_flipped_behind_its_header() -> None:
    for place, (_, sent) in enumerate(through(emulator(corrupt=1.0), 300)):
        was = frame(place)
        changed = int.from_bytes(was, "big") ^ int.from_bytes(sent, "big")
        assert changed.bit_count() == 1
        assert sent[:HEADER] == was[:HEADER]


@given(st.lists(st.integers(64, 1500), min_size=2, max_size=60), st.floats(1e4, 1e7))
def test_no_more_than_the_rate_leaves_in_any_time(sizes: list[int], rate: float) -> None:
    emulated = emulator(rate=rate)
    for place, size in enumerate(sizes):
        emulated.take(place * 1e-4, frame(place, size=size))
    out = []
    while (wakes := emulated.wakes) is not None:
        out += [(wakes, sent) for sent in emulated.release(wakes)]
    assert [number(sent) for _, sent in out] == list(range(len(sizes)))
    for first, last in itertools.combinations(range(len(out)), 2):
        bits = 8 * sum(len(sent) for _, sent in out[first + 1 : last + 1])
        assert bits <= rate * (out[last][0] - out[first][0]) * (1 + 1e-6) + 1e-3


def test_an_idle_way_saves_nothing_up() -> None:
    emulated = emulator(rate=8000.0)
    emulated.take(100.0, frame(size=100))
    assert emulated.wakes == pytest.approx(100.1)


@pytest.mark.parametrize(("rate", "limit"), [(0.0, LIMIT), (1e6, LIMIT_OF_RATE)])
def test_so_many_are_held_back_and_no_more_and_the_rest_is_counted(rate: float, limit: int) -> None:
    emulated = emulator(delay=10.0, rate=rate)
    for place in range(limit + 7):
        emulated.take(0.0, frame(place))
    assert emulated.overflowed == 7
    assert len(emulated.release_all()) == limit
    emulated.take(0.0, frame())
    assert emulated.overflowed == 7


def test_what_is_for_nobody_on_a_way_passes_at_once() -> None:
    emulated = emulator(loss=1.0)
    for odd in (frame(to=OTHER), frame(to="224.0.0.1"), b"short"):
        emulated.take(1.0, odd)
        assert emulated.release(1.0) == [odd]


@pytest.mark.parametrize("to", [ALL, "224.0.0.1", "255.255.255.255"])
def test_what_is_for_all_has_a_way_of_its_own(to: str) -> None:
    emulated = emulator(to=(ALL, MULTICAST), delay=1.0)
    emulated.take(0.0, frame(to=to))
    assert emulated.wakes == 1.0


def test_a_change_leaves_what_is_held_back_alone() -> None:
    emulated = emulator(delay=1.0)
    emulated.take(0.0, frame(1))
    emulated.change([Way((PEER,), Effects(delay=0.1), 1)])
    emulated.take(0.0, frame(2))
    emulated.change([])
    emulated.take(0.0, frame(3))
    assert [number(sent) for sent in emulated.release(0.5)] == [3, 2]
    assert [number(sent) for sent in emulated.release(1.0)] == [1]


def test_a_change_does_not_let_a_rate_start_afresh() -> None:
    emulated = emulator(rate=8000.0)
    emulated.take(0.0, frame(1, size=100))
    emulated.change([Way((PEER,), Effects(rate=8000.0), 1)])
    emulated.take(0.0, frame(2, size=100))
    emulated.release(0.1)
    assert emulated.wakes == pytest.approx(0.2)


@given(st.integers(0, 2**32), effects)
def test_the_same_chance_makes_the_same_link(seed: int, what: Effects) -> None:
    def played() -> list[tuple[float, bytes]]:
        return through(Emulator([Way((PEER,), what, 1)], random.Random(seed)), 50)

    assert played() == played()


# What the engines are told


TWO = [
    Way((PEER,), Effects(delay=0.05, jitter=0.005, loss=0.2), 0x1A2B),
    Way((OTHER, MULTICAST), Effects(corrupt=0.001, rate=1e6), 0x7),
]


def test_netem_is_told_by_a_class_for_each_way() -> None:
    assert netem.commands("eth1", TWO, {"d157:7", "d157:9"}, new=False).splitlines() == [
        "class add dev eth1 parent d157: classid d157:1a2b htb rate 32gbit quantum 60000",
        "qdisc replace dev eth1 parent d157:1a2b netem limit 10000 delay 50000us 5000us loss 20%",
        "qdisc replace dev eth1 parent d157:7 netem limit 1000 corrupt 0.1% rate 1000000bit",
        "qdisc delete dev eth1 parent d157:9",
        "class delete dev eth1 classid d157:9",
    ]
    begun = netem.commands("eth1", TWO, set(), new=True).splitlines()
    assert begun[0] == "qdisc add dev eth1 root handle d157: htb"


def test_the_table_passes_ssh_first_then_drops_and_hands_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(emulation, "tap", lambda _: "distlab7")
    wanted = [record("a")]
    for engine, before, to in (
        (netem, "", ["meta priority set d157:1a2b", "meta priority set d157:7"]),
        (emulation, "    meta mark { 0xd157, 0xd158 } accept\n", ['fwd to "distlab7"'] * 2),
    ):
        assert network.table(wanted, {"eth1": [OTHER, PEER]}, {"eth1": TWO}, engine) == (
            "table netdev distlab_faults {\n"
            "  chain in_0 {\n"
            '    type filter hook ingress device "eth1" priority -300\n'
            "    tcp dport { 2222 } accept\n"
            "    tcp sport { 2222 } accept\n"
            f"    ip saddr {{ {PEER}, {OTHER} }} counter drop\n"
            "  }\n"
            "  chain out_0 {\n"
            '    type filter hook egress device "eth1" priority 0\n'
            f"{before}"
            "    tcp dport { 2222 } accept\n"
            "    tcp sport { 2222 } accept\n"
            f"    ip daddr {{ {PEER} }} counter {to[0]}\n"
            f"    ip daddr {{ {OTHER}, {MULTICAST} }} counter {to[1]}\n"
            "  }\n"
            "}\n"
        )


def test_no_record_no_table() -> None:
    assert network.table([], {}, {}, None) == ""

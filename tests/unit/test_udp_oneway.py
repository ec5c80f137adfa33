"""One-way datagrams: their format, the counts against a naive oracle, the claims, and loopback."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import random
import socket
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.address import Address
from apps.kit.claims import Event
from apps.kit.events import Events
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.udp_oneway.__main__ import cli
from apps.udp_oneway.claims import (
    counts_add_up,
    counts_are_what_came,
    figures,
    loss_was_seen,
    nothing_corrupt_was_delivered,
    reordering_was_seen,
)
from apps.udp_oneway.core import Fate, Receiver, Stream
from apps.udp_oneway.quantiles import Quantiles
from apps.udp_oneway.receiver import MOST_SENDERS, ReceiverService
from apps.udp_oneway.report import ask, asking, confirm
from apps.udp_oneway.sender import Sender, paced
from apps.udp_oneway.trouble import Trouble
from apps.udp_oneway.wire import FAREWELLS, LONGEST_PAYLOAD, Corrupt, Numbered, Text, decode, encode
from tests.loopback import free_port

# The format

names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=60)
datagrams = st.builds(
    Numbered,
    sender=names,
    run=st.integers(0, 2**64 - 1),
    number=st.integers(1, 2**64 - 1),
    sent=st.integers(0, 2**64 - 1),
    payload=st.binary(max_size=200),
    end=st.booleans(),
)


@given(datagrams)
def test_what_is_encoded_is_decoded(datagram: Numbered) -> None:
    assert decode(encode(datagram)) == datagram


@given(datagrams, st.data())
def test_a_burst_of_damage_makes_neither_another_datagram_nor_text(
    datagram: Numbered, data: st.DataObject
) -> None:
    encoded = encode(datagram)
    bits = 8 * len(encoded)
    width = data.draw(st.integers(1, 32))
    burst = data.draw(st.integers(0, 2 ** (width - 1) - 1)) << 1 | 1  # begins with a wrong bit
    at = data.draw(st.integers(0, bits - width))
    damaged = int.from_bytes(encoded) ^ (burst << at)
    assert isinstance(decode(damaged.to_bytes(len(encoded))), Corrupt)


@given(datagrams, st.data())
def test_what_is_cut_short_is_corrupt(datagram: Numbered, data: st.DataObject) -> None:
    encoded = encode(datagram)
    assert isinstance(decode(encoded[: data.draw(st.integers(1, len(encoded) - 1))]), Corrupt)


@given(st.binary(max_size=300))
def test_anything_may_come(data: bytes) -> None:
    decode(data)


@pytest.mark.parametrize("text", ["", "hello\n", "grüße\r\n", "a\tb"])
def test_plain_text_is_text(text: str) -> None:
    assert decode(text.encode()) == Text(text)


@pytest.mark.parametrize("data", [b"\0", b"\x1b[2J", b"\xff", b"\xff\xd1", b"\xfe\xff" * 40])
def test_what_is_neither_is_corrupt(data: bytes) -> None:
    assert isinstance(decode(data), Corrupt)


@pytest.mark.parametrize(
    "bad",
    [Numbered("", 1, 1, 1), Numbered("a b", 1, 1, 1), Numbered("a\n", 1, 1, 1)],
    ids=["none", "space", "line break"],
)
def test_a_name_that_cannot_be_asked_for_is_refused(bad: Numbered) -> None:
    with pytest.raises(ValueError, match="no sender's name"):
        encode(bad)


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 255 and 60000 fit"):
        encode(Numbered("n" * 256, 1, 1, 1))
    with pytest.raises(ValueError, match="at most 255 and 60000 fit"):
        encode(Numbered("n", 1, 1, 1, b"x" * (LONGEST_PAYLOAD + 1)))


def test_a_number_zero_with_a_right_checksum_is_corrupt() -> None:
    assert isinstance(decode(encode(Numbered("n", 1, 0, 1))), Corrupt)


# Counting


class Oracle:
    """Counts as the definitions say it, and remembers everything."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.arrived: list[int] = []
        self.seen: set[int] = set()
        self.counts: Counter[str] = Counter()

    def arrive(self, number: int) -> None:
        highest = max([*self.arrived, number])
        if highest - number >= self.window:
            self.counts["stale"] += 1
        elif number in self.seen:
            self.counts["duplicated"] += 1
        else:
            self.counts["received"] += 1
            self.counts["reordered"] += number < highest
            self.seen.add(number)
        self.arrived.append(number)
        self.counts["lost"] = highest - len(self.seen)


@given(
    st.integers(1, 12),
    st.lists(st.one_of(st.integers(1, 40), st.integers(1, 10_000)), max_size=80),
)
def test_the_counts_are_those_of_an_oracle(window: int, numbers: list[int]) -> None:
    stream, oracle = Stream(window), Oracle(window)
    for number in numbers:
        stream.arrive(number, 0.0)
        oracle.arrive(number)
        counted = {name: getattr(stream, name) for name in oracle.counts}
        assert counted == dict(oracle.counts)


@given(st.integers(1, 200), st.integers(0, 2**32), st.sampled_from([4, 64, 4096]))
def test_the_counts_add_up_through_a_bad_network(sent: int, seed: int, window: int) -> None:
    rng = random.Random(seed)
    arrivals = sorted(
        (number + rng.uniform(0, 20), number)
        for number in range(1, sent + 1)
        for _ in range(rng.choice((0, 1, 1, 1, 2)))
    )
    stream = Stream(window)
    fates = Counter(stream.arrive(number, 0.0) for _, number in arrivals)
    stream.end(sent)
    assert stream.received + stream.lost == sent
    assert stream.received + stream.duplicated + stream.stale == len(arrivals)
    assert (stream.received, stream.duplicated, stream.stale) == (
        fates[Fate.RECEIVED],
        fates[Fate.DUPLICATED],
        fates[Fate.STALE],
    )
    if window > 100:  # nothing comes later than that
        assert stream.received == len({number for _, number in arrivals})


def test_the_example_of_the_readme() -> None:
    stream = Stream(64)
    for number in (1, 3, 2, 2, 5):
        stream.arrive(number, 0.0)
    report = stream.report()
    assert (report["received"], report["lost"]) == (4, 1)
    assert (report["reordered"], report["duplicated"], report["farthest"]) == (1, 1, 1)


def test_the_lost_ones_at_the_end_are_known_after_the_end() -> None:
    stream = Stream(64)
    stream.arrive(1, 0.0)
    assert stream.lost == 0
    stream.end(5)
    assert stream.lost == 4
    stream.arrive(5, 0.0)
    stream.end(5)
    assert stream.lost == 3


def test_a_jump_costs_no_more_than_the_window() -> None:
    stream = Stream(8)
    stream.arrive(2**63, 0.0)
    assert stream.arrive(2**63 - 7, 0.0) is Fate.RECEIVED
    assert stream.arrive(2**63 - 8, 0.0) is Fate.STALE


def test_runs_of_one_sender_are_counted_apart() -> None:
    receiver = Receiver(senders=10, window=8)
    for run in (1, 2):
        for number in (1, 2):
            receiver.take(Numbered("n1", run, number, 0), now=0)
    assert [stream["received"] for stream in receiver.report("n1")] == [2, 2]
    assert receiver.report("n2") == []


def test_streams_are_bounded_and_the_silent_one_makes_room() -> None:
    receiver = Receiver(senders=2, window=8)
    for sender in ("a", "b", "a", "c"):
        receiver.take(Numbered(sender, 1, 1, 0), now=0)
    assert [stream["stream"] for stream in receiver.report()] == ["a/1", "c/1"]
    assert receiver.totals()["forgotten"] == 1
    assert {stream["stream"] for stream in receiver.changes()} == {"a/1", "c/1"}
    assert receiver.changes() == []


def test_changes_are_given_some_at_a_time() -> None:
    receiver = Receiver(senders=100, window=1)
    for number in range(100):
        receiver.take(Numbered(f"n{number}", 1, 1, 0), now=0)
    assert [len(receiver.changes(40)) for _ in range(4)] == [40, 40, 20, 0]


def test_delays_are_measured_and_their_variation_knows_no_clock() -> None:
    receiver = Receiver(senders=1, window=64)
    ahead = 3_600_000_000_000  # the receiver's clock, by an hour
    for number in range(1, 101):
        sent = number * 1_000_000
        took = 2_000_000 if number % 2 else 5_000_000
        receiver.take(Numbered("n1", 1, number, sent), now=sent + took + ahead)
    (stream,) = receiver.report()
    assert stream["p50_ms"] == pytest.approx(3_600_000, rel=0.03)
    assert stream["variation_p50_ms"] == pytest.approx(3, rel=0.03)


@given(st.lists(st.floats(1e-6, 1e9), min_size=1), st.floats(0.01, 1))
def test_quantiles_are_true_to_their_bound(values: list[float], share: float) -> None:
    quantiles = Quantiles()
    for value in values:
        quantiles.add(value)
    found = quantiles.quantile(share)
    assert found is not None
    assert any(found == pytest.approx(value, rel=0.025) for value in values)
    below = sum(value < found / 1.025 for value in values)
    assert below <= share * len(values) + 1e-6


def test_nothing_has_no_quantile() -> None:
    assert Quantiles().quantile(0.5) is None


# Trouble


@given(st.integers(0, 2**32), st.integers(0, 300), st.sampled_from([0.0, 0.1, 0.3]))
def test_trouble_says_exactly_what_it_did(seed: int, count: int, share: float) -> None:
    trouble = Trouble(random.Random(seed), share, share, share)
    receiver = Receiver(senders=1, window=4096)
    data = [encode(Numbered("n1", 1, number, 0, b"payload")) for number in range(1, count + 1)]
    passed = [out for datagram in data for out in trouble.pass_on(datagram)]
    for out in (*passed, *trouble.rest(), encode(Numbered("n1", 1, count, 0, end=True))):
        receiver.take(decode(out), now=0)
    (stream,) = receiver.report()
    assert stream["received"] == count - trouble.corrupted
    assert stream["lost"] == trouble.corrupted == receiver.totals()["corrupt"]
    assert stream["duplicated"] == trouble.copies
    assert stream["reordered"] == trouble.late


# The claims


def summary(**fields: Any) -> Event:
    figures = {"sent": 10, "copies": 0, "corrupted": 0, "late": 0}
    return {"event": "summary", "stream": "n1/1", **figures, **fields}


def counts(received: int, lost: int, **fields: Any) -> Event:
    figures = {"duplicated": 0, "reordered": 0, "stale": 0, "farthest": 0}
    heard = {"highest": received + lost, "ended": True}
    return {
        "event": "counts",
        "stream": "n1/1",
        "received": received,
        "lost": lost,
        **figures,
        **heard,
        **fields,
    }


def seen(event: str, payload: bytes, number: int = 1) -> Event:
    return {"event": event, "id": f"n1/1#{number}", "crc": f"{zlib.crc32(payload):08x}"}


START: Event = {"event": "start", "component": "receiver"}


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([], None),
        ([summary()], None),
        ([summary(), counts(8, 2)], True),
        ([summary(), counts(8, 1)], False),
        ([summary(), counts(8, 3)], False),
        ([summary(), counts(5, 1), counts(8, 2)], True),
        ([summary(), counts(5, 1, ended=False)], True),
        ([summary(), counts(9, 3, ended=False)], False),
        ([summary(), counts(10, 0, duplicated=1, stale=3)], True),
        ([summary(corrupted=1), counts(10, 0)], False),
    ],
)
def test_the_claim_that_counts_add_up(history: list[Event], holds: bool | None) -> None:
    assert counts_add_up(history).holds is holds


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([], None),
        ([seen("send", b"a")], None),
        ([seen("send", b"a"), seen("recv", b"a")], True),
        ([seen("send", b"a"), seen("recv", b"b")], False),
        ([seen("send", b"a"), seen("recv", b"a"), seen("recv", b"a")], False),
        ([seen("send", b"a"), seen("recv", b"a"), START, seen("recv", b"a")], True),
        ([seen("send", b"a"), seen("recv", b"b", 2)], None),
    ],
)
def test_the_claim_that_nothing_corrupt_is_delivered(
    history: list[Event], holds: bool | None
) -> None:
    assert nothing_corrupt_was_delivered(history).holds is holds


def at_receiver(*events: Event) -> list[Event]:
    return [{**event, "component": "receiver"} for event in events]


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([], None),
        ([seen("recv", b"a")], None),
        ([seen("recv", b"a"), counts(1, 0)], True),
        ([seen("recv", b"a"), counts(2, 0)], False),
        ([seen("recv", b"a"), counts(1, 0), seen("recv", b"b", 2), counts(1, 0)], False),
        ([seen("recv", b"a"), START, seen("recv", b"b", 2), counts(1, 1)], True),
        ([seen("recv", b"a"), START, counts(1, 0)], False),
        ([seen("recv", b"a"), seen("duplicated", b""), counts(1, 0, duplicated=1)], True),
        ([seen("recv", b"a"), seen("duplicated", b""), counts(1, 0)], False),
        ([seen("recv", b"a"), {"event": "left_out", "events": 7}, counts(1, 0)], None),
    ],
)
def test_the_claim_that_counts_are_what_came(history: list[Event], holds: bool | None) -> None:
    assert counts_are_what_came([summary(), *at_receiver(*history)]).holds is holds


def test_figures_count_what_was_sent_to_nobody_too() -> None:
    history = [
        *(seen("send", b"a", number) for number in range(1, 5)),
        *at_receiver(seen("recv", b"a", 1), counts(1, 0, reordered=2), START),
        *at_receiver(seen("recv", b"a", 1), seen("duplicated", b"a", 1), counts(1, 0, reordered=1)),
    ]
    assert figures(history) == {"sent": 4, "lost": 3, "duplicated": 2, "reordered": 3}


def test_the_limits_say_what_was_seen() -> None:
    assert loss_was_seen([summary(), counts(10, 0)]).holds is False
    assert loss_was_seen([summary(corrupted=2), counts(8, 2)]).holds is False
    assert "8 received, 2 lost" in loss_was_seen([summary(), counts(8, 2)]).detail
    first, last = ({"event": "totals", "dropped": n, "ended": n} for n in (7, 9))
    told = loss_was_seen([first, summary(), counts(8, 2), last]).detail
    assert told.startswith("2 lost and 1 ends of runs; the receiver's full buffer dropped 2")
    assert reordering_was_seen([summary(), counts(10, 0)]).holds is False
    assert "3 came late" in reordering_was_seen([summary(), counts(10, 0, reordered=3)]).detail


# All of it, on loopback


def play(scenario: Callable[[Events, ReceiverService], Awaitable[None]]) -> list[Event]:
    """Play a scenario against a receiver; give all events, of both sides."""
    out = io.StringIO()

    async def main() -> None:
        service = ReceiverService(
            Address("127.0.0.1", free_port()),
            Events("udp_oneway", "receiver", "n2", out=out),
            senders=100,
            window=4096,
            receive_buffer=1 << 20,
            every=0.1,
        )
        async with asyncio.timeout(20), service:
            await scenario(Events("udp_oneway", "send", "n1", out=out), service)

    asyncio.run(main())
    return [json.loads(line) for line in out.getvalue().splitlines()]


def fire(target: Address, events: Events, count: int, rate: float, share: float = 0) -> str:
    trouble = Trouble(random.Random(7), share, share, share)
    with Sender(target, events, trouble) as sender:
        for payload in paced((b"%d" % number for number in range(count)), rate):
            sender.send(payload)
    events.emit("summary", **sender.figures())
    return sender.stream


def test_pacing_ends_with_the_time() -> None:
    given = list(paced(itertools.repeat(b""), 1000, 0.05))
    assert 0 < len(given) <= 50
    assert list(paced([b""], 0, 0)) == []


def test_a_run_is_counted_to_the_last_through_trouble() -> None:
    async def scenario(events: Events, service: ReceiverService) -> None:
        stream = await asyncio.to_thread(fire, service.address, events, 1000, 5000, 0.05)
        await confirm(service.address, events, stream, patience=10)

    history = play(scenario)
    finding = counts_add_up(history)
    assert finding.holds, finding
    assert nothing_corrupt_was_delivered(history).holds
    assert reordering_was_seen(history).holds
    (sent,) = (event for event in history if event["event"] == "summary")
    totals = [event for event in history if event["event"] == "totals"][-1]
    assert sent["corrupted"] == totals["corrupt"] > 0


def test_what_the_buffer_drops_is_what_is_lost() -> None:
    async def scenario(events: Events, service: ReceiverService) -> None:
        stream = fire(service.address, events, 6000, 0)  # the receiver's loop stands still
        handed_over = 6000 + FAREWELLS
        while (  # noqa: ASYNC110  the kernel's counter has no event
            taken(totals := service.report()["totals"]) + totals["dropped"] < handed_over
        ):
            await asyncio.sleep(0.001)
        (counted,) = service.report()["streams"]
        assert counted["stream"] == stream
        assert 0 < totals["dropped"] == 6000 - counted["received"] + FAREWELLS

    def taken(totals: dict[str, int]) -> int:
        return sum(totals[fate.value] for fate in Fate)

    play(scenario)


def test_garbage_and_text_are_counted_and_harm_nobody() -> None:
    async def scenario(events: Events, service: ReceiverService) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in (b"hello\n", b"\xff" * 500, b"", b"\0" * 60000, b"\xff\xd1short"):
                sock.sendto(data, service.address)
        stream = await asyncio.to_thread(fire, service.address, events, 50, 0)
        assert (await confirm(service.address, events, stream, patience=10))["received"] == 50
        async with asking(service.address, events, 5) as caller:
            totals = (await ask(caller))["totals"]
            assert (totals["unnumbered"], totals["corrupt"]) == (2, 3)
            with pytest.raises(Rejected, match="ask `counts`"):
                await ask(caller, "two words")

    texts = [e["text"] for e in play(scenario) if e["event"] == "unnumbered"]
    assert texts == ["hello", ""]


def test_an_end_that_was_never_heard_is_unknown() -> None:
    async def scenario(events: Events, service: ReceiverService) -> None:
        with pytest.raises(Unknown, match="has not heard the end of n1/abc"):
            await confirm(service.address, events, "n1/abc", patience=0.05)

    play(scenario)


def test_the_report_of_as_many_streams_as_allowed_fits_its_line() -> None:
    async def scenario(events: Events, service: ReceiverService) -> None:
        service._counts = Receiver(MOST_SENDERS, 16)
        for number in range(MOST_SENDERS):
            name = f"{'n' * 251}{number}"
            service._counts.take(Numbered(name, 2**63, 2**62, 0), now=2**62)
        async with asking(service.address, events, 5) as caller:
            assert len((await ask(caller))["streams"]) == MOST_SENDERS

    play(scenario)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["send", "nosuchhost.invalid", "x"], Refused.exit_status),
        (["send", "127.0.0.1:9", "x", "--node", "two words"], Rejected.exit_status),
        (["send", "127.0.0.1:9", "x", "--corrupt", "0.9", "--reorder", "0.9"], 2),
        (["report", "127.0.0.1:9", "--timeout", "0.1"], Refused.exit_status),
    ],
)
def test_bad_input_ends_with_the_status_of_what_is_known(arguments: list[str], status: int) -> None:
    assert CliRunner().invoke(cli, arguments).exit_code == status

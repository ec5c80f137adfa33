"""The log's cores alone: what they ask for, what they refuse, and what the stages differ in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from apps.kit.effects import Reject, Reply, Send, SetTimer
from apps.replicated_log.claims import every_message_once, on_enough_disks, rejected, stale_read
from apps.replicated_log.clients import ClientTable, Outdated
from apps.replicated_log.core import Master
from apps.replicated_log.effects import Effect, Write
from apps.replicated_log.entries import Entry
from apps.replicated_log.follower import Follower
from apps.replicated_log.peers import Pace
from apps.replicated_log.requests import Asked, BadRequest, asked
from apps.replicated_log.stages import STAGES
from apps.replicated_log.wire import Encoder, Malformed, read

LOG = "5eed" * 8


class Disk:
    """What is on a disk: writes are there when the test says so."""

    identity = LOG

    def __init__(self, *messages: str) -> None:
        self.entries = [Entry(message) for message in messages]

    @property
    def length(self) -> int:
        return len(self.entries)

    def read(self, first: int, most: int, size: int = 0) -> list[Entry]:
        del size
        return self.entries[first : first + most]


class Wired:
    """A master of two secondaries that said what they have, and its effects."""

    def __init__(self, *messages: str, stage: int = 3, known: bool = True) -> None:
        self.disk = Disk(*messages)
        self.core = Master(["a", "b"], self.disk, ClientTable(), STAGES[stage], rng=Random(1))
        self.core.start(0.0)
        self.stage = STAGES[stage]
        self.count = 0
        for name in "ab" if known else "":
            self.says(name, "follow", 0)

    def says(self, name: str, kind: str, length: int, now: float = 0.0) -> list[Effect]:
        return self.core.receive(now, name, told(self.core, name, kind, length))

    def append(self, message: str, **fields: Any) -> list[Effect]:
        self.count += 1
        wanted = asked({"message": message, **fields}, 3, self.stage)
        return self.taken(self.core.request(0.0, f"r{self.count}", wanted))

    def taken(self, effects: list[Effect]) -> list[Effect]:
        """Let all that has come be taken: then the write begins that was asked for."""
        due = SetTimer("write", 0.0) in effects
        return [*effects, *self.core.timer(0.0, "write")] if due else effects

    def written(self) -> list[Effect]:
        self.disk.entries += self.core._writing
        return self.taken(self.core.written(0.0))


class Tens(Disk):
    """Reads ten entries at a time."""

    def read(self, first: int, most: int, size: int = 0) -> list[Entry]:
        return super().read(first, min(most, 10), size)


def told(core: Master, name: str, kind: str, length: int) -> dict[str, Any]:
    """Give what a secondary says, in the present session."""
    session = core.secondaries[name].session
    return {"kind": kind, "log": LOG, "session": session, "length": length}


def of(kind: type, effects: Sequence[Effect]) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


def answers(effects: Sequence[Effect]) -> list[str]:
    return [effect.request for effect in of(Reply, effects)]


def test_nobody_hears_of_an_entry_before_the_master_has_it_on_its_disk() -> None:
    log = Wired()
    effects = log.append("one")
    assert [write.entries for write in of(Write, effects)] == [(Entry("one"),)]
    assert not of(Send, effects)
    sent = of(Send, log.written())
    assert {send.to for send in sent} == {"a", "b"}


@pytest.mark.parametrize(("w", "needed"), [(1, 0), (2, 1), ("majority", 1), (3, 2), ("all", 2)])
def test_is_acknowledged_by_as_many_disks_as_asked(w: Any, needed: int) -> None:
    log = Wired()
    log.append("one", w=w)
    heard = [*answers(log.written())]
    for number, name in enumerate("ab", 1):
        assert bool(heard) == (number > needed)
        heard += answers(log.says(name, "stored", 1))
    assert heard == ["r1"]


def test_while_one_write_is_synced_the_next_one_gathers() -> None:
    log = Wired()
    first = log.append("one")
    assert not of(Write, [*log.append("two"), *log.append("three")])
    assert len(of(Write, first)) == 1
    (write,) = of(Write, log.written())
    assert [entry.message for entry in write.entries] == ["two", "three"]


def test_what_comes_at_once_is_one_write() -> None:
    core = Wired().core
    effects = [
        effect
        for number in range(3)
        for effect in core.request(0.0, f"r{number}", Asked(Entry(f"{number}"), 2))
    ]
    assert effects == [SetTimer("write", 0.0)]
    (write,) = of(Write, core.timer(0.0, "write"))
    assert [entry.message for entry in write.entries] == ["0", "1", "2"]


def test_a_request_that_comes_again_is_the_same_message() -> None:
    log = Wired()
    log.append("one", client="c", seq=1, w=1)
    log.append("one", client="c", seq=1, w=1)
    replies = of(Reply, log.written())
    assert [reply.result["offset"] for reply in replies] == [0, 0]
    assert of(Reply, log.append("one", client="c", seq=1, w=1))[0].result["offset"] == 0
    log.append("two", client="c", seq=2, w=1)
    log.written()
    assert of(Reject, log.append("one", client="c", seq=1))[0].reason == "outdated"


def test_a_late_copy_of_a_request_is_outdated_before_the_next_one_is_on_the_disk() -> None:
    log = Wired()
    log.append("two", client="c", seq=2, w=1)
    assert of(Reject, log.append("one", client="c", seq=1))[0].reason == "outdated"
    log.written()
    assert of(Reply, log.append("two", client="c", seq=2, w=1))[0].result["offset"] == 0


def test_a_secondary_with_a_new_disk_gets_all_and_what_it_had_said_counts_no_more() -> None:
    log = Wired()
    log.append("one", w=2)
    log.written()
    before = told(log.core, "a", "stored", 1)
    assert answers(log.core.receive(0.0, "a", before)) == ["r1"]
    sent = of(Send, log.says("a", "follow", 0))
    assert [(send.to, send.message["first"]) for send in sent] == [("a", 0)]
    assert log.core.secondaries["a"].acked == 0
    log.core.receive(0.0, "a", before)
    assert log.core.secondaries["a"].acked == 0
    log.says("a", "stored", 1)
    assert log.core.secondaries["a"].acked == 1


def test_stages_one_and_two_know_no_request_again() -> None:
    log = Wired(stage=2)
    log.append("one", client="c", seq=1, w=1)
    log.written()
    log.append("one", client="c", seq=1, w=1)
    log.written()
    assert log.disk.length == 2


def test_stage_one_waits_for_all_and_asks_nobody_how_many() -> None:
    log = Wired(stage=1)
    with pytest.raises(BadRequest, match="all nodes"):
        log.append("one", w=1)
    log.append("one")
    assert not answers(log.written())
    assert not answers(log.says("a", "stored", 1))
    assert len(answers(log.says("b", "stored", 1))) == 1


def test_before_stage_three_what_a_node_missed_is_not_sent_again() -> None:
    for stage, sent_again in ((1, False), (2, False), (3, True)):
        log = Wired(stage=stage)
        log.append("one")
        log.written()
        again = [send for send in of(Send, log.says("b", "follow", 0)) if send.to == "b"]
        assert bool(again) == sent_again


def test_what_is_not_acknowledged_is_sent_again_more_and_more_patiently() -> None:
    log = Wired()
    log.append("one")
    log.written()
    log.says("a", "stored", 1)
    again = []
    for tick in range(1, 41):
        now = tick / 2
        log.says("b", "stored", 0, now)
        effects = log.core.timer(now, "beat")
        if any(send.message["entries"] for send in of(Send, effects) if send.to == "b"):
            again.append(now)
    gaps = [late - soon for soon, late in itertools.pairwise(again)]
    assert gaps == sorted(gaps)
    assert gaps[0] < gaps[-1] <= Pace().longest + 1


def test_without_a_majority_nothing_is_written_in_stage_three() -> None:
    log = Wired(known=False)
    assert of(Reject, log.append("one"))[0].reason == "read_only"
    log.says("a", "follow", 0)
    assert of(Write, log.append("one"))
    log.written()
    log.core.timer(10.0, "beat")
    assert log.core.secondaries["a"].state == "unhealthy"
    assert of(Reject, log.append("two"))[0].reason == "read_only"
    assert of(Write, Wired(known=False, stage=2).append("one"))


def test_health_goes_by_silence() -> None:
    log = Wired()
    states = []
    for now in (1.0, 2.0, 4.0):
        log.core.timer(now, "beat")
        states.append(log.core.secondaries["a"].state)
    assert states == ["healthy", "suspected", "unhealthy"]


def test_a_full_disk_refuses_all_that_waits_for_it() -> None:
    log = Wired()
    log.append("one", client="c", seq=1)
    log.append("two", client="d", seq=1)
    assert [reject.reason for reject in of(Reject, log.core.refused(0.0))] == ["full", "full"]
    log.append("one", client="c", seq=1, w=1)
    assert of(Reply, log.written())[0].result["offset"] == 0


def test_a_master_whose_disk_lost_something_writes_no_more() -> None:
    log = Wired("one")
    log.says("a", "stored", 5)
    assert log.core.state == "lost"
    assert of(Reject, log.append("two"))[0].reason == "lost"


def test_a_secondary_of_another_log_is_not_sent_this_one() -> None:
    log = Wired("one")
    answer = log.core.receive(0.0, "a", {**told(log.core, "a", "follow", 1), "log": "00" * 16})
    assert [effect.event for effect in answer] == ["foreign"]  # type: ignore[union-attr]


def test_more_requests_than_can_wait_are_refused() -> None:
    disk = Disk()
    core = Master(["a"], disk, ClientTable(), STAGES[2], rng=Random(1), pace=Pace(waiting=1))
    core.request(0.0, "r1", Asked(Entry("one"), 2))
    assert of(Reject, core.request(0.0, "r2", Asked(Entry("two"), 2)))[0].reason == "busy"
    core.forget("r1")
    assert not of(Reject, core.request(0.0, "r3", Asked(Entry("three"), 2)))


def test_of_requests_that_nobody_waits_for_nothing_stays() -> None:
    log = Wired(known=False, stage=2)
    for number in range(100):
        log.append(f"{number}", w=1 + number % 3)
    for number in range(99):
        log.core.forget(f"r{number + 1}")
    log.core.timer(0.5, "beat")
    assert [waiting[2] for heap in log.core._waiting.values() for waiting in heap] == ["r100"]
    log.written()
    assert answers(log.written()) == ["r100"]


def test_a_pipeline_has_an_end() -> None:
    disk = Tens(*map(str, range(100)))
    core = Master(["a"], disk, ClientTable(), STAGES[3], rng=Random(1), pace=Pace(pipeline=2))
    effects = core.receive(0.0, "a", told(core, "a", "follow", 0))
    assert [send.message["first"] for send in of(Send, effects)] == [0, 10]
    more = core.receive(0.0, "a", told(core, "a", "stored", 10))
    assert [send.message["first"] for send in of(Send, more)] == [20]


def append(first: int, *messages: str) -> dict[str, Any]:
    head = {"kind": "append", "log": LOG, "session": 7, "first": first}
    return {**head, "entries": [Entry(m) for m in messages]}


def test_a_secondary_takes_what_comes_next_and_nothing_else() -> None:
    disk = Disk("one")
    core = Follower("m", disk)
    (write,) = of(Write, core.receive(0.0, "m", append(0, "one", "two")))
    assert write.entries == (Entry("two"),)
    asked_for = of(Send, core.receive(0.0, "m", append(5, "six")))
    assert [send.message["kind"] for send in asked_for] == ["follow"]
    said = of(Send, core.written(0.0))
    assert [send.message["length"] for send in said] == [2]


def test_a_secondary_that_has_it_all_says_so() -> None:
    core = Follower("m", Disk("one"))
    (said,) = of(Send, core.receive(0.0, "m", append(0, "one")))
    assert (said.message["kind"], said.message["length"]) == ("stored", 1)
    assert said.message["session"] == append(0)["session"]


def test_a_secondary_ignores_who_is_not_its_master() -> None:
    core = Follower("m", Disk())
    assert not of(Write, core.receive(0.0, "x", append(0, "one")))
    assert not of(Write, core.receive(0.0, "m", {**append(0, "one"), "log": "00" * 16}))


def test_a_secondary_whose_disk_is_full_goes_on_when_there_is_room() -> None:
    core = Follower("m", Disk())
    core.receive(0.0, "m", append(0, "one"))
    core.refused(0.0)
    assert core.full
    assert of(Write, core.receive(0.0, "m", append(0, "one")))
    core.written(0.0)
    assert not core.full


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ([], "JSON object"),
        ({"message": 1}, "with a text"),
        ({"message": "x" * 70_000}, "the most is"),
        ({"message": "\ud800"}, "surrogate"),
        ({"message": "x", "w": 0}, "from 1 to 3"),
        ({"message": "x", "w": True}, "from 1 to 3"),
        ({"message": "x", "client": "c"}, "go together"),
        ({"message": "x", "seq": 1}, "go together"),
        ({"message": "x", "client": "c", "seq": -1}, "whole number"),
        ({"message": "x", "client": 5, "seq": 1}, "is a text"),
        ({"message": "x", "colour": "red"}, "is none of"),
    ],
)
def test_says_what_is_wrong_with_a_request(body: Any, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        asked(body, 3, STAGES[3])


def test_the_client_table_forgets_who_wrote_longest_ago() -> None:
    table = ClientTable(2)
    for offset, name in enumerate("aba"):
        table.add(offset, Entry("x", name, offset))
    table.add(3, Entry("x", "c", 0))
    assert table.find(Entry("x", "b", 1)) is None
    assert table.find(Entry("x", "a", 2)) == 2
    with pytest.raises(Outdated):
        table.find(Entry("x", "a", 1))


def test_messages_come_back_from_their_frames() -> None:
    encoder = Encoder()
    for message in (
        append(3, "one", "zwei ✓"),
        append(3),
        {"kind": "stored", "log": LOG, "session": 7, "length": 9},
    ):
        assert read(encoder.encode("n1:7", message)) == ("n1:7", message)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"[]\n",
        b'{"kind": "stored"}\n',
        b'{"id": "x", "kind": "shout", "log": "", "session": 7, "length": 1}\n',
        b'{"id": "x", "kind": "stored", "log": "", "session": 7, "length": -1}\n',
        b'{"id": "x", "kind": "stored", "log": "", "length": 1}\n',
        b'{"id": "x", "kind": "stored", "log": "", "session": 7, "length": true}\n',
        b'{"id": "x", "kind": "stored", "log": "no", "session": 7, "length": 1}\n',
        b'{"id": "x", "kind": "stored", "log": "", "session": 7, "length": 1}\nabc',
        b"[" * 100_000,
        b'{"id": "x", "kind": "append", "log": "", "session": 7, "first": 1}\n\xff\xff\xff\xff',
    ],
)
def test_what_is_no_message_is_refused(frame: bytes) -> None:
    with pytest.raises(Malformed):
        read(frame)


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {"event": name, "component": "client", "node": "c", "t": 1.0, **fields}


def acknowledged(key: str, number: int, w: int) -> dict[str, Any]:
    return event("ok", f="append", value={"key": key, "number": number, "w": w})


def test_claims_find_what_is_wrong() -> None:
    stored = {"event": "stored", "component": "master", "node": "n1", "t": 0.5, "length": 4}
    assert on_enough_disks([stored, acknowledged("x", 3, 1)]).holds
    assert on_enough_disks([stored, acknowledged("x", 4, 1)]).holds is False
    assert on_enough_disks([stored, acknowledged("x", 3, 2)]).holds is False
    late = {**stored, "t": 2.0, "node": "n2"}
    assert on_enough_disks([stored, late, acknowledged("x", 3, 2)]).holds is False
    assert every_message_once(["a", "b", "a"]).holds is False
    read_late = event("ok", f="read", value=["y"], server="n2:5001", t=2.0)
    assert stale_read([read_late], [acknowledged("x", 1, 2)]).holds
    assert stale_read([read_late], [acknowledged("y", 0, 2)]).holds is False
    assert rejected([event("fail", how="rejected")]).holds
    assert rejected([event("fail", how="rejected"), event("unknown")]).holds is False

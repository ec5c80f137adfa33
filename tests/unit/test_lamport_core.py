"""The core of one node: what clients are told, what is refused, what is durable when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from apps.kit.effects import Core, Effect, Emit, Message, Persist, Reject, Reply, Send, SetTimer
from apps.kit.link import Pace
from apps.lamport_clock.core import MOST_WAITING, LamportNode
from apps.lamport_clock.mutex import RequestQueue
from apps.lamport_clock.process import BLOCK


def alone(stored: Mapping[str, Any] | None = None) -> LamportNode:
    """A node without peers: granted at once."""
    node = LamportNode("n1", [], stored or {})
    node.start(0.0)
    return node


def pair() -> LamportNode:
    """n1, which knows incarnation 1 of n2, its only peer."""
    node = LamportNode("n1", ["n2"], {})
    node.start(0.0)
    node.receive(0.0, "n2", {"by": 1, "to": 1, "ack": 0})
    return node


def frame(seq: int, kind: str, lamport: int, **fields: Any) -> Message:
    body = {"kind": kind, "id": f"n2.1:{seq}", "lamport": lamport, "vector": {"n2.1": seq}}
    return {"by": 1, "to": 1, "ack": 0, "seq": seq, "body": {**body, **fields}}


def emitted(effects: list[Effect], *events: str) -> list[Emit]:
    return [e for e in effects if isinstance(e, Emit) and (not events or e.event in events)]


def answer(effects: list[Effect]) -> Any:
    (found,) = (e for e in effects if isinstance(e, Reply | Reject))
    return found.result if isinstance(found, Reply) else found.reason


def test_is_a_core() -> None:
    node: Core = LamportNode("n1", ["n2"], {})
    assert list(node.timer(0.0, "link:n2")) == []


def test_life_and_ceiling_are_durable_before_anything_is_said() -> None:
    effects = LamportNode("n1", ["n2"], {"incarnation": 4, "ceiling": 5000}).start(0.0)
    life, ceiling, start, hello, _ = effects
    assert life == Persist("incarnation", 5)
    assert ceiling == Persist("ceiling", 5001 + BLOCK)
    assert isinstance(start, Emit)
    assert start.fields == {"incarnation": 5, "lamport": 5001, "vector": {"n1.5": 1}}
    assert hello == Send("n2", {"by": 5, "to": 0, "ack": 0, "hello": True})


def test_ceiling_is_raised_once_a_block() -> None:
    node = alone()
    written = 0
    for n in range(3 * BLOCK):
        effects = node.request(0.0, str(n), {"f": "event", "name": "tick"})
        for before, effect in enumerate(effects):
            if isinstance(effect, Persist):
                written += 1
                assert before < effects.index(emitted(effects)[0])
    assert written == 2


def test_grant_is_durable_then_recorded_then_told() -> None:
    effects = alone().request(0.0, "r", {"f": "acquire", "hold": 2})
    kinds = [(type(e).__name__, getattr(e, "key", getattr(e, "event", ""))) for e in effects]
    assert kinds == [
        ("Emit", "request"),
        ("CancelTimer", ""),
        ("Persist", "lease"),
        ("Emit", "enter"),
        ("SetTimer", ""),
        ("Reply", ""),
    ]
    assert answer(effects) == {"fence": [2, "n1"], "hold": 2.0}


def test_hold_ends_by_release_or_by_time() -> None:
    node = alone()
    fence = answer(node.request(0.0, "a", {"f": "acquire", "hold": 2}))["fence"]
    assert node.request(0.5, "b", {"f": "acquire", "hold": 3}) == []
    wrong = node.request(1.0, "c", {"f": "release", "fence": [99, "n1"]})
    assert "nothing is held under this fence" in answer(wrong)
    effects = node.request(1.0, "d", {"f": "release", "fence": fence})
    assert [e.request for e in effects if isinstance(e, Reply)] == ["d", "b"]
    assert [e.fields["why"] for e in emitted(effects, "exit")] == ["released"]
    assert answer(node.request(2.0, "e", {"f": "state"}))["hold_left"] == 2.0
    effects = node.timer(4.0, "hold")
    assert [e.fields["why"] for e in emitted(effects, "exit")] == ["expired"]
    assert Persist("lease", 0.0) in effects


def test_waits_for_a_later_word_of_every_peer() -> None:
    """ "Ordering the Events Totally", rule 5 (ii); equal numbers are ordered by name."""
    node = pair()
    asked = node.request(0.0, "r", {"f": "acquire", "hold": 1})
    ((time,),) = ([e.fields["lamport"]] for e in emitted(asked, "request"))
    assert not emitted(node.receive(0.1, "n2", frame(1, "tell", time - 1, text="x")), "enter")
    assert emitted(node.receive(0.2, "n2", frame(2, "ack", time)), "enter")


def test_waits_for_an_earlier_request() -> None:
    """ "Ordering the Events Totally", rule 5 (i), and rule 4."""
    node = pair()
    node.receive(0.0, "n2", frame(1, "request", 1, time=1))
    node.request(0.1, "r", {"f": "acquire", "hold": 1})
    assert not emitted(node.receive(0.2, "n2", frame(2, "ack", 50)), "enter")
    state = answer(node.request(0.3, "s", {"f": "state"}))
    assert state["queue"][0] == [1, "n2"]
    assert state["peers"] == {"n2": {"incarnation": 1, "heard": 50}}
    assert emitted(node.receive(0.4, "n2", frame(3, "release", 51, time=1)), "enter")


def test_newcomer_gets_our_request_before_our_acknowledgement() -> None:
    node = pair()
    node.request(0.0, "r", {"f": "acquire", "hold": 1})
    request = frame(1, "request", 9, time=9)
    effects = node.receive(1.0, "n2", {**request, "by": 2})
    frames = [e.message for e in effects if isinstance(e, Send)]
    assert [frame["body"]["kind"] for frame in frames] == ["request", "ack"]
    assert [frame["seq"] for frame in frames] == [1, 2]


def test_gives_up_after_the_time_to_wait_and_says_what_it_waited_for() -> None:
    node = pair()
    effects = node.request(0.0, "r", {"f": "acquire", "hold": 1, "wait": 3})
    assert SetTimer("wait:r", 3.0) in effects
    effects = node.timer(3.0, "wait:r")
    assert answer(effects) == "not granted in the time to wait: no answer of n2"
    assert emitted(effects, "withdraw")
    assert answer(node.request(4.0, "s", {"f": "state"}))["queue"] == []


def test_wait_behind_another_client_ends_without_a_withdrawal() -> None:
    node = alone()
    node.request(0.0, "a", {"f": "acquire", "hold": 9})
    node.request(0.0, "b", {"f": "acquire", "hold": 9, "wait": 1})
    effects = node.timer(1.0, "wait:b")
    assert "other clients of this node are before it" in answer(effects)
    assert not emitted(effects)


def test_silent_after_a_crash_in_a_hold() -> None:
    node = LamportNode("n1", ["n2"], {"incarnation": 1, "ceiling": 100, "lease": 4.0})
    effects = node.start(0.0)
    assert effects[0] == Persist("incarnation", 2)
    assert [e.event for e in emitted(effects)] == ["lease_wait"]
    assert SetTimer("lease", 4.0) in effects
    assert node.receive(1.0, "n2", {"by": 1, "to": 0, "ack": 0}) == []
    assert "ask again" in answer(node.request(1.0, "a", {"f": "acquire", "hold": 1}))
    assert answer(node.request(1.0, "s", {"f": "state"}))["silent"]
    effects = node.timer(4.0, "lease")
    assert effects[0] == Persist("lease", 0.0)
    assert emitted(effects, "start")
    assert Send("n2", {"by": 2, "to": 0, "ack": 0, "hello": True}) in effects


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, "f must be one of acquire, release, event, tell, state"),
        ({"f": ["acquire"]}, "f must be one of"),
        ({"f": "acquire"}, "hold must be a number of seconds above 0, at most 60"),
        ({"f": "acquire", "hold": True}, "hold must be"),
        ({"f": "acquire", "hold": 61}, "hold must be"),
        ({"f": "acquire", "hold": float("nan")}, "hold must be"),
        ({"f": "acquire", "hold": 1, "wait": 0}, "wait must be"),
        ({"f": "release"}, "nothing is held under this fence"),
        ({"f": "event", "name": ""}, "name must be a text of 1 to 1000 characters"),
        ({"f": "event", "name": "x" * 1001}, "name must be a text"),
        ({"f": "tell", "to": "n9", "text": "hi"}, "'n9' is no peer of this node: its peers are n2"),
        ({"f": "tell", "to": "n2", "text": 5}, "text must be a text"),
    ],
)
def test_bad_request_is_rejected_and_changes_nothing(body: Message, complaint: str) -> None:
    node = pair()
    before = answer(node.request(0.0, "s", {"f": "state"}))
    effects = node.request(0.0, "r", body)
    assert complaint in answer(effects)
    assert len(effects) == 1
    assert answer(node.request(0.0, "s", {"f": "state"})) == before


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"hello": 1}, "'by' of a frame must be a count"),
        (frame(1, "dance", 1), "a message's kind must be one of"),
        (frame(1, "ack", -1), "a message's lamport must be a clock number"),
        (frame(1, "ack", 1 << 53), "a message's lamport must be a clock number"),
        (frame(1, "request", 1), "a message's time must be a clock number"),
        (frame(1, "tell", 1), "text must be a text"),
        (frame(1, "ack", 1, vector=[1]), "a message's vector must map processes to counts"),
        (frame(1, "ack", 1, vector={"n2.1": "1"}), "a message's vector must map"),
        (frame(1, "ack", 1, id=7), "id must be a text"),
    ],
)
def test_malformed_message_is_ignored_and_said_so(message: Message, complaint: str) -> None:
    node = pair()
    (refused,) = emitted(node.receive(0.0, "n2", message))
    assert refused.event == "refused"
    assert refused.fields["peer"] == "n2"
    assert complaint in refused.fields["reason"]


def test_stranger_is_refused() -> None:
    (refused,) = pair().receive(0.0, "n9", {"by": 1, "to": 1, "ack": 0})
    assert isinstance(refused, Emit)
    assert refused.fields["reason"] == "not a peer of this process"


def test_clients_cannot_fill_the_room_of_the_algorithm() -> None:
    node = pair()
    for n in range(MOST_WAITING):
        node.request(0.0, f"a{n}", {"f": "acquire", "hold": 1})
    assert "64 clients wait here" in answer(node.request(0.0, "b", {"f": "acquire", "hold": 1}))
    replies = [
        answer(node.request(0.0, f"t{n}", {"f": "tell", "to": "n2", "text": "x"}))
        for n in range(Pace().queue)
    ]
    assert "too much waits for n2 already: is it down or cut off?" in replies[-1]
    for n in range(MOST_WAITING):
        node.timer(9.0, f"wait:a{n}")
    assert answer(node.request(0.0, "s", {"f": "state"}))["waiting"] == 0


def test_queue_takes_out_only_the_request_that_was_released() -> None:
    """Rule 4, when a release of an earlier request comes late."""
    queue = RequestQueue("n1", ["n2"])
    queue.asked("n2", 7)
    queue.released("n2", 3)
    assert queue.requests == [(7, "n2")]
    queue.ask(8)
    assert queue.obstacles() == ["no answer of n2", "n2 asked before"]

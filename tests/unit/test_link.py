"""The reliable FIFO link against a network that does what it likes.

Cachin, Guerraoui and Rodrigues 2011: PL1 reliable delivery, PL2 no duplication, PL3 no creation
(module 2.3), and FIFO delivery (module 3.11), here per pair of incarnations.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.kit.effects import CancelTimer, Message, Send, SetTimer
from apps.kit.link import Arrived, BadFrame, Link, LinkFull, Pace, PeerUp

SMALL = Pace(window=3, queue=6)
many = settings(max_examples=300, deadline=None)


class End:
    """One process: numbers its messages, and notes what it was told."""

    def __init__(self, me: str, peer: str, incarnation: int, world: World) -> None:
        self.me, self.incarnation, self.world = me, incarnation, world
        self.link = Link(peer, incarnation, SMALL)
        self.said = 0
        self.sessions: dict[int, int] = {}
        self.heard: dict[int, list[int]] = defaultdict(list)
        self.timer_runs = False
        self.link.open()
        self.flush()

    def say(self) -> None:
        try:
            self.link.send({"by": self.incarnation, "number": self.said + 1})
        except LinkFull:
            assert self.link.room == 0
        else:
            self.said += 1
        self.flush()

    def receive(self, frame: Message) -> None:
        for news in self.link.receive(frame):
            if isinstance(news, PeerUp):
                assert news.restarted == bool(self.sessions)
                self.sessions[news.incarnation] = self.said + 1 if news.restarted else 1
            elif isinstance(news, Arrived):
                self.heard[news.body["by"]].append(news.body["number"])
        self.flush()

    def fire(self) -> None:
        if self.timer_runs:
            self.timer_runs = False
            self.link.timer()
            self.flush()

    def flush(self) -> None:
        assert len(self.link._early) < SMALL.window
        assert self.link.room >= 0
        for effect in self.link.flush():
            if isinstance(effect, Send):
                self.world.frames.append((effect.to, json.loads(json.dumps(effect.message))))
            else:
                assert isinstance(effect, SetTimer | CancelTimer)
                self.timer_runs = isinstance(effect, SetTimer)


class World:
    """Two ends, all their lives, and the frames on their way."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, dict[str, Any]]] = []
        self.lives: dict[str, list[End]] = {"a": [], "b": []}
        self.restart("a")
        self.restart("b")

    def restart(self, me: str) -> None:
        self.lives[me].append(End(me, self.other(me), len(self.lives[me]) + 1, self))

    def living(self, me: str) -> End:
        return self.lives[me][-1]

    def do(self, action: str, number: int) -> None:
        me = "ab"[number % 2]
        if action == "say":
            self.living(me).say()
        elif action == "fire":
            self.living(me).fire()
        elif action == "restart":
            self.restart(me)
        elif self.frames:
            place = number % len(self.frames)
            to, frame = self.frames[place] if action == "double" else self.frames.pop(place)
            if action != "lose":
                self.living(to).receive(frame)

    def settle(self) -> None:
        """Let the network behave until nobody says anything more."""
        for _ in range(100):
            for _ in range(len(self.frames)):
                self.do("deliver", 0)
            self.living("a").fire()
            self.living("b").fire()
            if not self.frames:
                return
        pytest.fail("the two ends still talk after 100 rounds without faults")

    def judge_session(self, sender: End, receiver: End) -> None:
        """What this life heard of that one is a gapless beginning of what was said to it."""
        heard = receiver.heard[sender.incarnation]
        if heard:
            first = sender.sessions[receiver.incarnation]
            assert heard == list(range(first, first + len(heard)))

    def judge(self) -> None:
        for me in "ab":
            for receiver in self.lives[me]:
                for sender in self.lives[self.other(me)]:
                    self.judge_session(sender, receiver)

    @staticmethod
    def other(me: str) -> str:
        return "b" if me == "a" else "a"


def actions(*names: str) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(names), st.integers(0, 99)), max_size=150)


@many
@given(actions("say", "say", "deliver", "deliver", "double", "lose", "fire"))
def test_delivers_exactly_once_in_order_whatever_the_network_does(plan: list[Any]) -> None:
    """PL1 to PL3 and FIFO: no restart, so every message that was accepted arrives."""
    world = World()
    for action, number in plan:
        world.do(action, number)
        world.judge()
    world.settle()
    for sender, receiver in (("a", "b"), ("b", "a")):
        said = world.living(sender).said
        assert world.living(receiver).heard[1] == list(range(1, said + 1))


@many
@given(actions(*["say", "deliver", "deliver", "fire"] * 4, "double", "lose", "restart"))
def test_delivers_at_most_once_to_each_incarnation(plan: list[Any]) -> None:
    """Over restarts: nothing twice, nothing of or to a dead life, and the last session is whole."""
    world = World()
    for action, number in plan:
        world.do(action, number)
        world.judge()
    world.settle()
    world.judge()
    for me in "ab":
        sender, receiver = world.living(me), world.living(World.other(me))
        first = sender.sessions[receiver.incarnation]
        assert receiver.heard[sender.incarnation] == list(range(first, sender.said + 1))


@many
@given(actions("say", "deliver", "double", "lose", "fire", "restart"))
def test_is_silent_when_all_is_acknowledged(plan: list[Any]) -> None:
    world = World()
    for action, number in plan:
        world.do(action, number)
    world.settle()
    assert not world.living("a").timer_runs
    assert not world.living("b").timer_runs


def connected(pace: Pace = SMALL) -> Link:
    """A link at incarnation 1 whose peer, at incarnation 5, knows it."""
    link = Link("peer", 1, pace)
    assert link.receive({"by": 5, "to": 1, "ack": 0}) == [PeerUp(5, restarted=False, dropped=0)]
    link.flush()
    return link


def sent(link: Link) -> list[Message]:
    return [effect.message for effect in link.flush() if isinstance(effect, Send)]


def timers(link: Link) -> list[float]:
    return [effect.after for effect in link.flush() if isinstance(effect, SetTimer)]


def test_window_and_queue_are_bounded() -> None:
    link = connected()
    for number in range(6):
        link.send({"number": number})
    with pytest.raises(LinkFull, match="6 messages wait for peer"):
        link.send({})
    assert [frame["seq"] for frame in sent(link)] == [1, 2, 3]
    link.receive({"by": 5, "to": 1, "ack": 2})
    assert [frame["seq"] for frame in sent(link)] == [4, 5]


def test_early_messages_are_kept_up_to_the_window() -> None:
    link = connected()
    for seq in (9, 3, 2):
        assert link.receive({"by": 5, "to": 1, "ack": 0, "seq": seq, "body": {"n": seq}}) == []
    news = link.receive({"by": 5, "to": 1, "ack": 0, "seq": 1, "body": {"n": 1}})
    assert news == [Arrived({"n": n}) for n in (1, 2, 3)]
    assert sent(link) == [{"by": 1, "to": 5, "ack": 3}]
    assert link._early == {}


def test_early_messages_of_a_dead_incarnation_are_forgotten() -> None:
    link = connected()
    link.receive({"by": 5, "to": 1, "ack": 0, "seq": 2, "body": {"n": 2}})
    news = link.receive({"by": 6, "to": 1, "ack": 0, "seq": 1, "body": {"n": 1}})
    assert news == [PeerUp(6, restarted=True, dropped=0), Arrived({"n": 1})]


def test_repeats_at_growing_intervals_until_the_peer_is_heard() -> None:
    """RFC 6298 section 5.5: the interval doubles, up to a limit."""
    link = connected(Pace(first=1.0, longest=5.0))
    link.send({})
    assert timers(link) == [1.0]
    intervals = []
    for _ in range(4):
        link.timer()
        intervals += timers(link)
    assert intervals == [2.0, 4.0, 5.0, 5.0]
    link.receive({"by": 5, "to": 1, "ack": 0})
    assert timers(link) == [1.0]


def test_acknowledgement_rides_on_a_message() -> None:
    link = connected()
    link.receive({"by": 5, "to": 1, "ack": 0, "seq": 1, "body": {}})
    link.send({"re": 1})
    assert sent(link) == [{"by": 1, "to": 5, "ack": 1, "seq": 1, "body": {"re": 1}}]


def test_owner_is_told_that_the_peer_restarted_and_what_was_dropped() -> None:
    link = connected()
    for _ in range(5):
        link.send({})
    link.flush()
    assert link.receive({"by": 6, "to": 0, "ack": 0}) == [PeerUp(6, restarted=True, dropped=5)]
    assert sent(link) == [{"by": 1, "to": 6, "ack": 0, "hello": True}]
    assert link.receive({"by": 5, "to": 1, "ack": 2, "seq": 1, "body": {}}) == []


def test_newcomer_says_hello_until_the_peer_is_known_to_know_it() -> None:
    """An old frame told of the peer, the answer was lost, and the peer has nothing to say."""
    old, newcomer = connected(), Link("peer", 6, SMALL)
    newcomer.open()
    assert len(sent(newcomer)) == 1
    old.send({})
    (to_the_dead,) = sent(old)
    assert newcomer.receive(to_the_dead) == [PeerUp(1, restarted=False, dropped=0)]
    assert len(sent(newcomer)) == 1
    newcomer.timer()
    (hello,) = sent(newcomer)
    assert old.receive(hello) == [PeerUp(6, restarted=True, dropped=1)]
    (answer,) = sent(old)
    assert newcomer.receive(answer) == []
    assert newcomer.flush() == [CancelTimer("link:peer")]


def test_process_that_lost_its_number_is_told_so() -> None:
    """Its disk was wiped: to its peer it is long dead, and it must not be left wondering."""
    link, wiped = connected(), Link("peer", 1, SMALL)
    wiped.open()
    (hello,) = sent(wiped)
    assert link.receive(hello) == []
    (answer,) = sent(link)
    with pytest.raises(BadFrame, match="to incarnation 5 of this process, which is only at 1"):
        wiped.receive(answer)


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        ({}, "'by' of a frame must be a count, not None"),
        ({"by": True, "to": 1, "ack": 0}, "'by'"),
        ({"by": "5", "to": 1, "ack": 0}, "'by'"),
        ({"by": 5, "to": -1, "ack": 0}, "'to'"),
        ({"by": 5, "to": 1, "ack": 1 << 53}, "'ack'"),
        ({"by": 5, "to": 1, "ack": 0, "seq": 1.5}, "'seq'"),
        ({"by": 0, "to": 1, "ack": 0}, "without its incarnation"),
        ({"by": 5, "to": 1, "ack": 0, "seq": 1, "body": [1]}, "no JSON object"),
        ({"by": 5, "to": 2, "ack": 0}, "was its state directory lost"),
        ({"by": 5, "to": 1, "ack": 9}, "only 0 were sent"),
    ],
)
def test_refuses_what_is_no_frame_and_changes_nothing(frame: Message, complaint: str) -> None:
    link = connected()
    with pytest.raises(BadFrame, match=complaint):
        link.receive(frame)
    assert link.flush() == []

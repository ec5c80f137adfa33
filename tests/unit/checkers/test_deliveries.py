"""Deliveries: how often, in whose order, and what is lost."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apps.kit.checkers import at_least_once, at_most_once, exactly_once, fifo, traffic
from apps.kit.claims import Event, Finding
from apps.kit.history import messages
from tests.unit.checkers.histories import event


def sent(name: str, node: str = "a") -> Event:
    return event("send", node, id=name, peer="b")


def received(name: str, node: str = "b") -> Event:
    return event("recv", node, id=name, peer="a")


LEFT_OUT = event("left_out", "a", events=3)


def test_messages_are_paired_in_whatever_order_they_stand() -> None:
    found = messages([received("1"), sent("2"), sent("1"), received("1"), received("3")])
    told = {m.id: (len(m.sends), len(m.receipts), m.lost, m.copies, m.unsent) for m in found}
    assert told == {
        "1": (1, 2, False, 1, False),
        "2": (1, 0, True, 0, False),
        "3": (0, 1, False, 0, True),
    }


def test_losses_and_copies_are_counted() -> None:
    history = [sent("1"), received("1"), received("1"), sent("2"), received("3")]
    found = traffic(history)
    assert (found.sent, found.received, found.lost, found.duplicated) == (2, 1, 1, 1)
    assert found.unsent == 1
    assert found.finding.holds is False
    assert set(found.finding.witness[0].values()) <= set(sent("2").values())
    assert traffic([*history, LEFT_OUT]).finding.holds is None
    assert traffic([sent("1"), received("1")]).finding.holds
    assert traffic([]).finding.holds is None


@pytest.mark.parametrize(
    ("history", "most", "least", "exactly"),
    [
        ([], None, None, None),
        ([sent("1"), received("1")], True, True, True),
        ([sent("1"), received("1"), received("1")], False, True, False),
        ([sent("1")], None, False, False),
        ([sent("1"), LEFT_OUT], None, None, None),
        ([sent("1"), received("1"), received("2")], True, True, False),
        ([sent("1"), sent("1"), received("1")], True, True, True),
    ],
)
def test_how_often(
    history: list[Event], most: bool | None, least: bool | None, exactly: bool | None
) -> None:
    assert at_most_once(history).holds is most
    assert at_least_once(history).holds is least
    assert exactly_once(history).holds is exactly


def test_a_broadcast_is_delivered_everywhere() -> None:
    history = [sent("1"), received("1", "b"), received("1", "c")]
    assert exactly_once(history, to=["b", "c"]).holds
    assert exactly_once(history, to=["b", "c", "d"]).holds is False
    assert at_most_once(history).holds


def test_events_have_the_names_of_their_pattern() -> None:
    history = [
        event("ok", "c", f="append", value={"id": 1}),
        event("ok", "c", f="read", value=None),
        event("applied", "s", entry=[1]),
    ]
    found = exactly_once(
        history,
        sent=lambda e: e["event"] == "ok" and e["f"] == "append",
        delivered="applied",
        id_=lambda e: e["entry"][0] if e["event"] == "applied" else e["value"]["id"],
    )
    assert found.holds


def test_an_overtaken_message_is_shown() -> None:
    history = [sent("1"), sent("2"), received("2"), received("1")]
    found = fifo(history)
    assert found.holds is False
    assert (
        list(found.witness) == [sent("2"), received("2"), received("1")] or len(found.witness) == 4
    )
    assert fifo(found.witness).holds is False


def test_senders_are_apart_and_losses_and_copies_do_not_matter() -> None:
    history = [
        sent("1"),
        sent("x", "c"),
        sent("2"),
        sent("3"),
        received("1"),
        received("3"),
        received("1"),
        received("x"),
    ]
    assert fifo(history).holds
    assert fifo([sent("1")]).holds is None


@st.composite
def channels(draw: st.DrawFn) -> list[Event]:
    """Senders and receivers over channels that keep the order and lose nothing."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    senders, receivers = ["a", "b"], ["c", "d"]
    waiting: dict[tuple[str, str], list[str]] = {(s, r): [] for s in senders for r in receivers}
    history: list[Event] = []
    for number in range(draw(st.integers(1, 30))):
        way = rng.choice(list(waiting))
        name = f"{way[0]}>{way[1]}#{number}"
        waiting[way].append(name)
        history.append(event("send", way[0], id=name, peer=way[1]))
        while rng.random() < 0.4 and any(waiting.values()):
            sender, receiver = rng.choice([w for w, names in waiting.items() if names])
            name = waiting[sender, receiver].pop(0)
            history.append(event("recv", receiver, id=name, peer=sender))
    for (sender, receiver), names in waiting.items():
        history += [event("recv", receiver, id=name, peer=sender) for name in names]
    return history


def drop(history: list[Event], rng: random.Random) -> list[Event]:
    gone = rng.choice([e for e in history if e["event"] == "recv"])
    return [e for e in history if e is not gone]


def double(history: list[Event], rng: random.Random) -> list[Event]:
    return [*history, rng.choice([e for e in history if e["event"] == "recv"])]


def forge(history: list[Event], _: random.Random) -> list[Event]:
    return [*history, event("recv", "c", id="forged", peer="a")]


def swap(history: list[Event], rng: random.Random) -> list[Event]:
    places = [n for n, e in enumerate(history) if e["event"] == "recv"]
    ways = {n: (history[n]["peer"], history[n]["node"]) for n in places}
    pairs = [(a, b) for a in places for b in places if a < b and ways[a] == ways[b]]
    assume(pairs)
    a, b = rng.choice(pairs)
    changed = list(history)
    changed[a], changed[b] = changed[b], changed[a]
    return changed


@given(channels())
def test_a_good_channel_holds(history: list[Event]) -> None:
    assert exactly_once(history).holds
    assert fifo(history).holds
    assert traffic(history).finding.holds


@pytest.mark.parametrize(
    ("mutate", "check"),
    [
        (drop, at_least_once),
        (drop, exactly_once),
        (double, at_most_once),
        (double, exactly_once),
        (forge, exactly_once),
        (swap, fifo),
        (drop, lambda history: traffic(history).finding),
        (double, lambda history: traffic(history).finding),
    ],
)
@given(history=channels(), seed=st.integers(0, 2**32))
def test_a_good_channel_made_worse_is_caught(
    mutate: Callable[[list[Event], random.Random], list[Event]],
    check: Callable[[list[Event]], Finding],
    history: list[Event],
    seed: int,
) -> None:
    found = check(mutate(history, random.Random(seed)))
    assert found.holds is False
    assert 1 <= len(found.witness) <= 4
    assert check(list(found.witness)).holds is False

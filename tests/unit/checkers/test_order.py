"""Orders: one for all, prefixes, and causes before effects."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apps.kit.causality import Causality
from apps.kit.checkers import causal, prefix, same_prefix, total_order
from apps.kit.claims import Event, Finding
from tests.unit.checkers.histories import event


def delivered(**nodes: str) -> list[Event]:
    return [event("deliver", node, id=name) for node, names in nodes.items() for name in names]


@pytest.mark.parametrize(
    ("history", "total", "same"),
    [
        (delivered(p="abc", q="abc"), True, True),
        (delivered(p="abc", q="ab"), True, True),
        (delivered(p="abc", q="ac"), True, False),
        (delivered(p="ab", q="ba"), False, False),
        (delivered(p="ab", q="bc", r="ca"), False, False),
        (delivered(p="ab", q="cd"), True, False),
        (delivered(p="abab", q="ab"), True, True),
        (delivered(p="ab"), None, None),
        ([], None, None),
    ],
)
def test_one_order(history: list[Event], total: bool | None, same: bool | None) -> None:
    assert total_order(history).holds is total
    assert same_prefix(history).holds is same


def test_a_circle_is_shown_by_its_corners_alone() -> None:
    found = total_order(delivered(p="axxb".replace("xx", "xy"), q="bzwa"))
    assert sorted((e["node"], e["id"]) for e in found.witness) == [
        ("p", "a"),
        ("p", "b"),
        ("q", "a"),
        ("q", "b"),
    ]


def test_logs_that_are_read_whole() -> None:
    reads = [event("read", "n1", value=[1, 2]), event("read", "n2", value=[1])]
    assert prefix(reads).holds
    assert prefix(reads, of=[1, 2, 3]).holds
    assert prefix(reads, of=[1]).holds is False
    assert prefix([]).holds is None
    wrong = event("read", "n3", value=[2])
    found = prefix([*reads, wrong])
    assert found.holds is False
    assert found.witness == (reads[0], wrong)
    named = [event("ok", "c", f="get", value={"log": "ab"}), event("ok", "c", f="put", value={})]
    assert prefix(named, read=lambda e: e["f"] == "get", log=lambda e: e["value"]["log"]).holds


def told(*lines: str) -> list[Event]:
    """`p!m` sends, `p?m` delivers."""
    return [event("send" if line[1] == "!" else "recv", line[0], id=line[2:]) for line in lines]


def test_an_answer_before_its_question_is_shown_with_what_joins_them() -> None:
    history = told("a!q", "b?q", "b!r", "c?r", "c?q")
    found = causal(history)
    assert found.holds is False
    assert list(found.witness) == history
    assert causal(found.witness).holds is False
    assert causal(told("a!q", "b?q", "b!r", "c?q", "c?r")).holds
    assert causal(told("a!q", "b!r", "c?r", "c?q")).holds
    assert causal([]).holds is None


def test_a_message_may_be_received_before_it_is_delivered() -> None:
    early = told("a!q", "b?q", "b!r", "c?r", "c?q")
    ordered = [event("deliver", "c", id="q"), event("deliver", "c", id="r")]
    assert causal([*early, *ordered], delivered="deliver").holds
    assert causal([*early, *reversed(ordered)], delivered="deliver").holds is False


def test_a_receipt_may_stand_before_its_sending() -> None:
    """The clocks of hosts differ; each host's own order is all that is needed."""
    seen = Causality(told("c?r", "b?q", "b!r", "a!q"))
    places = {(e["node"], e["event"], e["id"]): n for n, e in enumerate(seen.events)}
    first, last = places["a", "send", "q"], places["c", "recv", "r"]
    assert seen.before(first, last)
    assert [e["id"] for e in seen.witness(*seen.path(first, last))] == ["q", "q", "r", "r"]


@st.composite
def broadcasts(draw: st.DrawFn, *, total: bool) -> list[Event]:
    """Nodes that broadcast and deliver, in causal order or all in one; some lag behind."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    nodes = ["a", "b", "c"][: draw(st.integers(2, 3))]
    history: list[Event] = []
    needs: dict[str, set[str]] = {}
    done: dict[str, list[str]] = {node: [] for node in nodes}
    for number in range(draw(st.integers(1, 12))):
        sender = rng.choice(nodes)
        name = f"m{number}"
        needs[name] = set(done[sender]) | {m for m in needs if m in done[sender]}
        history.append(event("send", sender, id=name))
        for _ in range(rng.randint(0, 4)):
            node = rng.choice(nodes)
            ready = [m for m in needs if m not in done[node] and needs[m] <= set(done[node])]
            if ready:
                chosen = ready[0] if total else rng.choice(ready)
                done[node].append(chosen)
                history.append(event("recv", node, id=chosen))
        if not total and name not in done[sender]:
            done[sender].append(name)
            history.append(event("recv", sender, id=name))
    return history


@given(broadcasts(total=False))
def test_a_causal_broadcast_holds(history: list[Event]) -> None:
    assert causal(history).holds is not False


@given(broadcasts(total=True))
def test_a_total_order_holds(history: list[Event]) -> None:
    assert total_order(history, delivered="recv").holds is not False
    assert same_prefix(history, delivered="recv").holds is not False


def swapped(history: list[Event], a: Event, b: Event) -> list[Event]:
    return [b if e is a else a if e is b else e for e in history]


@given(history=broadcasts(total=False), rng=st.randoms(use_true_random=False))
def test_an_effect_before_its_cause_is_caught(history: list[Event], rng: random.Random) -> None:
    """Two deliveries of one node change places, of which one message led to the other."""
    seen = Causality(history)
    sendings = {e["id"]: n for n, e in enumerate(seen.events) if e["event"] == "send"}
    last = {
        node: [e for e in history if e["node"] == node and e["event"] == "recv"] for node in "abc"
    }
    pairs = [
        (one, two)
        for events in last.values()
        for one, two in zip(events[-2:], events[-1:], strict=False)
        if seen.before(sendings[one["id"]], sendings[two["id"]])
        and not any(e["event"] == "send" for e in after(history, one))
    ]
    assume(pairs)
    found = causal(swapped(history, *rng.choice(pairs)))
    assert found.holds is False
    assert causal(found.witness).holds is False


def after(history: list[Event], one: Event) -> list[Event]:
    """What the same node did later."""
    place = next(n for n, e in enumerate(history) if e is one)
    return [e for e in history[place:] if e["node"] == one["node"]]


@pytest.mark.parametrize("check", [total_order, same_prefix])
@given(history=broadcasts(total=True), rng=st.randoms(use_true_random=False))
def test_two_deliveries_that_change_places_are_caught(
    check: Callable[..., Finding], history: list[Event], rng: random.Random
) -> None:
    by_node = {
        node: [e for e in history if e["node"] == node and e["event"] == "recv"] for node in "abc"
    }
    shared = min(sorted(map(len, by_node.values()))[-2:])
    assume(shared > 1)
    node = max(by_node, key=lambda node: len(by_node[node]))
    one, two = rng.sample(by_node[node][:shared], 2)
    found = check(swapped(history, one, two), delivered="recv")
    assert found.holds is False
    assert len(found.witness) <= 4
    assert check(found.witness, delivered="recv").holds is False

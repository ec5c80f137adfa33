"""The bully election: words, claims, and three real nodes on loopback."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.bully.claims import (
    deposed_are_refused,
    epochs_grow,
    one_coordinator_an_epoch,
    settled,
    two_coordinators,
)
from apps.bully.client import NodeClient, command, parse, survey
from apps.bully.core import Bully, Timing
from apps.bully.messages import KINDS, BadMessage, word
from apps.kit.address import Address
from apps.kit.claims import Event
from apps.kit.effects import Emit, Persist, Send
from apps.kit.events import Events
from apps.kit.node import Node
from apps.kit.outcome import Rejected
from apps.kit.store import Store
from apps.kit.summary import Load
from apps.kit.transport import UdpTransport
from tests.loopback import Record, free_port, run, until

NAMES = ("a", "b", "c")
FIELDS = ("epoch", "own", "electing", "number", "text")
SOON = Timing(answer=0.15, check=0.05, silence=0.2)


# Messages


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "fly", "epoch": [1, 0]},
        {"kind": ["halt"], "epoch": [1, 0]},
        {"kind": "halt"},
        {"kind": "halt", "epoch": 7},
        {"kind": "halt", "epoch": [1]},
        {"kind": "halt", "epoch": [-1, 0]},
        {"kind": "halt", "epoch": [1 << 60, 0]},
        {"kind": "halt", "epoch": [1, 0], "own": "x"},
        {"kind": "are_you_there", "epoch": [1, 0], "electing": "yes"},
        {"kind": "order", "epoch": [1, 0], "text": 7},
    ],
)
def test_what_is_no_message_is_ignored_and_said(message: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        word(message)
    core = Bully("b", NAMES, {})
    core.start(0.0)
    (effect,) = core.receive(0.1, "a", message)
    assert isinstance(effect, Emit)
    assert effect.event == "malformed"


ANYTHING = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers())


@settings(max_examples=50)
@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), ANYTHING))
def test_no_message_breaks_a_node(kind: str, fields: dict[str, Any]) -> None:
    core = Bully("b", NAMES, {})
    core.start(0.0)
    for sender in ("a", "c", "z"):
        core.receive(0.1, sender, {"kind": kind, "epoch": [1, 2], **fields})


def test_an_epoch_is_durable_before_anybody_hears_of_it() -> None:
    """Garcia-Molina 1982, assumption 4: storage that a crash leaves whole."""
    core = Bully("a", NAMES, {"epoch": [3, 0]})
    core.start(0.0)
    effects = core.receive(0.1, "c", {"kind": "halt", "epoch": [4, 2]})
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Persist) < kinds.index(Send)


def test_an_earlier_coordinator_is_refused_after_a_restart_too() -> None:
    core = Bully("a", NAMES, {"epoch": [4, 2]})
    core.start(0.0)
    assert not core.admits((3, 2))
    sent = [e for e in core.receive(0.1, "b", {"kind": "halt", "epoch": [3, 1]}) if type(e) is Send]
    assert [effect.message["kind"] for effect in sent] == ["stale"]
    assert core.admits((4, 2))


# Claims


def said(event: str, node: str, epoch: list[int], t: float = 0.0, **fields: Any) -> Event:
    return {"event": event, "node": node, "epoch": epoch, "t": t, **fields}


def test_one_epoch_has_one_coordinator() -> None:
    assert one_coordinator_an_epoch([]).holds is None
    twice = [said("lead", "a", [1, 0]), said("lead", "a", [1, 0])]
    assert one_coordinator_an_epoch(twice[:1]).holds
    assert one_coordinator_an_epoch(twice).witness == tuple(twice)


def test_epochs_never_shrink() -> None:
    down = [said("halted", "a", [2, 1]), said("follow", "a", [1, 1])]
    assert epochs_grow(down).holds is False
    assert epochs_grow([*reversed(down), said("lead", "b", [1, 1])]).holds


def test_whoever_obeys_a_deposed_coordinator_is_found_out() -> None:
    assert deposed_are_refused([said("halted", "a", [2, 1])]).holds is None
    obeyed = [said("halted", "a", [2, 1]), said("obey", "a", [1, 2])]
    assert deposed_are_refused(obeyed).witness == tuple(obeyed)
    assert deposed_are_refused([said("halted", "a", [2, 1]), said("obey", "a", [2, 1])]).holds


def test_settled_looks_at_what_each_said_last() -> None:
    history = [
        said("lead", "c", [2, 2]),
        said("follow", "a", [2, 2], leader="c"),
        said("follow", "b", [2, 2], leader="c"),
    ]
    assert settled(history, NAMES).holds
    assert not settled(history[:2], NAMES).holds
    assert not settled([*history, said("election", "b", [2, 2])], NAMES).holds
    assert not settled([*history, said("follow", "b", [1, 2], leader="c")], NAMES).holds
    assert not settled(history, ("a", "b")).holds
    told = {"node": "b", "leader": "c", "epoch": [2, 2], "status": "normal"}
    asked = {"event": "ok", "f": "who", "node": "n1", "value": told}
    assert settled([history[0], history[1], asked], NAMES).holds
    assert not settled([*history, {**asked, "value": {**told, "status": "election"}}], NAMES).holds


def test_who_was_dead_did_not_coordinate() -> None:
    two = [said("lead", "c", [1, 2], 1.0), said("lead", "b", [2, 1], 2.0)]
    assert two_coordinators(two).holds is None
    assert two_coordinators([*two, said("election", "c", [1, 2], why="recovery")]).holds is None
    told = [*two, said("election", "c", [1, 2], 3.0, why="b leads too")]
    assert two_coordinators(told).holds
    assert two_coordinators(told, since=2.5).holds is None


# Live, on loopback


class Cluster:
    """Three nodes on loopback, and what they wrote."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = io.StringIO()
        self.addresses = {name: Address("127.0.0.1", free_port()) for name in NAMES}

    def node(self, name: str) -> Node:
        """Build a node from what is durable."""
        events = Events("bully", "node", name, out=self.output)
        peers = {peer: at for peer, at in self.addresses.items() if peer != name}
        store = Store(self.directory / f"{name}.json")
        core = Bully(name, NAMES, store.values, SOON)
        here = self.addresses[name]
        return Node(core, name, here, UdpTransport(here, peers, events), events=events, store=store)

    @property
    def history(self) -> list[dict[str, Any]]:
        """All events so far."""
        return [json.loads(line) for line in self.output.getvalue().splitlines()]


def test_the_highest_leads_is_replaced_and_comes_back(tmp_path: Path) -> None:
    cluster, record = Cluster(tmp_path), Record("client")

    async def main() -> None:
        async with AsyncExitStack() as lower:
            for name in NAMES[:-1]:
                await lower.enter_async_context(cluster.node(name))
            async with cluster.node("c"):
                await until(lambda: settled(cluster.history, NAMES).holds)
            await until(lambda: settled(cluster.history, NAMES[:-1]).holds)
            async with cluster.node("c"):
                await until(lambda: settled(cluster.history, NAMES).holds)
                await command(cluster.addresses, record.events, Load(count=3, seed=1), patience=5)
                await survey(cluster.addresses, record.events, patience=5)
                await until(lambda: sum(e["event"] == "obey" for e in cluster.history) == 6)

    run(main())
    assert settled(record.seen("ok"), NAMES).holds
    for claim in (one_coordinator_an_epoch, epochs_grow, deposed_are_refused):
        assert claim(cluster.history).holds


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    cluster, record = Cluster(tmp_path), Record("client")

    async def main() -> None:
        async with AsyncExitStack() as nodes:
            for name in NAMES:
                await nodes.enter_async_context(cluster.node(name))
            await until(lambda: settled(cluster.history, NAMES).holds)
            async with NodeClient(cluster.addresses["a"], record.events, 5.0) as client:
                with pytest.raises(Rejected, match="a does not lead: c does"):
                    await client.ask({"f": "order", "text": "go"})
                with pytest.raises(Rejected, match="f must be one of who, order"):
                    await client.ask({"f": "fly"})
            async with NodeClient(cluster.addresses["c"], record.events, 5.0) as client:
                with pytest.raises(Rejected, match="text must be a string of 1 to 1000"):
                    await client.ask({"f": "order", "text": "x" * 1001})

    run(main())
    assert [event["how"] for event in record.seen("fail")] == ["rejected"] * 3


def test_survey_says_who_is_away() -> None:
    out = io.StringIO()
    events = Events("bully", "survey", "n1", out=out, text=True)
    nobody = {"a": Address("127.0.0.1", free_port())}
    asyncio.run(survey(nobody, events, patience=0.5))
    assert out.getvalue().startswith("a: refused: ")


def test_words_become_requests() -> None:
    assert parse(["who"]) == {"f": "who"}
    assert parse(["order", "all", "halt"]) == {"f": "order", "text": "all halt"}
    for words in ([], ["order"], ["who", "else"], ["fly"]):
        with pytest.raises(ValueError, match="say one of: who, order TEXT"):
            parse(words)

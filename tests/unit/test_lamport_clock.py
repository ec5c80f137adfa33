"""lamport_clock live on loopback: three real nodes over UDP, and clients that ask by words."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.node import Node
from apps.kit.outcome import Rejected
from apps.kit.store import Store
from apps.kit.summary import Load
from apps.kit.transport import UdpTransport
from apps.lamport_clock.claims import judge
from apps.lamport_clock.client import NodeClient, contend, parse
from apps.lamport_clock.core import LamportNode
from tests.loopback import free_port


class Cluster:
    """Three nodes on loopback, and what they wrote."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = io.StringIO()
        self.addresses = {name: Address("127.0.0.1", free_port()) for name in ("a", "b", "c")}

    def node(self, name: str) -> Node:
        """Build a node from what is durable."""
        events = Events("lamport_clock", "node", name, out=self.output)
        peers = {peer: at for peer, at in self.addresses.items() if peer != name}
        store = Store(self.directory / f"{name}.json")
        core = LamportNode(name, peers, store.values)
        here = self.addresses[name]
        return Node(core, name, here, UdpTransport(here, peers, events), events=events, store=store)

    @property
    def history(self) -> list[dict[str, Any]]:
        """All events so far."""
        return [json.loads(line) for line in self.output.getvalue().splitlines()]


def quiet(name: str) -> Events:
    """Give events that nobody reads."""
    return Events("lamport_clock", "contend", name, out=io.StringIO())


def test_three_live_nodes_keep_every_promise(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)

    async def fight(name: str) -> None:
        load, node = Load(count=5, seed=1), cluster.addresses[name]
        await contend(node, quiet(name), load, stay=0.001, wait=None, patience=20)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            for name in cluster.addresses:
                await stack.enter_async_context(cluster.node(name))
            await asyncio.gather(*map(fight, cluster.addresses))

    asyncio.run(run())
    entered = [event for event in cluster.history if event["event"] == "enter"]
    assert len(entered) == 15
    assert {name: f.holds for name, f in judge(cluster.history).items()} == {
        "clock_condition": True,
        "vector_condition": True,
        "mutual_exclusion": True,
        "granted_in_order": True,
        "every_request_granted": True,
    }


def test_a_restarted_node_goes_on_where_it_was(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)

    async def numbers() -> dict[str, Any]:
        async with cluster.node("a"), NodeClient(cluster.addresses["a"], quiet("x"), 5) as client:
            await client.ask({"f": "event", "name": "lunch"})
            return await client.ask({"f": "state"})

    first, second = asyncio.run(numbers()), asyncio.run(numbers())
    assert (first["incarnation"], second["incarnation"]) == (1, 2)
    assert second["lamport"] > first["lamport"]


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)

    async def run() -> None:
        async with cluster.node("a"), NodeClient(cluster.addresses["a"], quiet("x"), 5) as client:
            with pytest.raises(Rejected, match="seconds above 0"):
                await client.ask({"f": "acquire", "hold": 0})

    asyncio.run(run())


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ("acquire", {"f": "acquire", "hold": 10.0}),
        ("acquire 2", {"f": "acquire", "hold": 2.0}),
        ("acquire 2 3.5", {"f": "acquire", "hold": 2.0, "wait": 3.5}),
        ("release 17 n1", {"f": "release", "fence": [17, "n1"]}),
        ("event late lunch", {"f": "event", "name": "late lunch"}),
        ("tell n2 hello you", {"f": "tell", "to": "n2", "text": "hello you"}),
        ("state", {"f": "state"}),
    ],
)
def test_words_become_requests(words: str, body: dict[str, Any]) -> None:
    assert parse(words.split()) == body


@pytest.mark.parametrize("words", ["", "acquire x", "release 17", "tell n2", "event", "fly"])
def test_other_words_are_told_what_would_do(words: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        parse(words.split())

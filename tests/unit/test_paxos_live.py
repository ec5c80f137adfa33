"""Paxos on loopback: acceptors, proposers and learners over real sockets, and their clients."""

from __future__ import annotations

import io
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from apps.kit.address import Address
from apps.kit.effects import Core
from apps.kit.events import Events
from apps.kit.node import Node
from apps.kit.outcome import Rejected
from apps.kit.store import Durable, Store
from apps.kit.summary import Load
from apps.kit.transport import UdpTransport
from apps.paxos.acceptor import Acceptor
from apps.paxos.claims import none_is_untold, one_story, one_value_chosen, promises_kept
from apps.paxos.client import PaxosClient, Times, contend, fight
from apps.paxos.learner import Learner
from apps.paxos.proposer import Pace, Proposer
from apps.paxos.table import Table
from tests.loopback import Record, free_port, run

ACCEPTORS, PROPOSERS, LEARNERS = ("a1", "a2", "a3"), ("p1", "p2"), ("l1",)
TIMES = Times(patience=5.0, attempt=1.0)


class Synod:
    """Three acceptors, two proposers and a learner, and what they wrote."""

    def __init__(self, directory: Path, most: int = 100) -> None:
        self.directory = directory
        self.most = most
        self.output = io.StringIO()
        names = (*ACCEPTORS, *PROPOSERS, *LEARNERS)
        self.at = {name: Address("127.0.0.1", free_port()) for name in names}

    @property
    def proposers(self) -> list[Address]:
        """Where values are proposed."""
        return [self.at[name] for name in PROPOSERS]

    @asynccontextmanager
    async def running(self, *names: str) -> AsyncIterator[None]:
        """Have these run, from what is durable; all if none is named."""
        async with AsyncExitStack() as stack:
            for name in names or self.at:
                await stack.enter_async_context(self._node(name, stack))
            yield

    def _node(self, name: str, stack: AsyncExitStack) -> Node:
        core: Core
        store: Durable
        if name in LEARNERS:
            core, store = Learner(ACCEPTORS, PROPOSERS, answer=0.05), Store(self.directory / name)
        else:
            table = store = Table(self.directory / name, self.most)
            stack.callback(table.close)
            core = Acceptor(LEARNERS, table.get)
            if name in PROPOSERS:
                number, pace = PROPOSERS.index(name) + 1, Pace(answer=0.05, backoff=0.3)
                core = Proposer(number, ACCEPTORS, table.get, random.Random(1), pace)
        events = Events("paxos", "node", name, out=self.output)
        peers = {peer: at for peer, at in self.at.items() if peer != name}
        transport = UdpTransport(self.at[name], peers, events)
        return Node(core, name, self.at[name], transport, events=events, store=store)

    @property
    def history(self) -> list[dict[str, Any]]:
        """All events so far."""
        return [json.loads(line) for line in self.output.getvalue().splitlines()]


def test_what_is_chosen_is_known_by_all_and_after_a_restart_of_all(tmp_path: Path) -> None:
    synod, record = Synod(tmp_path), Record("client")

    async def main() -> None:
        async with synod.running(), PaxosClient(synod.proposers, record.events, TIMES) as client:
            assert (await client.propose("d", "v"))["value"] == "v"
            assert (await client.propose("d", "w"))["value"] == "v"
        async with synod.running(*ACCEPTORS[1:], *PROPOSERS[1:], *LEARNERS):
            async with PaxosClient([synod.at["l1"]], record.events, TIMES) as learning:
                assert (await learning.chosen("d"))["value"] == "v"
                assert (await learning.chosen("e"))["value"] is None
            async with PaxosClient(synod.proposers, record.events, TIMES) as client:
                assert (await client.propose("d", "x"))["value"] == "v"

    run(main())
    history = [*synod.history, *record.seen()]
    for finding in (one_value_chosen(history, 3), one_story(history), promises_kept(history)):
        assert finding.holds, finding


def test_a_crowd_and_a_duel_with_backoff_end(tmp_path: Path) -> None:
    synod, record = Synod(tmp_path), Record("client")

    async def main() -> None:
        servers = (synod.proposers, [synod.at["l1"]])
        async with synod.running():
            await contend(servers, record.events, "x", Load(count=30, callers=3), TIMES)
            await fight(synod.proposers, record.events, "y", TIMES, delay=0.1, backoff=0.5)

    run(main())
    history = [*synod.history, *record.seen()]
    for finding in (one_value_chosen(history, 3), one_story(history), none_is_untold(history)):
        assert finding.holds, finding
    (summary,) = record.seen("summary")
    assert (summary["answered"], summary["failed"]) == (30, 0)


def test_without_a_majority_nothing_is_chosen_and_clients_are_told(tmp_path: Path) -> None:
    synod, record = Synod(tmp_path), Record("client")
    soon = Times(patience=0.5, attempt=0.3)

    async def main() -> None:
        async with (
            synod.running("a1", "p1", "l1"),
            PaxosClient([synod.at["p1"]], record.events, soon) as client,
        ):
            with pytest.raises(Rejected, match="not proposed to anybody"):
                await client.propose("d", "v")
            with pytest.raises(Rejected, match="value must be a string of 1 to 1000"):
                await client.propose("d", "x" * 1001)

    run(main())
    assert [event["how"] for event in record.seen("fail")] == ["rejected"] * 2


def test_who_has_no_room_refuses_and_gives_no_word(tmp_path: Path) -> None:
    synod, record = Synod(tmp_path, most=1), Record("client")
    soon = Times(patience=0.5, attempt=0.3)

    async def main() -> None:
        async with synod.running(), PaxosClient([synod.at["p1"]], record.events, soon) as client:
            await client.propose("first", "v")
            with pytest.raises(Rejected, match="no majority"):
                await client.propose("second", "v")

    run(main())
    refused = [event for event in synod.history if event["event"] == "refused"]
    assert {event["node"] for event in refused} == set(ACCEPTORS)
    promised = [event for event in synod.history if event["event"] == "promised"]
    assert {event["decree"] for event in promised} == {"first"}

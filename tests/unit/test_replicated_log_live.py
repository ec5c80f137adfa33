"""The replicated log on loopback: a master and two secondaries over real sockets and files."""

from __future__ import annotations

import asyncio
import io
import random
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.http_server import Bounds
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.transport import TcpTransport
from apps.replicated_log.client import Log
from apps.replicated_log.clients import ClientTable
from apps.replicated_log.core import Master
from apps.replicated_log.entries import Entry
from apps.replicated_log.follower import Follower
from apps.replicated_log.master import MasterServer
from apps.replicated_log.secondary import SecondaryServer
from apps.replicated_log.stages import STAGES
from apps.replicated_log.storage import LogFile
from tests.loopback import LOOPBACK, PATIENCE, Record, free_port, run

LOG = "5eed" * 8
NODES = ("m", "a", "b")


class Nodes:
    """A master and two secondaries whose files outlive them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.peers = {name: Address("127.0.0.1", free_port()) for name in NODES}
        self.at: dict[str, Address] = {}
        """Where clients find those that run."""

    @asynccontextmanager
    async def running(
        self, *names: str, stage: int = 3, patience: float = PATIENCE, delay: float = 0.0
    ) -> AsyncIterator[None]:
        """Have these run, from what is on their disks; writes of `b` wait for `delay`."""
        async with AsyncExitStack() as stack:
            for name in names or NODES:
                known = ClientTable()
                log = stack.enter_context(LogFile(self.home / name, known.add))
                if name == "m":
                    node: Any = self._master(log, known, stage, patience)
                else:
                    node = self._secondary(name, log, delay if name == "b" else 0.0)
                await stack.enter_async_context(node)
                self.at[name] = node.address
            yield

    def _master(self, log: LogFile, known: ClientTable, stage: int, patience: float) -> Any:
        log.append((), LOG)
        core = Master(NODES[1:], log, known, STAGES[stage], rng=random.Random(1))
        events = Events("replicated_log", "master", "m", out=io.StringIO())
        return MasterServer(
            LOOPBACK,
            core,
            log,
            self._transport("m", NODES[1:], events),
            stage=STAGES[stage],
            events=events,
            bounds=Bounds(),
            patience=patience,
        )

    def _secondary(self, name: str, log: LogFile, delay: float) -> Any:
        events = Events("replicated_log", "secondary", name, out=io.StringIO())
        transport = self._transport(name, ("m",), events)
        core = Follower("m", log)
        return SecondaryServer(
            LOOPBACK, core, log, transport, events=events, bounds=Bounds(), delay=delay
        )

    def _transport(self, name: str, others: tuple[str, ...], events: Events) -> TcpTransport:
        peers = {other: self.peers[other] for other in others}
        return TcpTransport(name, self.peers[name], peers, events)

    async def ask(self, node: str, path: str = "/messages", body: Any = None) -> tuple[int, Any]:
        """Ask as the seed's clients do."""
        method, url = "GET" if body is None else "POST", f"http://{self.at[node]}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, json=body) as answer,
        ):
            return answer.status, await answer.json(content_type=None)

    async def takes_messages(self) -> None:
        """Wait until a majority is there."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if (await self.ask("m", "/health"))[1]["status"] == "ok":
                    return
                await asyncio.sleep(0.01)

    async def have_all(self) -> list[str]:
        """Wait until all nodes have all; what that is."""
        async with asyncio.timeout(PATIENCE):
            while True:
                one, *others = [(await self.ask(name))[1]["messages"] for name in NODES]
                if all(other == one for other in others):
                    return list(one)
                await asyncio.sleep(0.01)


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    return Nodes(tmp_path)


def test_old_clients_append_and_every_node_shows_it(nodes: Nodes) -> None:
    async def main() -> None:
        async with nodes.running():
            await nodes.takes_messages()
            for offset, message in enumerate(("one", "zwei ✓")):
                status, told = await nodes.ask("m", body={"message": message})
                assert (status, told) == (201, {"offset": offset, "w": 2})
            assert await nodes.have_all() == ["one", "zwei ✓"]
            assert (await nodes.ask("a", "/messages?offset=1&limit=1"))[1]["next"] == 2
            assert (await nodes.ask("a", body={"message": "no"}))[0] == 405
            assert (await nodes.ask("m", body={"message": 1}))[0] == 400

    run(main())


def test_a_request_that_comes_again_is_one_message_after_a_restart_too(nodes: Nodes) -> None:
    request = {"message": "once", "client": "c", "seq": 7}

    async def main() -> None:
        for _ in range(2):
            async with nodes.running():
                await nodes.takes_messages()
                for _ in range(2):
                    assert (await nodes.ask("m", body=request))[1]["offset"] == 0
                assert (await nodes.ask("m", body={**request, "seq": 6}))[0] == 409
        with LogFile(nodes.home / "m") as log:
            assert log.length == 1

    run(main())


def test_a_secondary_with_a_new_disk_gets_all_while_the_log_goes_on(nodes: Nodes) -> None:
    async def main() -> None:
        async with nodes.running("m", "a"):
            async with nodes.running("b"):
                await nodes.takes_messages()
                for number in range(20):
                    await nodes.ask("m", body={"message": f"{number}", "w": "all"})
            (nodes.home / "b").unlink()
            await nodes.ask("m", body={"message": "meanwhile"})
            async with nodes.running("b"):
                await nodes.ask("m", body={"message": "and on", "w": "all"})
                assert len(await nodes.have_all()) == 22

    run(main())


def test_who_waits_for_a_slow_secondary_is_who_asked_for_all(nodes: Nodes) -> None:
    async def main() -> None:
        async with nodes.running(patience=1.0, delay=60.0):
            await nodes.takes_messages()
            assert (await nodes.ask("m", body={"message": "one", "w": 2}))[0] == 201
            assert (await nodes.ask("m", body={"message": "two", "w": "all"}))[0] == 504
            assert (await nodes.ask("b"))[1]["messages"] == []
        async with nodes.running(delay=0.05):
            await nodes.takes_messages()
            assert (await nodes.ask("m", body={"message": "three", "w": "all"}))[0] == 201
            assert (await nodes.ask("b"))[1]["messages"] == ["one", "two", "three"]

    run(main())


def test_while_a_slow_disk_writes_the_node_answers(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single entry is written in the loop, but not where the write before it took long."""
    disk = threading.Event()
    disk.set()
    append = LogFile.append

    def slowly(log: LogFile, entries: Sequence[Entry], identity: str) -> None:
        time.sleep(0.01 if entries else 0)
        assert disk.wait(PATIENCE)
        append(log, entries, identity)

    async def main() -> None:
        async with nodes.running():
            await nodes.takes_messages()
            await nodes.ask("m", body={"message": "quick", "w": "all"})
            monkeypatch.setattr(LogFile, "append", slowly)
            await nodes.ask("m", body={"message": "slow", "w": "all"})
            disk.clear()
            one = asyncio.create_task(nodes.ask("m", body={"message": "one", "w": "all"}))
            for _ in range(3):
                for name in NODES:
                    assert (await nodes.ask(name))[1]["total"] == 2
            assert not one.done()
            disk.set()
            assert (await one)[0] == 201
            assert await nodes.have_all() == ["quick", "slow", "one"]

    run(main())


def test_in_stage_one_a_node_that_is_away_stops_all_writes(nodes: Nodes) -> None:
    async def main() -> None:
        async with nodes.running("m", "a", stage=1, patience=1.0):
            assert (await nodes.ask("m", body={"message": "one"}))[0] == 504
        async with nodes.running(stage=1):
            assert (await nodes.ask("m", body={"message": "two"}))[0] == 201
            assert (await nodes.ask("m", body={"message": "three", "w": 1}))[0] == 400

    run(main())


def test_the_client_tells_outcomes_apart(nodes: Nodes) -> None:
    record = Record("client")

    async def main() -> None:
        async with nodes.running("m", patience=0.2):
            assert nodes.at
            with pytest.raises(Refused, match="can only be read"):
                await using(nodes, record, lambda log: log.append("one", "majority"))
            async with nodes.running("a"):
                await nodes.takes_messages()
                with pytest.raises(Unknown):
                    await using(nodes, record, lambda log: log.append("two", "all"))
                with pytest.raises(Rejected, match="from 1 to 3"):
                    await using(nodes, record, lambda log: log.append("three", "9"))
                assert await using(nodes, record, lambda log: log.append("four", "2")) == 1
                assert await using(nodes, record, lambda log: log.read(0)) == ["two", "four"]

    run(main())
    assert [e["event"] for e in record.seen("ok", "fail", "unknown")] == [
        *("fail", "unknown", "fail", "ok", "ok")
    ]


async def using(nodes: Nodes, record: Record, ask: Any) -> Any:
    """Do something with a client, in a thread of its own."""

    def do() -> Any:
        with Log(nodes.at["m"], record.events, timeout=1.0, rng=random.Random(1)) as log:
            return ask(log)

    return await asyncio.to_thread(partial(do))

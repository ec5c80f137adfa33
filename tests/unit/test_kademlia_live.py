"""Nodes on loopback: what is found whoever leaves, the node as a service, its clients."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kademlia.node import Node

from apps.kademlia import wire
from apps.kademlia.__main__ import cli
from apps.kademlia.client import NodeClient, exercise, meet, survey
from apps.kademlia.core import PLAIN, Entry, standing
from apps.kademlia.dht import Dht, topic_key
from apps.kademlia.exchange import Pace, publish, subscribe
from apps.kademlia.node import Habits, KademliaNode
from apps.kit.address import Address
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.store import Store
from apps.kit.summary import Load
from tests.kademlia_loopback import HOME, get, library, nearest, nodes, put
from tests.loopback import Record, free_port, run, until

OFTEN = Habits(rejoin=0.05, republish=0.4, young=0.1)


# Found, whoever leaves


@pytest.mark.parametrize(("count", "k"), [(6, 20), (24, 4)])
def test_a_third_leaves_and_all_is_found_that_can_be(count: int, k: int) -> None:
    async def main() -> None:
        async with nodes(count, k=k) as made:
            keys = [f"key {number}" for number in range(3)]
            stored = {key: await put(node, key, key) for node, key in zip(made, keys, strict=False)}
            assert all(len(one.holders) == one.of == min(k, count) for one in stored.values())
            gone = random.Random(count).sample(made, count // 3)
            await asyncio.gather(*(node.close() for node in gone))
            dead = {node.address for node in gone}
            possible = [key for key in keys if set(stored[key].holders) - dead]
            assert possible == keys or k < 20

            async def all_of(node: Dht) -> None:
                for key in possible:
                    # On a busy machine one that lives may be late, and is asked after as a unit is;
                    # and what a node knows is brought up to date, as a unit's is each hour.
                    for _ in range(10):
                        if await get(node, key) == key:
                            break
                        await node.rejoin([], random.Random(1))
                        await node.refresh(0.0)
                    else:
                        pytest.fail(f"{node.address} does not find {key}")

            await asyncio.gather(*(all_of(node) for node in made if node not in gone))

    run(main())


def test_nodes_that_registered_at_once_are_all_found() -> None:
    async def main() -> None:
        async with nodes(6) as made:
            key = topic_key("weather")
            await asyncio.gather(
                *(
                    node.put(key, f"p{n}", f"h:{n}", lease=60.0, copies=20, writer="w")
                    for n, node in enumerate(made)
                )
            )
            for node in made:
                found, _ = await node.get_entries(key)
                assert sorted(standing(found)) == [f"p{n}" for n in range(6)]

    run(main())


def test_a_set_on_few_nodes_is_on_the_nearest() -> None:
    async def main() -> None:
        async with nodes(6) as made:
            stored = await put(made[0], "k", "v", copies=2)
            assert set(stored.holders) == {node.address for node in nearest(made, "k", 2)}
            assert stored.of == 2
            assert [await get(node, "k") for node in made] == ["v"] * 6

    run(main())


def test_nobody_fills_a_store_by_lying_about_a_lease() -> None:
    async def main() -> None:
        async with nodes(2) as (node, other):
            forever = Entry(PLAIN, 1, "w", "v", node.protocol.now() + 1e9, 20)
            peer, key = Node(node.node.id, *node.address), b"k" * 20
            assert await other.protocol.call_keep(peer, key, [forever]) == (True, [True])
            (entry,) = node.shelf.get(node.protocol.now(), key).values()
            assert entry.expires - node.protocol.now() <= wire.LONGEST_LEASE

    run(main())


def test_a_program_of_the_library_gets_and_sets() -> None:
    async def main() -> None:
        async with nodes(4) as made:
            await put(made[0], "ours", "v")
            async with library(made[1].address, wait=1.0) as program:
                assert await program.get("ours") == "v"
                assert await program.set("theirs", 7) is True
                assert await get(made[2], "theirs") == 7
                await program.set("ours", "old")  # it has no version, so nobody takes it
            assert await get(made[3], "ours") == "v"

    run(main())


# The node as a service


@asynccontextmanager
async def serving(
    path: Path, *peers: Address, port: int = 0, k: int = 20
) -> AsyncIterator[KademliaNode]:
    here, events = Address(HOME, port or free_port()), Record().events
    async with KademliaNode(here, peers, events, Store(path), ksize=k, habits=OFTEN) as node:
        yield node


@asynccontextmanager
async def client(node: Address) -> AsyncIterator[NodeClient]:
    async with NodeClient(node, Record("client", "c").events, 10.0) as asking:
        yield asking


def test_nodes_that_joined_at_once_come_to_know_every_part_of_the_ids(tmp_path: Path) -> None:
    async def main() -> None:
        first = Address(HOME, free_port())
        async with AsyncExitStack() as opened:
            served = [serving(tmp_path / "0", port=first.port, k=2)]
            served += [serving(tmp_path / str(number), first, k=2) for number in range(1, 24)]
            made = await asyncio.gather(*map(opened.enter_async_context, served))
            ids = {node.dht.node.long_id for node in made}

            def unknown_parts(node: KademliaNode) -> int:
                mine = node.dht.node.long_id
                depths = {(mine ^ other).bit_length() for other in ids - {mine}}
                return len(depths - {(mine ^ n.long_id).bit_length() for n in node.dht.contacts})

            await until(lambda: not any(map(unknown_parts, made)))

    run(main())


def test_a_node_keeps_its_id_and_finds_back_without_its_peers(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = Address(HOME, free_port()), Address(HOME, free_port())
        async with serving(tmp_path / "b", first, port=second.port):
            async with serving(tmp_path / "a", port=first.port) as one:
                await until(lambda: len(one.dht.contacts) == 1)
                third = tmp_path / "c"
                async with serving(third, first) as two:
                    await until(lambda: len(two.dht.contacts) == 2)
                    id_ = two.dht.node.id
                    await two._save()
            assert json.loads(third.read_text())["id"] == id_.hex()
            # Its peer is away; it was told of the other by nobody but itself.
            async with serving(third, first) as two:
                await until(lambda: len(two.dht.contacts) == 1)
                assert two.dht.node.id == id_

    run(main())


def test_a_node_whose_peers_are_away_waits_for_them(tmp_path: Path) -> None:
    async def main() -> None:
        first = Address(HOME, free_port())
        async with serving(tmp_path / "b", first) as early, client(early.address) as asking:
            for body in ({"f": "get", "key": "k"}, {"f": "set", "key": "k", "value": 1}):
                with pytest.raises(Rejected, match="not found any other"):
                    await asking.ask(body)
            assert not (await asking.ask({"f": "status"}))["joined"]
            async with serving(tmp_path / "a", port=first.port):
                await until(lambda: early._joined)
                assert (await asking.ask({"f": "set", "key": "k", "value": 1}))["stored"] == 2

    run(main())


def test_parts_that_forgot_each_other_meet_again(tmp_path: Path) -> None:
    async def main() -> None:
        first = Address(HOME, free_port())
        async with (
            serving(tmp_path / "a", port=first.port) as one,
            serving(tmp_path / "b", first) as two,
            serving(tmp_path / "c", first) as three,
        ):
            everyone = [one.address, two.address, Address("localhost", three.address.port)]
            await meet(everyone, Record("c").events, 10.0)
            for node in (one, two, three):
                for contact in node.dht.contacts:  # as after a long partition
                    node.dht.protocol._lapse(contact)
                    node.dht.protocol.router.remove_contact(contact)
            await meet(everyone, Record("c").events, 10.0)

    run(main())


def test_a_disk_that_is_full_stops_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def main() -> None:
        record = Record()
        store = Store(tmp_path / "node.json")
        with monkeypatch.context() as patched:
            patched.setattr(Store, "put", full)
            node = KademliaNode(Address(HOME, free_port()), (), record.events, store)
            async with node:
                assert record.seen("unsaved")
                async with client(node.address) as asking:
                    assert (await asking.ask({"f": "set", "key": "k", "value": 1}))["stored"] == 1
                patched.undo()
                await node._save()
        assert "id" in json.loads((tmp_path / "node.json").read_text())

    run(main())


def test_clients_are_told_what_is_known(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            serving(tmp_path / "a") as one,
            serving(tmp_path / "b", one.address) as two,
            client(one.address) as asking,
        ):
            with pytest.raises(Rejected, match="none of 2 nodes has it"):
                await asking.ask({"f": "get", "key": "k"})
            stored = await asking.ask({"f": "set", "key": "k", "value": "v"})
            assert (stored["stored"], stored["of"]) == (2, 2)
            assert (await asking.ask({"f": "get", "key": "k"}))["value"] == "v"
            assert (await asking.ask({"f": "holds", "key": "k"}))["value"] == "v"
            await two.dht.close()
            with pytest.raises(Unknown, match="1 do not answer"):
                await asking.ask({"f": "get", "key": "other"})
            with pytest.raises(Rejected, match="f must be"):
                await asking.ask({"f": "fly"})
        async with client(Address(HOME, free_port())) as nobody:
            with pytest.raises(Refused):
                await nobody.ask({"f": "status"})

    run(main())


def test_a_load_is_made_and_surveyed(tmp_path: Path) -> None:
    async def main() -> None:
        record = Record("fill")
        async with serving(tmp_path / "a") as one, serving(tmp_path / "b", one.address) as two:
            both = [one.address, two.address]
            load = Load(count=30, callers=2, seed=3)
            await exercise(both, record.events, load, name="x", copies=20, patience=5.0)
            keys = sorted({event["key"] for event in record.seen("ok") if event["f"] == "set"})
            await survey(both, keys, record.events, "get", 5.0)
            with pytest.raises(Rejected, match="nothing there"):
                await survey(both, [*keys, "nothing there"], record.events, "get", 5.0)
            (summary,) = record.seen("summary")
            assert summary["answered"] == 30

    run(main())


def test_publishers_and_subscribers_meet_by_topic(tmp_path: Path) -> None:
    async def speak(node: KademliaNode, name: str, seconds: float) -> None:
        events, pace = Record("publish", name).events, Pace(20.0, seconds)
        listen = Address(HOME, 0)
        await publish(node.address, events, "weather", listen=listen, lease=0.6, pace=pace)

    async def main() -> None:
        heard = Record("subscribe", "s")
        async with serving(tmp_path / "a") as one, serving(tmp_path / "b", one.address) as two:
            hearing = asyncio.create_task(
                subscribe(two.address, heard.events, "weather", every=0.05, seconds=30.0)
            )
            await speak(one, "p1", 0.8)
            dead = asyncio.create_task(speak(two, "p2", 60.0))
            await until(lambda: len(heard.seen("publisher_found")) == 2)
            enough = len(heard.seen("recv")) + 3
            await until(lambda: len(heard.seen("recv")) >= enough)
            dead.cancel()  # it does not withdraw
            await until(lambda: len(heard.seen("publisher_gone")) == 2)
            hearing.cancel()
            await asyncio.gather(dead, hearing, return_exceptions=True)

    run(main())


# The command line


def cli_says(*words: object) -> tuple[int, str]:
    ended = CliRunner().invoke(cli, list(map(str, words)))
    return ended.exit_code, ended.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("client", "127.0.0.1", "fly"), "not understood"),
        (("client", "127.0.0.1:0"), "port"),
        (("survey", "127.0.0.1"), "--key"),
        (("publish", "127.0.0.1"), "TOPIC"),
        (("node", "--k", "0"), "--k"),
    ],
)
def test_what_is_wrong_is_said(words: Sequence[object], said: str) -> None:
    status, told = cli_says(*words)
    assert status == 2
    assert said in told


def test_a_client_without_a_node_says_so() -> None:
    status, told = cli_says("client", f"{HOME}:{free_port()}", "--timeout", 0.2, "get", "k")
    assert status == 3
    assert told.startswith("refused: ")

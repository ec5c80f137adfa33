"""The library's faults where it meets a network, each beside what we make of it.

A test called `test_the_library_…` shows a fault of the library as it is. Should one fail because a
later version has mended that, what works around it can go.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import umsgpack
from kademlia.network import Server
from kademlia.node import Node
from kademlia.utils import digest

from apps.kademlia.calls import ATTEMPTS
from apps.kademlia.core import PLAIN, Entry
from apps.kademlia.dht import Absence, Dht, key_of
from tests.kademlia_loopback import (
    HOME,
    get,
    knows,
    library,
    nearest,
    nodes,
    put,
    stranger,
    where,
)
from tests.loopback import Record, free_port, run, until

HEAD = b"\0" + b"m" * 20
"""Of a request."""


# set


def test_the_library_is_content_with_none() -> None:
    """bmuller/kademlia pull request 95: True is to mean that one node stored it."""

    async def main() -> None:
        async with stranger() as deaf, library(deaf.address) as server:
            assert await server.set("k", "v") is True
            assert deaf.asked[-1] == "store"
        async with stranger() as gone, library(gone.address) as server:
            gone.silent = True
            with pytest.raises(ValueError, match="empty"):
                await server.set("k", "v")

    run(main())


def test_a_set_tells_who_keeps_it() -> None:
    async def main() -> None:
        async with nodes(4) as made:
            assert len((await put(made[0], "k", "v")).holders) == 4
            await made[3].close()
            told = await put(made[0], "k", "w")
            assert set(told.holders) == {node.address for node in made[:3]}
            assert told.of == 4
            await asyncio.gather(made[1].close(), made[2].close())
            alone = await put(made[0], "k", "x")
            assert (alone.holders, alone.of) == ([made[0].address], 4)
            assert await get(made[0], "k") == "x"

    run(main())


# Handing over


def test_the_library_hands_over_by_the_hash_of_a_hash() -> None:
    async def main() -> None:
        async with library() as server:
            handed: set[bytes] = set()

            def id_of(number: int) -> bytes:
                return number.to_bytes(20, "big")

            async def call_store(_: Node, key: bytes, __: object) -> None:
                handed.add(key)

            own = server.node.long_id
            server.protocol.call_store = call_store
            server.protocol.router.add_contact(Node(id_of(~own % 2**160), HOME, 1))
            # To each of these the newcomer is the nearest, and next to it the server itself.
            keys = {id_of(own ^ 1 ^ n << 1) for n in range(20)}
            for key in keys:
                server.storage[key] = "v"
            server.protocol.welcome_if_new(Node(id_of(own ^ 1), HOME, 2))
            await asyncio.sleep(0)
            assert handed < keys

    run(main())


def test_a_newcomer_is_handed_what_it_should_keep() -> None:
    async def main() -> None:
        async with nodes(5) as made:
            keys = [f"k{number}" for number in range(12)]
            for key in keys:
                await put(made[0], key, "v", copies=2)
            async with nodes(1) as (late,):
                assert await late.join([made[0].address])
                wanted = {key_of(key) for key in keys if late in nearest([*made, late], key, 2)}

                def has() -> set[bytes]:
                    return {key for key, _ in late.shelf.items(late.protocol.now())}

                await until(lambda: has() == wanted)

    run(main())


def test_who_begins_anew_under_its_old_id_is_handed_everything() -> None:
    async def main() -> None:
        record = Record()
        async with nodes(4, record) as made:
            await put(made[0], "k", "v")
            crashed = made.pop()
            place = crashed.address
            await crashed.close()
            await asyncio.sleep(0)
            again = Dht(record.events, node_id=crashed.node.id)
            await again.listen(place.port, place.host)
            made.append(again)
            assert await again.join([made[0].address])
            await until(lambda: again.shelf.count == 1)

    run(main())


def test_who_only_was_silent_is_not_handed_all_again() -> None:
    async def main() -> None:
        async with nodes(1) as (node,), stranger() as peer:
            await put(node, "k", "v")
            node.protocol.welcome_if_new(peer.node)
            await until(lambda: peer.asked == ["keep"])
            node.protocol._lapse(peer.node)
            node.protocol.router.remove_contact(peer.node)
            assert await node.rejoin([], random.Random(1))
            assert (await node.protocol.call_ping(peer.node))[0]
            assert peer.asked == ["keep", "ping", "ping"]

    run(main())


@pytest.mark.parametrize("pause", [0.5, 0.05])
def test_the_longer_one_is_away_the_more_seldom_it_is_asked_after(pause: float) -> None:
    absence, asked = Absence(0.0, 0.0), []
    for turn in range(int(3600 / pause)):
        if absence.due(now := turn * pause):
            asked.append(now)
            absence.asked = now
    # It is missed for a third of its absence at most, once it is back.
    gaps = [later - before for before, later in itertools.pairwise(asked)]
    assert all(gap <= before / 3 + 1.01 * pause for before, gap in zip(asked, gaps, strict=False))
    assert len(asked) < 50


# One answer that is lost; a claimed id


def test_the_library_drops_a_contact_for_one_lost_answer() -> None:
    """bmuller/kademlia issue 23."""

    async def main() -> None:
        async with stranger() as peer, library(peer.address) as server:
            assert knows(server, peer.id)
            peer.silent = True
            await server.protocol.call_ping(peer.node)
            assert not knows(server, peer.id)

    run(main())


def test_lost_answers_are_asked_for_again() -> None:
    async def main() -> None:
        async with nodes(1) as (node,), stranger() as peer:
            peer.losing = len(ATTEMPTS) - 1
            node.protocol.welcome_if_new(peer.node)
            assert await node.protocol.call_ping(peer.node) == (True, peer.id)
            assert len(peer.asked) == len(ATTEMPTS)
            assert node.contacts
            peer.silent = True
            assert not (await node.protocol.call_ping(peer.node))[0]
            assert [n.id for n in node.protocol.lapsed] == [peer.id]
            assert not node.contacts
            peer.silent = False
            assert await node.rejoin([], random.Random(1))
            assert node.protocol.lapsed == []
            assert node.contacts

    run(main())


def test_the_library_believes_every_id_and_ours_asks() -> None:
    """S/Kademlia would sign them; bmuller/kademlia issue 10 is closed without it."""

    async def main() -> None:
        async with library() as server, nodes(1) as (node,), stranger() as peer:
            peer.ask(where(server), "ping", b"f" * 20)
            await until(lambda: knows(server, b"f" * 20))
            peer.ask(node.address, "ping", b"f" * 20)
            await until(lambda: peer.asked)  # who it is
            peer.ask(node.address, "ping", peer.id)
            await until(lambda: node.contacts)
            assert [n.id for n in node.contacts] == [peer.id]

    run(main())


def test_who_is_at_a_contacts_address_instead_is_not_that_contact() -> None:
    async def main() -> None:
        async with nodes(1) as (node,), stranger() as peer:
            before = Node(b"b" * 20, *peer.address)
            node.protocol.welcome_if_new(before)
            await node.protocol.call_ping(before)
            assert node.contacts == []

    run(main())


# Hostile datagrams

ASKED_WRONGLY: list[Any] = [
    ["ping", []],
    ["ping", [b"short"]],
    ["ping", ["x", "y", "z"]],
    ["close", []],
    ["__class__", []],
    ["store", [b"i" * 20, b"k" * 20, {"a": 1}]],
    ["store", [b"i" * 20, "key", "v"]],
    ["find_node", [b"i" * 20, 7]],
    ["find_value", [None, None]],
    ["keep", [b"i" * 20, b"k" * 20, [["", 1]]]],
    ["keep", [b"i" * 20, b"k" * 20, [["", 1, "w", "v" * 5000, 5.0, 20]]]],
    ["find", [b"i" * 20]],
]


def hostile() -> list[bytes]:
    """Give what no honest node sends."""
    rng = random.Random(7)
    return [
        *(HEAD + umsgpack.packb(one) for one in ASKED_WRONGLY),
        *(rng.randbytes(rng.randrange(1, 400)) for _ in range(50)),
        HEAD + b"\x91" * 5000,
        b"\1" + b"m" * 20 + umsgpack.packb("nobody asked"),
        rng.randbytes(60_000),
    ]


def test_the_library_ends_in_exceptions_that_nobody_sees() -> None:
    async def main() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with library() as server, stranger() as peer:
            for wrong in ASKED_WRONGLY:
                peer.transport.sendto(HEAD + umsgpack.packb(wrong), where(server))

            def collected() -> bool:
                gc.collect()  # which is when a task says what nobody asked it
                return bool(told)

            await until(collected)
            assert any("never retrieved" in context["message"] for context in told)

    asyncio.run(main())


def test_hostile_datagrams_are_said_and_cost_nothing() -> None:
    async def main() -> None:
        record = Record()
        async with nodes(3, record) as made, stranger() as peer:
            await put(made[0], "k", "v")
            before = asyncio.all_tasks()
            for datagram in hostile():
                peer.transport.sendto(datagram, made[0].address)
            await until(lambda: len(record.seen("malformed")) >= 60)
            await until(lambda: asyncio.all_tasks() == before)  # one was asked who it is
            assert made[0].shelf.count == 1
            assert await get(made[1], "k") == "v"

    run(main())


def test_a_flood_is_outlived() -> None:
    async def main() -> None:
        async with nodes(3) as made, stranger() as peer:
            await put(made[0], "k", "v")
            rng = random.Random(3)

            async def flood() -> None:
                while True:
                    for _ in range(50):
                        peer.ask(made[0].address, "find", rng.randbytes(20), rng.randbytes(20))
                    await asyncio.sleep(0.001)

            flooding = asyncio.create_task(flood())
            try:
                for _ in range(5):
                    assert await get(made[1], "k") == "v"
                    assert len(made[0].protocol._tasks) <= 64
            finally:
                flooding.cancel()
            assert {n.id for n in made[0].contacts} == {n.node.id for n in made[1:]}

    run(main())


def test_a_liar_holds_up_no_search() -> None:
    """It answers a search with what is no answer at all."""

    async def main() -> None:
        async with nodes(3) as made, stranger() as liar:
            await put(made[0], "k", "v")
            for node in made:
                node.protocol.welcome_if_new(liar.node)
            assert [await get(node, "k") for node in made] == ["v"] * 3

    run(main())


# A call that is cancelled


def test_the_library_answers_a_future_that_was_cancelled() -> None:
    async def main() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with library(wait=0.01) as server:
            call = asyncio.ensure_future(server.protocol.ping((HOME, free_port()), b"i" * 20))
            call.cancel()
            await until(lambda: told)
            assert isinstance(told[0]["exception"], asyncio.InvalidStateError)
            assert server.protocol._outstanding

    asyncio.run(main())


def test_a_call_that_is_cancelled_leaves_nothing() -> None:
    async def main() -> None:
        async with nodes(1) as (node,), stranger() as peer:
            peer.silent = True
            call = asyncio.create_task(node.protocol.call(peer.address, "ping"))
            await until(lambda: peer.asked)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            assert not node.protocol._calls

    run(main())


# Storing again


def test_the_library_lets_old_values_return_and_makes_them_young() -> None:
    """bmuller/kademlia issues 107 and 104."""

    async def main() -> None:
        async with library() as one, library(where(one)) as other:
            await one.set("k", "new")
            key = digest("k")
            other.storage[key] = "old"  # it was away when "new" was set
            await other.set_digest(key, other.storage.get(key))  # as `_refresh_table` does
            assert one.storage.get(key) == "old"

    run(main())


def test_old_values_do_not_return_and_leases_end() -> None:
    async def main() -> None:
        async with nodes(3) as made:
            key = key_of("k")
            await put(made[0], "k", "old")
            now = made[2].protocol.now()
            old = dict(made[2].shelf.get(now, key))
            await put(made[0], "k", "new")
            made[2].shelf.drop(key)
            made[2].shelf.keep(now, key, old[PLAIN])
            assert await made[2].republish(0.0) == 1
            assert [await get(node, "k") for node in made] == ["new"] * 3

            leased = await made[0].put(key, "p", "h:1", lease=0.5, copies=20, writer="p")
            assert len(leased.holders) == 3

            async def stored_again() -> dict[str, Entry]:
                for node in made:
                    await node.republish(0.0)
                return (await made[1].get_entries(key))[0]

            async with asyncio.timeout(10):
                while "p" in await stored_again():
                    continue

    run(main())


def test_who_is_no_longer_near_keeps_a_key_no_longer() -> None:
    """bmuller/kademlia issue 107: 34 nodes had what 20 should have."""

    async def main() -> None:
        async with nodes(6) as made:
            await put(made[0], "k", "v", copies=2)
            far = nearest(made, "k", 6)[-1]
            entry = (await far.get_entries(key_of("k")))[0][PLAIN]
            far.shelf.keep(far.protocol.now(), key_of("k"), entry)
            await far.republish(0.0)
            assert far.shelf.count == 0
            assert await get(far, "k") == "v"

    run(main())


def test_what_came_to_the_wrong_nodes_is_brought_to_the_right_ones() -> None:
    """It was stored while they were silent, or before anybody knew them."""

    async def main() -> None:
        async with nodes(24, k=4) as made:
            # Whom a node does not know it cannot tell of.
            await asyncio.gather(*(node.refresh(0.0) for node in made))
            await put(made[0], "k", "v", copies=4)
            key, right = key_of("k"), nearest(made, "k", 4)
            entry = right[0].shelf.get(right[0].protocol.now(), key)[PLAIN]
            for node in made:
                node.shelf.drop(key)
            wrong = nearest(made, "k", 24)[-4:]
            for node in wrong:
                assert node.shelf.keep(node.protocol.now(), key, entry)
            assert await get(right[0], "k") is None

            assert [await node.settle() for node in wrong] == [1] * 4
            await until(lambda: all(key in node.shelf for node in right))
            assert [await get(node, "k") for node in made] == ["v"] * 24
            async with asyncio.timeout(10):  # each is told once, and then it is quiet
                while any([await node.settle() for node in made]):
                    continue

    run(main())


# The state


def test_the_library_reads_code_and_stops_saving_for_good(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "executed",))

    state = tmp_path / "state"
    state.write_bytes(pickle.dumps(Code()))

    async def main() -> None:
        with pytest.raises(TypeError):
            await Server.load_state(str(state), free_port(), HOME)
        assert (tmp_path / "executed").exists()
        async with stranger() as peer, library(peer.address) as server:
            with pytest.raises(IsADirectoryError):
                server.save_state_regularly(str(tmp_path), 0.01)
            assert server.save_state_loop is None

    run(main())

"""What a node keeps and whom it knows: versions, leases, borders, requests, claims. No network."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import umsgpack
from hypothesis import given
from hypothesis import strategies as st
from kademlia.network import Server
from kademlia.node import Node
from kademlia.routing import KBucket, RoutingTable
from kademlia.storage import ForgetfulStorage

from apps.kademlia import wire
from apps.kademlia.claims import (
    delivered,
    few_copies_are_lost,
    found_everywhere,
    leases_end,
    told_truly,
)
from apps.kademlia.client import USAGE, parse, said
from apps.kademlia.core import (
    PLAIN,
    Bounds,
    Entry,
    Shelf,
    joined,
    next_version,
    received,
    remaining,
    standing,
)
from apps.kademlia.exchange import Update
from apps.kademlia.requests import BadRequest
from apps.kademlia.requests import parse as read
from apps.kademlia.routing import Bucket, Table
from apps.kademlia.wire import Malformed, Request, Response, decode, encode
from apps.kit.claims import Event
from apps.kit.cli import Misspelt
from tests.loopback import run

KEY = b"k" * 20
WEEK = wire.LONGEST_LEASE

entries = st.builds(
    Entry,
    name=st.sampled_from(["", "p1", "p2"]),
    version=st.integers(1, 3),
    writer=st.sampled_from(["a", "b"]),
    value=st.sampled_from(["x", "y", 1, True, b"x", None]),
    expires=st.sampled_from([10.0, 20.0]),
    copies=st.sampled_from([2, 20]),
)
copies = st.lists(entries, max_size=8)


def entry(name: str = PLAIN, version: int = 1, **fields: Any) -> Entry:
    given: dict[str, Any] = {"writer": "a", "value": "x", "expires": 10.0, "copies": 20} | fields
    return Entry(name, version, **given)


def kept(found: list[Entry], bounds: Bounds | None = None) -> dict[str, Entry]:
    shelf = Shelf(bounds)
    for one in found:
        shelf.keep(0.0, KEY, one)
    return shelf.get(0.0, KEY)


# Copies that meet


@given(entries, entries, entries)
def test_joining_has_no_order(one: Entry, two: Entry, three: Entry) -> None:
    same = [replace(each, name="") for each in (one, two, three)]
    a, b, c = same
    assert repr(a.join(b)) == repr(b.join(a))
    assert repr(a.join(b).join(c)) == repr(a.join(b.join(c)))
    assert a.join(a) == a


@given(copies, st.randoms(use_true_random=False))
def test_whatever_the_order_copies_come_to_the_same(found: list[Entry], rng: random.Random) -> None:
    again = [*found, *rng.choices(found, k=3)] if found else []
    rng.shuffle(again)
    assert repr(sorted(kept(found).items())) == repr(sorted(kept(again).items()))
    half = len(found) // 2
    both = joined([kept(found[:half]), kept(found[half:])])
    assert repr(sorted(both.items())) == repr(sorted(kept(found).items()))


@given(st.lists(st.sampled_from("abcdef"), min_size=1), st.data())
def test_no_registration_loses_another(publishers: list[str], data: st.DataObject) -> None:
    """Each arrives at some of the nodes, in an order of its own; a search joins what they have."""
    shelves = [Shelf() for _ in range(3)]
    for number, publisher in enumerate(publishers):
        at = data.draw(st.sets(st.integers(0, 2), min_size=1))
        for place in at:
            shelves[place].keep(0.0, KEY, entry(publisher, number + 1, value=f"host:{number}"))
    found = joined(shelf.get(0.0, KEY) for shelf in shelves)
    last = {publisher: f"host:{number}" for number, publisher in enumerate(publishers)}
    assert {name: one.value for name, one in found.items()} == last


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 3))))
def test_a_lease_grows_by_no_journey(journeys: list[tuple[float, float]]) -> None:
    """What travels is told with what remains; the clocks of hosts need not agree."""
    travelling, rested = entry(expires=60.0), 0.0
    for clock, rest in journeys:
        travelling = remaining(received(travelling, clock), clock + rest)
        rested += rest
    assert travelling.expires == pytest.approx(60.0 - rested, abs=1e-6)


def test_an_old_copy_does_not_undo_a_newer_one() -> None:
    shelf = Shelf()
    assert shelf.keep(0.0, KEY, entry(version=2, value="new"))
    assert shelf.keep(1.0, KEY, entry(version=1, value="old"))  # a later one is kept
    assert shelf.get(1.0, KEY)[PLAIN].value == "new"


def test_an_old_copy_does_not_raise_the_dead() -> None:
    shelf = Shelf()
    shelf.keep(0.0, KEY, entry("p", 2, value=None))
    shelf.keep(1.0, KEY, entry("p", 1))
    assert standing(shelf.get(1.0, KEY)) == {}
    assert shelf.get(1.0, KEY)  # and it can tell others so


def test_what_has_expired_is_gone_and_not_taken() -> None:
    shelf = Shelf()
    shelf.keep(0.0, KEY, entry("p", expires=5.0))
    shelf.keep(0.0, KEY, entry("q", expires=9.0))
    assert shelf.get(5.0, KEY).keys() == {"q"}
    assert not shelf.keep(6.0, KEY, entry("r", expires=6.0))
    assert shelf.get(9.0, KEY) == {}
    assert shelf.count == 0


def test_a_shelf_refuses_what_it_has_no_room_for() -> None:
    shelf = Shelf(Bounds(keys=2, names=2, bytes=150))
    assert shelf.keep(0.0, b"a", entry("p"))
    assert shelf.keep(0.0, b"a", entry("q"))
    assert not shelf.keep(0.0, b"a", entry("r"))
    assert not shelf.keep(0.0, b"a", entry("q", 2, value="x" * 100))
    assert shelf.keep(0.0, b"b", entry("p"))
    assert not shelf.keep(0.0, b"c", entry("p"))
    assert shelf.keep(20.0, b"b", entry("p", expires=30.0))
    assert shelf.get(0.0, b"a")["q"].version == 1


def test_what_others_store_is_not_stored_again() -> None:
    shelf = Shelf()
    shelf.keep(0.0, b"a", entry(expires=100.0))
    shelf.keep(0.0, b"b", entry(expires=100.0))
    shelf.keep(5.0, b"b", entry(expires=100.0))
    assert shelf.due(6.0, 6.0) == [b"a"]
    shelf.drop(b"a")
    assert shelf.due(6.0, 6.0) == []


def test_a_version_is_above_those_seen_and_above_the_past() -> None:
    assert next_version({}, PLAIN, 7.0) == 7000
    assert next_version({PLAIN: entry(version=9000)}, PLAIN, 7.0) == 9001
    assert next_version({"p": entry("p", version=9000)}, PLAIN, 7.0) == 7000


# The library's own storage


def test_the_library_stores_without_end_and_makes_the_old_young() -> None:
    storage = ForgetfulStorage(ttl=3600)
    for number in range(20_000):
        storage[number.to_bytes(20, "big")] = "x" * 10
    assert len(storage.data) == 20_000
    storage[KEY] = "new"
    storage[KEY] = "old"  # a copy that comes back
    assert storage.get(KEY) == "old"


def test_the_library_replaces_a_storage_that_is_empty() -> None:
    class Sized(ForgetfulStorage):  # type: ignore[misc]  # the library has no types
        def __len__(self) -> int:
            return len(self.data)

    assert not isinstance(Server(storage=Sized()).storage, Sized)
    shelf = Shelf()
    assert Server(storage=shelf).storage is shelf


# The routing table


class Pings:
    """Counts who is asked whether it is there."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def check(self, node: Node) -> None:
        self.asked.append(node.id)

    async def call_ping(self, node: Node) -> None:
        self.asked.append(node.id)


def at(number: int, port: int = 0) -> Node:
    return Node(number.to_bytes(20, "big"), "127.0.0.1", port or number % 60_000 + 1)


def table(kind: type[Any], own: int = 1, k: int = 2) -> Any:
    return kind(Pings(), k, at(own))


def filled(kind: type[Any]) -> Any:
    """Give a table that was split at 2**159, and has the id on the border."""
    border = table(kind)
    for number in (2**159, 3, 2, 2**159 - 1, 2**159 + 5):
        border.add_contact(at(number))
    return border


def test_the_library_loses_the_id_on_a_border() -> None:
    border = filled(RoutingTable)
    assert any(at(2**159).id in bucket.nodes for bucket in border.buckets)
    assert border.is_new_node(at(2**159))
    border.remove_contact(at(2**159))
    assert any(at(2**159).id in bucket.nodes for bucket in border.buckets)


@pytest.mark.parametrize("number", [2**159, 2**159 - 1, 2**160 - 2, 0])
def test_every_id_has_its_bucket(number: int) -> None:
    border = filled(Table)
    border.add_contact(at(number))
    assert border.knows(at(number))
    border.remove_contact(at(number))
    assert not border.knows(at(number))
    assert not any(at(number).id in bucket.nodes for bucket in border.buckets)


def test_the_library_refreshes_an_id_that_there_is_not() -> None:
    assert table(RoutingTable).buckets[-1].range[1] == 2**160
    with pytest.raises(OverflowError):
        (2**160).to_bytes(20, "big")
    assert table(Table).buckets[-1].range[1] == 2**160 - 1


@given(st.sets(st.integers(2, 2**160 - 1), max_size=60), st.integers(0, 2**160 - 1))
def test_buckets_cover_all_ids_once_and_keep_to_their_ranges(ids: set[int], own: int) -> None:
    ours = Table(Pings(), 2, at(own))
    for number, id_ in enumerate(sorted(ids, key=lambda id_: id_ * 7919 % 2**160)):
        ours.add_contact(at(id_, number + 1))
    upper = -1
    for bucket in ours.buckets:
        assert bucket.range[0] == upper + 1
        upper = bucket.range[1]
        assert len(bucket) <= 2
        assert all(bucket.has_in_range(node) for node in bucket.get_nodes())
    assert upper == 2**160 - 1
    assert at(own).id not in {node.id for node in ours.contacts()}


def nearest(known: list[Node], target: Node, k: int) -> list[bytes]:
    return [n.id for n in sorted(known, key=target.distance_to) if n.id != target.id][:k]


def test_the_library_gives_neighbours_that_are_not_the_nearest() -> None:
    """bmuller/kademlia issue 28."""
    rng = random.Random(1)
    theirs = table(RoutingTable, own=rng.getrandbits(160), k=4)

    async def fill() -> None:  # a full bucket pings, in a task
        for number in range(200):
            theirs.add_contact(at(rng.getrandbits(160), number + 1))

    run(fill())
    known = [node for bucket in theirs.buckets for node in bucket.get_nodes()]
    targets = [at(rng.getrandbits(160)) for _ in range(200)]
    got = [[n.id for n in theirs.find_neighbors(target)] for target in targets]
    assert got != [nearest(known, target, 4) for target in targets]


@given(st.sets(st.integers(2, 2**160 - 1), max_size=40), st.integers(0, 2**160 - 1))
def test_neighbours_are_the_nearest(ids: set[int], wanted: int) -> None:
    ours = table(Table, k=4)
    for number, id_ in enumerate(sorted(ids)):
        ours.add_contact(at(id_, number + 1))
    target = at(wanted)
    found = [node.id for node in ours.find_neighbors(target)]
    assert found == nearest(list(ours.contacts()), target, 4)


def test_a_bucket_is_as_deep_as_its_range() -> None:
    """bmuller/kademlia issues 23 and 73: the library's is as deep as what happens to be in it."""
    theirs, ours = (kind(0, 2**159 - 1, 4) for kind in (KBucket, Bucket))
    for bucket in (theirs, ours):
        bucket.add_node(at(2))
        bucket.add_node(at(3))
    assert theirs.depth() == 159
    assert ours.depth() == 1


def test_a_contact_is_one_id_and_one_address() -> None:
    ours = table(Table)
    ours.add_contact(at(7, port=700))
    ours.add_contact(at(8, port=700))  # it came back with another id
    assert [node.id for node in ours.contacts()] == [at(8).id]
    ours.add_contact(at(8, port=800))  # and then at another address
    assert [node.port for node in ours.contacts()] == [800]


def test_a_full_bucket_asks_after_its_oldest() -> None:
    ours = table(Table, own=1, k=1)
    for number in range(64):
        ours.add_contact(at(2**159 + number * 2**150, number + 1))
    assert ours.protocol.asked


# What comes over the wire

GARBAGE = [
    b"",
    b"x" * 21,
    b"\0" * 40,
    b"\0" + b"i" * 20 + b"\xc1",
    b"\0" + b"i" * 20 + b"\x91" * 4000,
    b"\0" + b"i" * 20 + b"\xdd\xff\xff\xff\xff",
    b"\0" + b"i" * 20 + umsgpack.packb("ping"),
    b"\0" + b"i" * 20 + umsgpack.packb([7, []]),
    b"\0" + b"i" * 20 + umsgpack.packb(["ping", 7]),
    b"\2" + b"i" * 20 + umsgpack.packb(["ping", []]),
    b"\0" + b"i" * 20 + b"\x81\x91\x01\x01",
    b"\0" + b"i" * 20 + b"\xa2\xff\xfe",
    b"\0" + b"i" * 20 + umsgpack.packb(["x" * 9000, []]),
]


@pytest.mark.parametrize("datagram", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_malformed(datagram: bytes) -> None:
    with pytest.raises(Malformed):
        decode(datagram)


@given(st.binary(max_size=200))
def test_whatever_bytes_are_a_message_or_malformed(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        decode(b"\0" + b"i" * 20 + data)
        decode(data)


def test_messages_come_back_as_they_were() -> None:
    asked = Request(b"i" * 20, "find", [KEY, KEY])
    told = Response(b"i" * 20, [KEY, [], []])
    assert decode(encode(asked)) == asked
    assert decode(encode(told)) == told


BAD_ENTRIES: list[Any] = [
    7,
    [7],
    [["", 1, "w", "x", 5.0]],
    [["", 0, "w", "x", 5.0, 20]],
    [["", True, "w", "x", 5.0, 20]],
    [["", 1 << 63, "w", "x", 5.0, 20]],
    [[b"", 1, "w", "x", 5.0, 20]],
    [["n" * 101, 1, "w", "x", 5.0, 20]],
    [["", 1, "w", ["x"], 5.0, 20]],
    [["", 1, "w", "x" * 4097, 5.0, 20]],
    [["", 1, "w", "x", "5", 20]],
    [["", 1, "w", "x", float("nan"), 20]],
    [["", 1, "w", "x", 5.0, 0]],
    [["", 1, "w", "x", 5.0, 20]] * 65,
]


@pytest.mark.parametrize("bad", BAD_ENTRIES, ids=range(len(BAD_ENTRIES)))
def test_entries_are_checked(bad: Any) -> None:
    with pytest.raises(Malformed):
        wire.entries(bad)


BAD_CONTACTS: list[Any] = [
    7,
    [7],
    [[KEY, "127.0.0.1"]],
    [[b"short", "127.0.0.1", 5]],
    [[KEY, "localhost", 5]],
    [[KEY, 7, 5]],
    [[KEY, "127.0.0.1", 0]],
    [[KEY, "127.0.0.1", 70000]],
    [[KEY, "127.0.0.1", True]],
    [[KEY, "224.0.0.1", 5]],
    [[KEY, "255.255.255.255", 5]],
    [[KEY, "127.0.0.1", 5]] * 65,
]


@pytest.mark.parametrize("bad", BAD_CONTACTS, ids=range(len(BAD_CONTACTS)))
def test_contacts_are_checked(bad: Any) -> None:
    with pytest.raises(Malformed):
        wire.contacts(bad)


def test_entries_and_contacts_come_back_as_they_were() -> None:
    one = entry("p", 3, value=b"x", expires=50.0)
    assert [received(each, 20.0) for each in wire.entries(wire.listed([one], 20.0))] == [one]
    assert [tuple(n) for n in wire.contacts(wire.told([at(9)]))] == [tuple(at(9))]
    (forever,) = wire.entries([["", 1, "w", None, 1e12, 20]])
    assert forever.expires == WEEK


# What clients say


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"\xff", "a JSON object"),
        (b"[" * 100_000, "a JSON object"),
        (b"7", "f must be"),
        (b'{"f": []}', "f must be"),
        (b'{"f": "get"}', "get needs key"),
        (b'{"f": "get", "key": ""}', "key is a text"),
        (b'{"f": "get", "key": "x", "value": 1}', "get has no 'value'"),
        (b'{"f": "set", "key": "x", "value": []}', "a value is"),
        (b'{"f": "set", "key": "x", "value": 18446744073709551616}', "64 bits"),
        (b'{"f": "set", "key": "x", "value": "\\ud800"}', "surrogates"),
        (b'{"f": "set", "key": "x", "value": "x", "copies": 0}', "copies is a number"),
        (b'{"f": "set", "key": "x", "value": "x", "ttl": "long"}', "ttl is"),
        (b'{"f": "register", "topic": "t", "publisher": "p", "address": "x"}', "address:"),
        (b'{"f": "lookup", "topic": "two words"}', "topic is a word"),
    ],
)
def test_bad_requests_are_told_why(line: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        read(line)


def test_what_is_left_out_of_a_request_is_filled_in() -> None:
    assert read(b'{"f": "set", "key": "x", "value": 1}')["ttl"] == 86400.0


def test_words_are_requests() -> None:
    assert parse(["set", "k", "v", "2"]) == {"f": "set", "key": "k", "value": "v", "copies": 2}
    assert parse(["lookup", "t"]) == {"f": "lookup", "topic": "t"}
    for words in (["fly"], ["get"], ["set", "k", "v", "two"], []):
        with pytest.raises(Misspelt, match=USAGE.split(",", maxsplit=1)[0]):
            parse(words)


def test_answers_are_said() -> None:
    assert said("set", {"stored": 2, "of": 6}) == "stored on 2 of 6 nodes"
    told = {"value": "v", "version": 3, "hops": 1, "answered": 5, "asked": 5}
    assert said("get", told) == "v  (version 3, 1 hop, 5 of 5 answered)"
    assert said("holds", {"value": None, "version": None}) == "nothing"
    place = {"address": "h:1", "lease": 2.0}
    assert said("lookup", {"publishers": {"p": place}}) == "p at h:1, for 2.0 s more"
    assert said("lookup", {"publishers": {}, "answered": 5}).startswith("nobody")
    assert said("status", {"id": "ab", "contacts": ["x", "y"]}) == "id: ab\ncontacts: x, y"


@pytest.mark.parametrize("frames", [[b"a"], [b"t", b"r", b"x", b""], [b"t", b"\xff", b"1", b""]])
def test_what_is_no_update_is_not_read(frames: list[bytes]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  what is wrong is said by whoever finds it
        Update.read(frames)
    assert Update.read(Update("t", "r", 7, "x").frames()) == Update("t", "r", 7, "x")


# The claims

AT = {"a:1": "a", "b:1": "b"}
_ops = iter(range(10_000))


def asked(t: float, f: str, outcome: str | None, result: Any = None, **given: Any) -> list[Event]:
    """Give the events of an operation that took a tenth of a second."""
    op = f"o{next(_ops)}"
    about = {"pattern": "kademlia", "component": "client", "node": "a", "f": f, "op": op}
    told = {"value": None, "via": "a:1"} | given
    begun = {"event": "invoke", "t": t, **about, **told}
    if outcome is None:
        return [begun]
    return [begun, {"event": outcome, "t": t + 0.1, **about, **told, "value": result}]


def stored(t: float, key: str, value: int, *holders: str, version: int = 1) -> list[Event]:
    result = {"stored": len(holders), "of": 2, "holders": list(holders), "version": version}
    return asked(t, "set", "ok", result, key=key, value=value)


def got(t: float, key: str, value: int | None, via: str = "a:1") -> list[Event]:
    if value is None:
        return asked(t, "get", "fail", key=key, via=via)
    return asked(t, "get", "ok", {"value": value, "hops": 1}, key=key, via=via)


def begun(t: float, node: str) -> list[Event]:
    return [{"event": "ready", "component": "node", "node": node, "t": t}]


def chain(*parts: list[Event]) -> Iterator[Event]:
    for part in parts:
        yield from part


def test_a_safe_value_must_be_found_by_all() -> None:
    sets = chain(stored(1, "k", 1, "a:1"), stored(2, "k", 2, "a:1", "b:1"))
    history = [*sets, *got(3, "k", 2), *got(3, "k", 2, "b:1")]
    assert found_everywhere(history, AT, 2.5, ["a", "b"]).holds
    assert found_everywhere(history, AT, 3.5, ["a", "b"]).holds is None
    older = [*history, *got(4, "k", 1, "b:1")]
    finding = found_everywhere(older, AT, 2.5, ["a", "b"])
    assert finding.holds is False
    assert "older than what is safe" in finding.detail
    lost = [*history, *got(4, "k", None)]
    assert found_everywhere(lost, AT, 2.5, ["a", "b"]).holds is False
    # What a node alone had that has begun anew may be lost, back to what is safe.
    excused = [*stored(1, "k", 1, "a:1"), *stored(2, "k", 2, "b:1"), *begun(2.5, "b")]
    assert found_everywhere([*excused, *got(3, "k", 1)], AT, 2.7, ["a"]).holds
    assert found_everywhere([*excused, *got(3, "k", None)], AT, 2.7, ["a"]).holds is False
    gone = [*stored(2, "k", 2, "b:1"), *begun(2.5, "b"), *got(3, "k", None)]
    assert found_everywhere(gone, AT, 2.7, ["a"]).holds is None


def test_a_set_that_nobody_confirmed_may_be_found() -> None:
    """Until then, and at any time later: a node that was paused with it makes it afterwards."""
    unsure = asked(2, "set", None, key="k", value=2)
    for value in (1, 2):
        history = [*stored(1, "k", 1, "a:1"), *unsure, *got(3, "k", value)]
        assert found_everywhere(history, AT, 2.5, ["a"]).holds
    for value, holds in ((1, False), (2, True), (3, True)):
        history = [*stored(1, "k", 1, "a:1"), *unsure, *stored(2.5, "k", 3, "a:1")]
        assert found_everywhere([*history, *got(3, "k", value)], AT, 2.7, ["a"]).holds is holds


def test_who_is_said_to_keep_a_value_must() -> None:
    def holds(via: str, version: int | None) -> list[Event]:
        return asked(3, "holds", "ok", {"version": version}, key="k", via=via)

    both = stored(1, "k", 1, "a:1", "b:1", version=5)
    assert told_truly([*both, *holds("a:1", 5), *holds("b:1", 6)], AT, 0.0).holds
    assert told_truly([*both, *holds("a:1", 5), *holds("b:1", 4)], AT, 0.0).holds is False
    assert told_truly([*both, *holds("a:1", 5)], AT, 0.0).holds is False
    assert told_truly([*both, *holds("a:1", 5)], AT, 2.0).holds is None


def test_a_lease_must_end() -> None:
    registered = asked(1, "register", "ok", {}, publisher="p")

    def looked(t: float, *found: str) -> list[Event]:
        return asked(t, "lookup", "ok", {"publishers": {name: {} for name in found}})

    assert leases_end([*registered, *looked(2, "p")], 2.0).holds is None
    assert leases_end([*registered, *looked(2, "p"), *looked(9)], 2.0).holds
    assert leases_end([*registered, *looked(9, "p")], 2.0).holds is False
    unsure = asked(1, "register", None, publisher="p")
    assert leases_end([*unsure, *looked(9, "p")], 2.0).holds is None


def test_updates_must_not_be_missing() -> None:
    def heard(*numbers: int) -> list[Event]:
        about = {"event": "recv", "component": "subscribe", "node": "s", "t": 1.0}
        return [{**about, "id": f"p-1/t#{number}"} for number in numbers]

    assert delivered(heard(3, 4, 5), ["s"], 1).holds
    assert delivered(heard(3, 5), ["s"], 1).holds is False
    assert delivered(heard(3), ["s"], 2).holds is False


def test_a_loss_is_shown_by_one_who_had_it() -> None:
    two = stored(1, "few", 1, "a:1")
    assert few_copies_are_lost([*two, *got(2, "few", None)], "few").holds
    assert few_copies_are_lost([*two, *got(2, "few", 1)], "few").holds is None
    assert few_copies_are_lost(got(2, "few", None), "few").holds is None

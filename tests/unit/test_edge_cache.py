"""edge_cache: what it keeps and checks, and a canonical server with three edges on loopback."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.bully.claims import settled
from apps.bully.core import Bully, Timing
from apps.edge_cache.__main__ import cli
from apps.edge_cache.canonical import CanonicalServer, Collection
from apps.edge_cache.claims import (
    bytes_are_canonical,
    deposed_writes_are_refused,
    one_origin_fetch,
    stale_is_served,
)
from apps.edge_cache.client import EdgeClient, Taste, load, state_of
from apps.edge_cache.core import Cache, Entry
from apps.edge_cache.edge import Edge, Neighbours
from apps.edge_cache.flights import Flights, TooMany
from apps.edge_cache.images import draw, media_type
from apps.edge_cache.shelf import Shelf
from apps.edge_cache.wire import (
    BadImage,
    BadRequest,
    Picture,
    epoch_text,
    image_id,
    picture_of,
    read_epoch,
)
from apps.kit.address import Address
from apps.kit.claims import Event
from apps.kit.events import Events
from apps.kit.http_server import Bounds
from apps.kit.node import Node
from apps.kit.outcome import Refused, Rejected
from apps.kit.store import Store
from apps.kit.summary import Load
from apps.kit.transport import UdpTransport
from tests.loopback import Record, free_port, run, until

NAMES = ("a", "b", "c")
SOON = Timing(answer=0.15, check=0.05, silence=0.2)


def picture(number: int = 0, max_age: int = 5) -> Picture:
    return Picture(draw(number), f'"{number}"', max_age)


# Images


@pytest.mark.parametrize("number", [0, 7, 499])
def test_an_image_is_a_png_that_is_always_drawn_alike(number: int) -> None:
    body = draw(number)
    assert body == draw(number)
    assert body != draw(number + 1)
    at, pixels, height = 8, b"", 0
    while at < len(body):
        length, kind = struct.unpack_from("!I4s", body, at)
        data = body[at + 8 : at + 8 + length]
        assert struct.unpack_from("!I", body, at + 8 + length) == (zlib.crc32(kind + data),)
        if kind == b"IHDR":
            width, height = struct.unpack_from("!II", data)
            assert width == 160
        pixels += data if kind == b"IDAT" else b""
        at += length + 12
    assert len(zlib.decompress(pixels)) == height * (1 + 3 * 160)


def test_what_is_no_image_is_known_by_its_first_bytes() -> None:
    assert media_type(draw(1)) == "image/png"
    assert media_type(b"\xff\xd8\xff\xe0 and so on") == "image/jpeg"
    assert media_type(b"<html>") is None


# The wire


@pytest.mark.parametrize(
    "text", ["", "-1", "abc", "1.5", "007", "1" * 10, "../../etc/passwd", "1 ", "\u0661", "1\n"]
)
def test_what_is_no_id_is_told_what_one_is(text: str) -> None:
    with pytest.raises(BadRequest, match="a whole number from 0 to 999999999"):
        image_id(text)


@pytest.mark.parametrize("text", ["", "7", "7.", "-1.2", "7.2.3", "1" * 16 + ".1", "x"])
def test_what_is_no_epoch_is_told_what_one_is(text: str) -> None:
    with pytest.raises(BadRequest, match=r"NUMBER\.RANK"):
        read_epoch({"Epoch": text})


@settings(max_examples=20)
@given(st.integers(0, 10**15 - 1), st.integers(0, 10**9 - 1))
def test_epochs_are_read_as_they_were_written(number: int, rank: int) -> None:
    assert read_epoch({"Epoch": epoch_text((number, rank))}) == (number, rank)


def test_a_picture_is_read_as_it_was_written() -> None:
    assert picture_of(picture().body, picture().headers) == picture()


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (draw(0)[:-1], {}, "not those of its Content-Digest"),
        (draw(0), {"Content-Digest": "md5=:xx:"}, "no Content-Digest"),
        (draw(0), {"ETag": "W/weak"}, "no strong ETag"),
    ],
)
def test_what_is_not_what_it_says_is_no_picture(
    body: bytes, headers: dict[str, str], says: str
) -> None:
    with pytest.raises(BadImage, match=says):
        picture_of(body, {**picture().headers, **headers})


def test_what_is_whole_and_no_image_is_no_picture() -> None:
    page = Picture(b"<html>", '"x"', 5)
    with pytest.raises(BadImage, match="neither PNG nor JPEG"):
        picture_of(page.body, page.headers)


# The cache


@settings(max_examples=50)
@given(
    st.integers(0, 300),
    st.lists(st.tuples(st.sampled_from("pgd"), st.integers(0, 9), st.integers(1, 120))),
)
def test_a_cache_is_as_a_list_that_is_sorted_by_use(
    capacity: int, steps: list[tuple[str, int, int]]
) -> None:
    """Least recently used goes first, and never are more bytes kept than there is room for."""
    cache, model = Cache(capacity), dict[int, int]()
    for step, image, size in steps:
        if step == "p":
            cache.put(image, Entry(Picture(b"x" * size, '"x"', 5), 0.0))
            model.pop(image, None)
            if size <= capacity:
                model[image] = size
            while sum(model.values()) > capacity:
                del model[next(iter(model))]
        elif step == "g":
            found = cache.get(image)
            assert (found is None) == (image not in model)
            if found is not None:
                model[image] = model.pop(image)
        else:
            cache.drop(image)
            model.pop(image, None)
        assert cache.size == sum(model.values()) <= capacity
        assert len(cache) == len(model)


def test_an_entry_ages() -> None:
    entry = Entry(picture(max_age=5), 10.0)
    assert entry.fresh(9.9)
    assert not entry.fresh(10.0)
    assert [entry.age(now) for now in (5.0, 7.5, 20.0)] == [0, 2, 15]


def test_a_shelf_gives_back_what_is_whole(tmp_path: Path) -> None:
    record = Record()
    shelf = Shelf(tmp_path / "images", record.events)
    for number in range(3):
        shelf.put(number, picture(number))
    shelf.drop(1)
    asyncio.run(until(lambda: {f.name for f in (tmp_path / "images").iterdir()} == {"0", "2"}))
    shelf.close()
    (tmp_path / "images" / "7").write_bytes((tmp_path / "images" / "0").read_bytes()[:-1])
    (tmp_path / "images" / "8.new").write_bytes(b"{}")
    (tmp_path / "images" / "9").write_bytes(b"[]\nx")
    shelf = Shelf(tmp_path / "images", record.events)
    assert dict(shelf.load()) == {0: picture(0), 2: picture(2)}
    shelf.close()
    assert {event["file"] for event in record.seen("dropped")} == {"7", "8.new", "9"}
    assert {file.name for file in (tmp_path / "images").iterdir()} == {"0", "2"}


# Single flight


def test_all_who_want_one_thing_get_it_by_one_fetch() -> None:
    flights: Flights[str, int] = Flights(2)
    fetched: list[str] = []
    go = asyncio.Event()

    def fetch(what: str) -> Callable[[], Any]:
        async def fetching() -> int:
            fetched.append(what)
            await go.wait()
            if what == "bad":
                raise ValueError(what)
            return len(fetched)

        return fetching

    async def main() -> None:
        waiting = [asyncio.create_task(flights.join("x", fetch("x"))) for _ in range(20)]
        failing = [asyncio.create_task(flights.join("bad", fetch("bad"))) for _ in range(3)]
        await until(lambda: len(fetched) == 2)
        with pytest.raises(TooMany):
            await flights.join("third", fetch("third"))
        waiting[0].cancel()
        failing[0].cancel()
        go.set()
        assert await asyncio.gather(*waiting[1:]) == [2] * 19
        assert all(
            isinstance(error, ValueError)
            for error in await asyncio.gather(*failing[1:], return_exceptions=True)
        )
        assert await flights.join("x", fetch("x")) == 3
        go.clear()
        left = asyncio.create_task(flights.join("left", fetch("left")))
        await until(lambda: "left" in fetched)
        await flights.close()
        with pytest.raises(asyncio.CancelledError):
            await left

    run(main())


# Claims


def got(image: int, digest: str, cache: str = "hit") -> Event:
    value = {"image": image, "digest": digest, "cache": cache}
    return {"event": "ok", "f": "get_image", "value": value, "node": "n4"}


def test_other_bytes_than_the_canonical_ones_are_found_out() -> None:
    served = {"event": "served", "image": 1, "digest": "x", "status": 200}
    assert bytes_are_canonical([]).holds is None
    assert bytes_are_canonical([got(1, "x"), served, got(2, "y"), got(2, "y")]).holds
    assert bytes_are_canonical([served, got(1, "y")]).holds is False
    assert bytes_are_canonical([got(2, "y"), got(2, "z")]).holds is False


def test_a_deposed_leaders_write_is_found_out() -> None:
    halted = {"event": "halted", "node": "a", "epoch": [3, 1]}
    kept = {"event": "replica_kept", "node": "a", "epoch": [2, 2]}
    assert deposed_writes_are_refused([halted]).holds is None
    assert deposed_writes_are_refused([kept, halted]).holds
    assert deposed_writes_are_refused([halted, kept]).witness == (halted, kept)
    assert deposed_writes_are_refused([halted, {**kept, "node": "b"}]).holds


def test_one_fetch_for_a_crowd_is_counted() -> None:
    served = {"event": "served", "image": 1, "digest": "x", "status": 200}
    crowd = [got(1, "x")] * 3
    assert one_origin_fetch([served, *crowd], 1, 3).holds
    assert one_origin_fetch([served, served, *crowd], 1, 3).holds is False
    first, again = {**served, "t": 1.0}, {**served, "t": 6.5, "status": 304}
    assert one_origin_fetch([first, again, *crowd], 1, 3, max_age=5).holds
    assert one_origin_fetch([first, {**again, "t": 2.0}, *crowd], 1, 3, max_age=5).holds is False
    assert one_origin_fetch([first, again, *crowd], 1, 3).holds is False
    assert one_origin_fetch(crowd, 1, 3).holds is None
    assert one_origin_fetch([served, *crowd], 1, 4).holds is None


def test_stale_answers_are_to_be_marked() -> None:
    assert stale_is_served([]).holds is None
    assert stale_is_served([got(1, "x", "stale")]).holds
    assert stale_is_served([got(1, "x", "stale"), got(1, "x", "hit")]).holds is False
    assert stale_is_served([{"event": "fail"}]).holds is False


def test_cache_status_in_a_word() -> None:
    assert state_of("n1; hit; ttl=3") == "hit"
    assert state_of("n1; fwd=miss; stored; ttl=4") == "miss"
    assert state_of("n1; fwd=stale; fwd-status=304; ttl=4") == "revalidated"
    assert state_of("n1; hit; detail=stale-if-error; ttl=-3") == "stale"


# Live, on loopback


class System:
    """A canonical server and edges on loopback, and what they wrote."""

    def __init__(self, directory: Path, max_age: int = 60) -> None:
        self.directory = directory
        self.max_age = max_age
        self.output = io.StringIO()
        self.origin = Address("127.0.0.1", free_port())
        self.addresses = {name: Address("127.0.0.1", free_port()) for name in NAMES}
        self.record = Record("client")

    def canonical(self) -> CanonicalServer:
        events = Events("edge_cache", "canonical", "hub", out=self.output)
        collection = Collection(self.directory / "originals", 12, self.max_age)
        return CanonicalServer(self.origin, collection, events, Bounds())

    @asynccontextmanager
    async def edge(self, name: str, bounds: Bounds | None = None) -> AsyncIterator[Bully]:
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        events = Events("edge_cache", "edge", name, out=self.output)
        here = self.addresses[name]
        others = {peer: at for peer, at in self.addresses.items() if peer != name}
        store = Store(directory / "election.json")
        election = Bully(name, NAMES, store.values, SOON)
        transport = UdpTransport(here, others, events)
        server = Edge(
            here,
            Neighbours(self.origin, others),
            election,
            cache=Cache(1 << 20),
            shelf=Shelf(directory / "images", events),
            events=events,
            bounds=bounds or Bounds(),
        )
        node = Node(election, name, None, transport, events=events, store=store)
        async with node, server:
            yield election

    @asynccontextmanager
    async def all(self) -> AsyncIterator[dict[str, Bully]]:
        """Have all of it, and a leader."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.canonical())
            edges = {name: await stack.enter_async_context(self.edge(name)) for name in NAMES}
            await until(lambda: settled(self.history, NAMES).holds)
            yield edges

    def client(self, *edges: str) -> EdgeClient:
        addresses = [self.addresses[name] for name in edges or NAMES]
        return EdgeClient(addresses, self.record.events, 10.0)

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    def seen(self, *names: str) -> list[dict[str, Any]]:
        return [event for event in self.history if event["event"] in names]


def test_a_crowd_causes_one_fetch_and_all_edges_keep_the_image(tmp_path: Path) -> None:
    system = System(tmp_path)

    async def main() -> None:
        async with system.all():
            crowd, taste = Load(count=70, callers=70), Taste(only=7)
            turned = [[*NAMES[n:], *NAMES[:n]] for n in range(3)]
            await asyncio.gather(
                *(
                    load(
                        [system.addresses[n] for n in names], system.record.events, crowd, taste, 10
                    )
                    for names in turned
                )
            )
            await until(lambda: len(system.seen("replica_kept")) == 2)

    run(main())
    history = [*system.history, *system.record.seen("ok")]
    assert one_origin_fetch(history, 7, 210).holds
    assert bytes_are_canonical(history).holds
    assert deposed_writes_are_refused(history).holds
    assert {event["node"] for event in system.seen("replica_kept")} == {"a", "b"}
    assert [event["node"] for event in system.seen("origin_fetch")] == ["c"]


def test_kept_images_outlive_the_canonical_server_and_a_restart(tmp_path: Path) -> None:
    system = System(tmp_path)

    async def main() -> None:
        async with system.canonical(), system.edge("c"), system.client("c") as client:
            assert (await client.get_image(3))["cache"] == "miss"
            assert (await client.get_image(3))["cache"] == "hit"
        async with system.edge("c"), system.client("c") as client:
            assert (await client.get_image(3))["cache"] == "stale"
            assert (await client.get_image_size(3))["bytes"] == len(draw(3))
            with pytest.raises(Refused, match="not kept here, and nobody can be asked"):
                await client.get_image(4)
        async with system.canonical(), system.edge("c"), system.client("c") as client:
            assert (await client.get_image(3))["cache"] == "revalidated"
            (told,) = await client.each("stats")
            assert (told["revalidated"], told["origin_fetches"]) == (1, 1)

    run(main())
    assert bytes_are_canonical([*system.history, *system.record.seen("ok")]).holds


def test_a_replaced_image_reaches_the_edges(tmp_path: Path) -> None:
    system = System(tmp_path, max_age=0)

    async def main() -> None:
        async with system.all(), system.client() as client:
            before = await client.get_image(5)
            new = system.directory / "originals" / "new"
            new.write_bytes(draw(1005))
            new.replace(system.directory / "originals" / "5")
            after = [await client.get_image(5) for _ in NAMES]
            assert before["digest"] == picture(5).digest
            assert {told["digest"] for told in after} == {picture(1005).digest}
            (system.directory / "originals" / "5").unlink()
            with pytest.raises(Rejected, match="there is no image 5"):
                await client.get_image(5)

    run(main())


def test_a_client_goes_on_to_the_next_edge(tmp_path: Path) -> None:
    system = System(tmp_path)

    async def main() -> None:
        async with system.canonical(), system.edge("b"), system.client() as client:
            assert [(await client.get_image(image))["edge"] for image in range(3)] == ["b"] * 3
        async with system.client() as client:
            with pytest.raises(Refused):
                await client.get_image(1)

    run(main())
    assert len(system.record.seen("failover")) == 3 + 3


async def put(edge: Address, path: str, epoch: str, what: Picture, **headers: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.put(
            f"http://{edge}{path}",
            data=io.BytesIO(what.body),
            headers={**what.headers, "Epoch": epoch, **headers},
        ) as response,
    ):
        assert response.status == 204 or "detail" in await response.json(content_type=None)
        return response.status


def test_a_write_of_another_epoch_is_refused(tmp_path: Path) -> None:
    system = System(tmp_path)

    async def main() -> None:
        async with system.all() as edges:
            number, rank = edges["a"].epoch
            at = system.addresses["a"]
            assert await put(at, "/replicas/9", f"{number}.{rank}", picture(9)) == 204
            assert await put(at, "/replicas/9", f"{number - 1}.{rank}", picture(10)) == 412
            assert await put(at, "/replicas/9", f"{number + 1}.{rank}", picture(10)) == 412
            lie = picture(10).headers["Content-Digest"]
            now = f"{number}.{rank}"
            bad = {"Content-Digest": lie}
            assert await put(at, "/replicas/9", now, picture(9), **bad) == 400
            assert await put(at, "/replicas/x", now, picture(9)) == 400
            assert await put(at, "/replicas/9", "now", picture(9)) == 400
            huge = Picture(draw(1) + bytes(2 << 20), '"x"', 5)
            assert await put(at, "/replicas/9", now, huge) == 413
            async with system.client("a") as client:
                told = await client.get_image(9)
                assert (told["cache"], told["digest"]) == ("hit", picture(9).digest)

    run(main())
    assert len(system.seen("replica_refused")) == 2


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize(
    "begin",
    [b"", b"GET /images/1 HTTP/1.1\r\nHost: x\r\n", b"GET /images/1 HTTP/1.1\r\nHost: x\r\n\r\n"],
)
def test_who_says_no_more_is_cut_off(tmp_path: Path, begin: bytes) -> None:
    system = System(tmp_path)

    async def main() -> None:
        async with system.canonical(), system.edge("c", Bounds(idle=0.3)):
            reader, writer = await asyncio.open_connection(*system.addresses["c"])
            writer.write(begin)
            said = b""
            while chunk := await reader.read(1 << 16):
                said += chunk
            assert said.startswith(b"HTTP/1.1 200" if begin.endswith(b"\r\n\r\n") else b"")
            writer.close()
            await writer.wait_closed()

    async def patient() -> None:
        with suppress(ConnectionResetError):  # cut off at once, which is as good
            await main()

    run(patient())


def test_more_connections_than_allowed_are_cut_off(tmp_path: Path) -> None:
    system = System(tmp_path)

    async def main() -> None:
        async with system.canonical(), system.edge("c", Bounds(connections=1)):
            first = await asyncio.open_connection(*system.addresses["c"])
            first[1].write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await first[0].readline()).startswith(b"HTTP/1.1 200")
            second = await asyncio.open_connection(*system.addresses["c"])
            with suppress(ConnectionResetError):
                assert await second[0].read() == b""
            for _, writer in (first, second):
                writer.close()

    run(main())


# The command line


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["n1:x", "get_image", "1"], 2, "needs a port"),
        (["127.0.0.1:1", "fly"], 4, "say one of: get_image ID [FILE]"),
        (["127.0.0.1:1", "get_image", "-1"], 2, "No such option"),
        (["127.0.0.1:1", "get_image", "x"], 4, "a whole number"),
        (["127.0.0.1:1", "get_image", "1"], 3, "refused: 127.0.0.1:1"),
    ],
)
def test_wrong_words_are_told_so(words: list[str], status: int, says: str) -> None:
    result = CliRunner().invoke(cli, ["client", *words])
    assert result.exit_code == status
    assert says in result.output


def test_an_edge_that_is_none_of_the_edges_is_told_so() -> None:
    options = ["edge", "--canonical", "n9", "--peer", "n1=n1:8001", "--node", "n2"]
    result = CliRunner().invoke(cli, options)
    assert result.exit_code == 2
    assert "n2 is none of the edges: n1" in result.output

"""An edge: it answers from its cache, and fills it together with the other edges.

What it has and what is fresh, it gives at once. For anything else the edges have one that asks for
all: the leader, elected by `apps.bully.core`. A follower asks the leader; the leader asks the
canonical server, once, however many ask for the same at the same time, and has all followers keep
what it got. If the leader is away, an edge asks the canonical server by itself: an election costs
some origin fetches, and no answer. If that is away too, what is kept is given though it is stale,
and marked so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from aiohttp import web

from apps.bully.core import Bully
from apps.bully.messages import Epoch
from apps.edge_cache.core import Cache, Entry
from apps.edge_cache.flights import Flights
from apps.edge_cache.problems import problem_of
from apps.edge_cache.replication import Replication
from apps.edge_cache.shelf import Shelf
from apps.edge_cache.upstream import Away, Fetched, Upstreams, Write
from apps.edge_cache.wire import Picture, age_of, epoch_text, image_id, picture_of, read_epoch
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.http_server import Bounds, HttpServer, Problem

State: TypeAlias = Literal["hit", "miss", "revalidated", "stale"]
CACHE_STATUS: Mapping[State, str] = {
    "hit": "hit",
    "miss": "fwd=miss; stored",
    "revalidated": "fwd=stale; fwd-status=304",
    "stale": "hit; detail=stale-if-error",
}
"""What RFC 9211 calls it; a stale answer's `ttl` is below 0."""
MOST_FLIGHTS = 200
"""Images that are being fetched at once; one more is refused with status 503."""
FROM_LEADER = 4.0
"""Seconds that a leader has to answer; it may have to ask the canonical server for it."""
FROM_ORIGIN = 2.5
"""Seconds that the canonical server has."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Who else there is: the canonical server, and all other edges by name."""

    canonical: Address
    edges: Mapping[str, Address]


class Edge:
    """An async context manager that serves images while it is entered."""

    def __init__(
        self,
        listen: Address,
        neighbours: Neighbours,
        election: Bully,
        *,
        cache: Cache,
        shelf: Shelf,
        events: Events,
        bounds: Bounds,
    ) -> None:
        """`election` is run by whoever made it; here it is asked who leads, and in which epoch."""
        self._neighbours = neighbours
        self._election = election
        self._cache = cache
        self._shelf = shelf
        self._events = events
        self._upstreams = Upstreams(events)
        self._replication = Replication(neighbours.edges, self._upstreams, cache.counts, events)
        self._flights: Flights[tuple[int, bool], tuple[Entry, State]] = Flights(MOST_FLIGHTS)
        routes = [
            web.get("/images/{id}", self._image),
            web.get("/images/{id}/size", self._size),
            web.get("/fills/{id}", self._fill),
            web.put("/replicas/{id}", self._replica),
            web.get("/leader", self._leader),
            web.get("/stats", self._stats),
            web.get("/health", self._health),
        ]
        self._server = HttpServer(listen, routes, events, bounds, problem_of)

    async def __aenter__(self) -> Self:
        now = self._now()
        for image, picture in self._shelf.load():
            for gone in self._cache.put(image, Entry(picture, now)):  # stale: who knows since when
                self._shelf.drop(gone)
        async with AsyncExitStack() as stack:
            stack.callback(self._shelf.close)
            await stack.enter_async_context(self._upstreams)
            await stack.enter_async_context(self._replication)
            stack.push_async_callback(self._flights.close)
            await stack.enter_async_context(self._server)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    @property
    def address(self) -> Address:
        """Where it listens, while it is entered."""
        return self._server.address

    # For clients

    async def _image(self, request: web.Request) -> web.Response:
        entry, state = await self._find(image_id(request.match_info["id"]), alone=False)
        return self._answer(request, entry, state)

    async def _size(self, request: web.Request) -> web.Response:
        image = image_id(request.match_info["id"])
        entry, state = await self._find(image, alone=False)
        told = {"image": image, "bytes": len(entry.picture.body), "digest": entry.picture.digest}
        return web.json_response(told, headers={"Cache-Status": self._status(entry, state)})

    async def _leader(self, _: web.Request) -> web.Response:
        return web.json_response(self._who())

    async def _stats(self, _: web.Request) -> web.Response:
        kept = {"images": len(self._cache), "bytes": self._cache.size}
        return web.json_response({**self._who(), "kept": kept, **dict(self._cache.counts)})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    # For other edges

    async def _fill(self, request: web.Request) -> web.Response:
        """Give a follower what it lacks, fetched by this edge itself: nobody is asked in turn."""
        entry, state = await self._find(image_id(request.match_info["id"]), alone=True)
        response = self._answer(request, entry, state)
        response.headers["Epoch"] = epoch_text(self._election.epoch)
        return response

    async def _replica(self, request: web.Request) -> web.Response:
        """Keep what the leader writes, if it is of this edge's own epoch."""
        image, epoch = image_id(request.match_info["id"]), read_epoch(request.headers)
        picture = picture_of(await request.read(), request.headers)
        if not self._store_of(epoch, image, picture, age_of(request.headers)):
            own = epoch_text(self._election.epoch)
            what = f"the write is of epoch {epoch_text(epoch)}, and this edge of {own}"
            raise Problem(412, what, Epoch=own)
        return web.Response(status=204)

    # Finding

    async def _find(self, image: int, *, alone: bool) -> tuple[Entry, State]:
        """Give an image and how it was come by; `alone` asks no other edge for it."""
        entry = self._cache.get(image)
        if entry is not None and entry.fresh(self._now()):
            return self._found(image, entry, "hit")
        alone = alone or self._election.leader in (None, self._election.node)
        entry, state = await self._flights.join(
            (image, alone), lambda: self._fetch(image, alone=alone)
        )
        return self._found(image, entry, state)

    def _found(self, image: int, entry: Entry, state: State) -> tuple[Entry, State]:
        self._cache.counts[state] += 1
        self._events.bounded("answered", image=image, cache=state, digest=entry.picture.digest)
        return entry, state

    async def _fetch(self, image: int, *, alone: bool) -> tuple[Entry, State]:
        """Ask the leader or the canonical server; if all are away, give what there is."""
        held = self._cache.get(image)
        if held is not None and held.fresh(self._now()):
            return held, "hit"  # a replica came, or another flight landed, in between
        try:
            if not alone:
                try:
                    return await self._from_leader(image, held)
                except Away as away:
                    self._events.bounded("leader_away", image=image, error=str(away))
            return await self._from_origin(image, held)
        except Away as away:
            if held is not None:
                return held, "stale"
            self._cache.counts["unavailable"] += 1
            what = f"image {image} is not kept here, and nobody can be asked for it: {away}"
            raise Problem(504, what) from away
        except Problem as gone:
            if gone.status == 404 and held is not None:  # it was there once
                self._drop(image)
            raise

    async def _from_leader(self, image: int, held: Entry | None) -> tuple[Entry, State]:
        """Ask the leader; Away if it is, or if it answers from an epoch that is over."""
        leader = self._neighbours.edges.get(self._election.leader or "")
        if leader is None:
            raise Away("nobody leads")
        picture = held.picture if held else None
        fetched = await self._upstreams.fetch(leader, f"/fills/{image}", picture, FROM_LEADER)
        self._cache.counts["leader_fetches"] += 1
        if not self._election.admits(read_epoch(fetched.headers)):
            raise Away("its answer is of another epoch")
        return self._keep(image, held, fetched)

    async def _from_origin(self, image: int, held: Entry | None) -> tuple[Entry, State]:
        """Ask the canonical server; if this edge leads, the others get what it gave."""
        picture = held.picture if held else None
        fetched = await self._upstreams.fetch(
            self._neighbours.canonical, f"/images/{image}", picture, FROM_ORIGIN
        )
        self._cache.counts["origin_fetches"] += 1
        self._events.bounded("origin_fetch", image=image, modified=fetched.picture is not None)
        entry, state = self._keep(image, held, fetched)
        if self._election.leads and fetched.picture is not None:
            self._replication.put(Write(image, entry.picture, fetched.age, self._election.epoch))
        return entry, state

    # Keeping

    def _keep(self, image: int, held: Entry | None, fetched: Fetched) -> tuple[Entry, State]:
        left = max(0, fetched.max_age - fetched.age)
        if fetched.picture is not None:
            entry = self._store(image, fetched.picture, left)
            return entry, "miss" if left else "stale"
        assert held is not None  # noqa: S101  (only what is held is asked about)
        picture = Picture(held.picture.body, held.picture.etag, fetched.max_age)
        entry = Entry(picture, self._now() + left)
        self._put(image, entry)
        return entry, "revalidated" if left else "stale"

    def _store_of(self, epoch: Epoch, image: int, picture: Picture, age: int) -> bool:
        """Keep what was written in an epoch, or refuse it: looked at and done in one step."""
        told: dict[str, Any] = {"image": image, "digest": picture.digest}
        if not self._election.admits(epoch):
            self._cache.counts["replicas_refused"] += 1
            own = list(self._election.epoch)
            self._events.bounded("replica_refused", epoch=own, of=list(epoch), **told)
            return False
        self._store(image, picture, max(0, picture.max_age - age))
        self._cache.counts["replicas_kept"] += 1
        self._events.emit("replica_kept", epoch=list(epoch), **told)
        return True

    def _store(self, image: int, picture: Picture, left: int) -> Entry:
        entry = Entry(picture, self._now() + left)
        self._put(image, entry)
        self._shelf.put(image, picture)
        return entry

    def _put(self, image: int, entry: Entry) -> None:
        for gone in self._cache.put(image, entry):
            self._events.bounded("evicted", image=gone)
            self._shelf.drop(gone)

    def _drop(self, image: int) -> None:
        self._cache.drop(image)
        self._shelf.drop(image)

    # Answers

    def _answer(self, request: web.Request, entry: Entry, state: State) -> web.Response:
        picture = entry.picture
        headers = {
            **picture.headers,
            "Age": str(entry.age(self._now())),
            "Cache-Status": self._status(entry, state),
        }
        if picture.etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=picture.body, headers=headers, content_type=picture.content_type)

    def _status(self, entry: Entry, state: State) -> str:
        left = int(entry.fresh_until - self._now())
        ttl = min(left, -1) if state == "stale" else left
        return f"{self._election.node}; {CACHE_STATUS[state]}; ttl={ttl}"

    def _who(self) -> dict[str, Any]:
        election = self._election
        told = {"node": election.node, "leader": election.leader, "status": election.status}
        return {**told, "epoch": list(election.epoch)}

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

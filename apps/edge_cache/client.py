"""The client: asks the edge that an image's id names, and the next one if that one is away.

An image's bytes are compared with the digest that came with them before anybody gets to see them.
Reading changes nothing, so whatever failed may be asked again, elsewhere.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

from apps.edge_cache.upstream import bounded
from apps.edge_cache.wire import BadImage, BadRequest, image_id, picture_of
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Deadline
from apps.kit.summary import Load, crowd

USAGE = "get_image ID [FILE], get_image_size ID, leader, stats"
PER_EDGE = 5.0
"""Seconds that one edge is given before the next one is asked; it may have to ask two others."""


class EdgeClient:
    """An async context manager that asks the edges; records what was asked, and the outcome."""

    def __init__(self, edges: Sequence[Address], events: Events, patience: float) -> None:
        """`edges` are all of them, in order; `patience` is the seconds that a call may take."""
        self._edges = edges
        self._events = events
        self._patience = patience

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def get_image(self, image: int, file: Path | None = None) -> dict[str, Any]:
        """Give what is known of an image that came whole; its bytes go to `file`."""
        with Operation(self._events, "get_image", image) as operation:
            edge, headers, body = await self._ask(image, f"/images/{image}")
            try:
                picture = picture_of(body, headers)
            except BadImage as error:
                raise Unknown(f"{edge} gave a bad image: {error}") from error
            if file is not None:
                await asyncio.to_thread(file.write_bytes, body)
            cache = headers.get("Cache-Status", "")
            told = {"image": image, "bytes": len(body), "digest": picture.digest}
            return operation.ok({**told, "edge": cache.partition(";")[0], "cache": state_of(cache)})

    async def get_image_size(self, image: int) -> dict[str, Any]:
        """Give the bytes that an image has."""
        with Operation(self._events, "get_image_size", image) as operation:
            _, _, body = await self._ask(image, f"/images/{image}/size")
            told: dict[str, Any] = json.loads(body)
            return operation.ok(told)

    async def each(self, what: str) -> list[dict[str, Any]]:
        """Give what every edge says at `/leader` or `/stats`; of one that is away, that it is."""

        async def one(edge: Address) -> dict[str, Any]:
            try:
                with Operation(self._events, what, str(edge)) as operation:
                    _, body = await self._once(edge, f"/{what}", Deadline(self._patience))
                    told: dict[str, Any] = json.loads(body)
                    return operation.ok(told)
            except CallFailed as error:
                return {"edge": str(edge), "away": str(error)}

        return await asyncio.gather(*map(one, self._edges))

    async def _ask(self, image: int, path: str) -> tuple[Address, Any, bytes]:
        """Ask the image's edge; if it is away or has nothing to give, the next, and so on round."""
        deadline = Deadline(self._patience)
        failure: CallFailed | None = None
        for number in range(len(self._edges)):
            edge = self._edges[(image + number) % len(self._edges)]
            try:
                return edge, *await self._once(edge, path, deadline)
            except (Refused, Unknown) as error:
                failure = error
                self._events.emit("failover", image=image, edge=str(edge), error=str(error))
            if deadline.passed:
                break
        assert failure is not None  # noqa: S101  (there is at least one edge)
        raise failure

    async def _once(self, edge: Address, path: str, deadline: Deadline) -> tuple[Any, bytes]:
        request_id, peer = self._events.operation(), str(edge)
        self._events.send(request_id, peer, method="GET", path=path)
        try:
            async with (
                asyncio.timeout(min(PER_EDGE, max(deadline.remaining, 0.01))),
                self._session.get(
                    f"http://{edge}{path}",
                    headers={"X-Request-ID": request_id},
                    allow_redirects=False,
                ) as response,
            ):
                body = await bounded(response)
        except aiohttp.ClientConnectorError as error:
            raise Refused(f"{edge}: {error.os_error.strerror or error}") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unknown(f"no answer from {edge}: {str(error) or 'not in time'}") from error
        self._events.recv(f"{request_id}/answer", peer, status=response.status)
        if response.status == 200:
            return response.headers, body
        detail = f"{edge}: {_detail(body) or response.status}"
        raise (Refused if response.status >= 500 else Rejected)(detail)


def state_of(cache_status: str) -> str:
    """Give a Cache-Status in one word: hit, miss, revalidated or stale."""
    if "stale-if-error" in cache_status:
        return "stale"
    if "fwd=stale" in cache_status:
        return "revalidated"
    return "miss" if "fwd=miss" in cache_status else "hit"


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return ""


async def converse(client: EdgeClient, events: Events, words: list[str]) -> None:
    """Do what was typed; Rejected says how it should have been."""
    try:
        match words:
            case ["get_image", image, *file] if len(file) < 2:
                told = await client.get_image(image_id(image), Path(file[0]) if file else None)
                events.say(
                    f"image {told['image']}: {told['bytes']} bytes of {told['edge']}, "
                    f"{told['cache']}, sha256 {told['digest'][:16]}…"
                )
            case ["get_image_size", image]:
                told = await client.get_image_size(image_id(image))
                events.say(f"image {told['image']}: {told['bytes']} bytes")
            case [("leader" | "stats") as what]:
                for told in await client.each(what):
                    events.say(json.dumps(told))
            case _:
                raise Rejected(f"not understood: {' '.join(words)}; say one of: {USAGE}")
    except BadRequest as error:
        raise Rejected(str(error)) from error
    except OSError as error:
        raise Rejected(f"the image cannot be written: {error}") from error


@dataclass(frozen=True, slots=True)
class Taste:
    """Which images a load asks for: of so many, by Zipf's law of this exponent, or one alone."""

    images: int = 64
    skew: float = 1.0
    only: int | None = None


async def load(
    edges: Sequence[Address], events: Events, how: Load, taste: Taste, patience: float
) -> None:
    """Get images again and again."""
    weights = [1 / (rank + 1) ** taste.skew for rank in range(taste.images)]
    cumulative = list(itertools.accumulate(weights))

    def draw(rng: random.Random) -> int:
        if taste.only is not None:
            return taste.only
        return bisect.bisect(cumulative, rng.random() * cumulative[-1])

    def connect(_: random.Random) -> EdgeClient:
        return EdgeClient(edges, events, patience)

    async def ask(client: EdgeClient, rng: random.Random) -> None:
        await client.get_image(draw(rng))

    await crowd(events, connect, ask, how)


async def do_all(
    edges: Sequence[Address], events: Events, lines: Iterable[list[str]], patience: float
) -> None:
    """Do line after line; what fails is said, and the next one comes."""
    async with EdgeClient(edges, events, patience) as client:
        for words in lines:
            try:
                await converse(client, events, words)
            except CallFailed as error:
                events.say(f"{type(error).__name__.lower()}: {error}")


async def do_one(
    edges: Sequence[Address], events: Events, words: list[str], patience: float
) -> None:
    """Do one thing; it raises what it failed by."""
    async with EdgeClient(edges, events, patience) as client:
        await converse(client, events, words)

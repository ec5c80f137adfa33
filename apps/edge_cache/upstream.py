"""How an edge asks others: the canonical server, its leader, its followers.

One session of aiohttp's for all of them. What an upstream answers is an image, "not modified", or
"there is none"; all else means that it is away, and then it is left in peace for a moment, so that
a dead one does not cost every request its timeout.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp

from apps.bully.messages import Epoch
from apps.edge_cache.wire import (
    LONGEST,
    BadImage,
    Picture,
    age_of,
    epoch_text,
    max_age_of,
    picture_of,
)
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.http_server import Problem

HOLDOFF = 0.5
"""Seconds in which an upstream that was away is not asked again."""


class Away(Exception):
    """An upstream gave no answer that can be used; the text says why."""


class Deposed(Exception):
    """A follower refused a write: it is of another epoch."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An upstream's answer; without a picture, the one that was asked about is still right."""

    picture: Picture | None
    max_age: int
    age: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Write:
    """An image that a follower is to keep, and the epoch in which the leader got it."""

    image: int
    picture: Picture
    age: int
    epoch: Epoch


class _Call(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None


class Upstreams:
    """An async context manager: the others can be asked while it is entered."""

    def __init__(self, events: Events) -> None:
        """Requests are recorded as messages."""
        self._events = events
        self._away: dict[Address, float] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit_per_host=32),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def fetch(
        self, server: Address, path: str, held: Picture | None, patience: float
    ) -> Fetched:
        """Ask for an image, or whether the one that is held is still right.

        Away if there is no answer within `patience` seconds; Problem if there is no such image.
        """
        if time.monotonic() < self._away.get(server, 0.0):
            raise Away(f"{server} was away a moment ago")
        headers = {} if held is None else {"If-None-Match": held.etag}
        status, said, body = await self._ask(server, _Call("GET", path, headers), patience)
        try:
            if status == 304 and held is not None:
                return Fetched(None, max_age_of(said), age_of(said), said)
            if status == 200:
                picture = picture_of(body, said)
                return Fetched(picture, picture.max_age, age_of(said), said)
        except BadImage as error:
            self._events.bounded("bad_image", peer=str(server), path=path, error=str(error))
            raise Away(f"{server} gave a bad image: {error}") from error
        if status == 404:
            raise Problem(404, f"there is no image {path.rpartition('/')[2]}")
        raise Away(f"{server} answered with status {status}")

    async def replicate(self, server: Address, write: Write, patience: float) -> None:
        """Have a follower keep an image. Deposed if it refuses, Away if it does not answer."""
        picture = write.picture
        headers = {**picture.headers, "Epoch": epoch_text(write.epoch), "Age": str(write.age)}
        call = _Call("PUT", f"/replicas/{write.image}", headers, picture.body)
        status, _, _ = await self._ask(server, call, patience)
        if status == 412:
            raise Deposed
        if status != 204:
            raise Away(f"{server} answered with status {status}")

    async def _ask(
        self, server: Address, call: _Call, patience: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        request_id, peer = self._events.operation(), str(server)
        self._events.send(request_id, peer, method=call.method, path=call.path)
        try:
            async with (
                asyncio.timeout(patience),
                self._session.request(
                    call.method,
                    f"http://{server}{call.path}",
                    data=call.body,
                    headers={**call.headers, "X-Request-ID": request_id},
                    allow_redirects=False,
                ) as response,
            ):
                said = await bounded(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._away[server] = time.monotonic() + HOLDOFF
            what = str(error) or "no answer in time"
            self._events.bounded("away", peer=peer, path=call.path, error=what)
            raise Away(f"{server}: {what}") from error
        self._away.pop(server, None)
        self._events.recv(f"{request_id}/answer", peer, status=response.status)
        return response.status, response.headers, said


async def bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer's body; aiohttp.ClientError if it is longer than an image may be."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LONGEST:
            raise aiohttp.ClientPayloadError(f"the answer is longer than {LONGEST} bytes")
    return bytes(body)

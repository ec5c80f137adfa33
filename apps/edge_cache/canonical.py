"""The canonical server: the images themselves, as files, served with digests and validators.

The files lie in the state directory, drawn at the first start. Whoever replaces one by another PNG
or JPEG changes the image: it has another ETag from then on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from apps.edge_cache.images import draw
from apps.edge_cache.problems import problem_of
from apps.edge_cache.wire import Picture, image_id
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.http_server import Bounds, HttpServer, Problem


@dataclass(frozen=True, slots=True)
class Collection:
    """Which images there are, and how long a copy of one stays fresh."""

    directory: Path
    images: int
    """So many are drawn, from 0 on; whatever other files are there are served too."""
    max_age: int
    """Seconds."""


class CanonicalServer:
    """An async context manager that serves the images while it is entered."""

    def __init__(
        self, listen: Address, collection: Collection, events: Events, bounds: Bounds
    ) -> None:
        """The images are drawn when it is entered first."""
        self._collection = collection
        self._events = events
        self._counts: Counter[str] = Counter()
        self._read: dict[int, tuple[tuple[int, int, int], Picture]] = {}
        routes = [
            web.get("/images/{id}", self._image),
            web.get("/stats", self._stats),
            web.get("/health", self._health),
        ]
        self._server = HttpServer(listen, routes, events, bounds, problem_of)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._draw)
        async with AsyncExitStack() as stack:
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

    def _draw(self) -> None:
        """Draw what is not there; a crash leaves each file whole or absent."""
        directory = self._collection.directory
        directory.mkdir(exist_ok=True)
        for number in range(self._collection.images):
            file = directory / str(number)
            if not file.exists():
                temporary = directory / "drawing"
                temporary.write_bytes(draw(number))
                temporary.replace(file)

    async def _image(self, request: web.Request) -> web.Response:
        image = image_id(request.match_info["id"])
        picture = self._picture(image)
        if picture.etag in request.headers.get("If-None-Match", ""):
            self._counts["not_modified"] += 1
            self._events.bounded("served", image=image, digest=picture.digest, status=304)
            return web.Response(status=304, headers=picture.headers)
        self._counts["served"] += 1
        self._events.bounded("served", image=image, digest=picture.digest, status=200)
        return web.Response(
            body=picture.body, headers=picture.headers, content_type=picture.content_type
        )

    def _picture(self, image: int) -> Picture:
        """Read the image's file, unless it is as it was when it was read before."""
        file = self._collection.directory / str(image)
        try:
            stat = file.stat()
            version = stat.st_mtime_ns, stat.st_size, stat.st_ino
            known = self._read.get(image)
            if known is not None and known[0] == version:
                return known[1]
            picture = Picture(file.read_bytes(), "", self._collection.max_age)
        except FileNotFoundError:
            self._counts["unknown"] += 1
            raise Problem(404, f"there is no image {image}") from None
        except OSError as error:
            raise Problem(500, f"image {image} cannot be read: {error.strerror}") from error
        picture = Picture(picture.body, f'"{picture.digest[:32]}"', picture.max_age)
        self._read[image] = (version, picture)
        return picture

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response(dict(self._counts))

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

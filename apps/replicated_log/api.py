"""The log over HTTP: pages of messages at every node, appends at the master."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from apps.kit.http_server import Problem
from apps.replicated_log.effects import Log

PAGE_MOST = 1000
"""Messages of a page."""
_PAGE_SIZE = 1 << 20
"""About so many bytes of a page; the next one goes on from there."""

Health = Callable[[], dict[str, Any]]


class Pages:
    """What every node serves: its log, page by page, and how it is."""

    def __init__(self, log: Log, health: Health) -> None:
        """`health` tells how the node is."""
        self._log = log
        self._health = health
        self.routes = [web.get("/messages", self._page), web.get("/health", self._tell_health)]

    async def _page(self, request: web.Request) -> web.Response:
        """Give messages from `offset` on, `limit` of them at most; `next` is where to go on."""
        offset = number(request.query, "offset", 0, (1 << 63) - 1)
        limit = number(request.query, "limit", PAGE_MOST, PAGE_MOST, least=1)
        total = self._log.length
        entries = []
        if offset < total:
            entries = await asyncio.to_thread(self._log.read, offset, limit, _PAGE_SIZE)
        page = {"messages": [entry.message for entry in entries[: total - offset]]}
        told = {"offset": offset, "next": offset + len(page["messages"]), "total": total}
        return web.json_response({**page, **told})

    async def _tell_health(self, _: web.Request) -> web.Response:
        return web.json_response(self._health())


def number(query: Any, name: str, default: int, most: int, least: int = 0) -> int:
    """Read a number of a query; Problem says which numbers it may be."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise Problem(400, f"{name} is a whole number from {least} to {most}, not {text!r:.40}")
    return int(text)


async def json_body(request: web.Request) -> Any:
    """Read a request's body as JSON; Problem says what it should be."""
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise Problem(400, f'send JSON, as in {{"message": "…"}}: {error}') from error

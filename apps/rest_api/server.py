"""The server: the items, as `apps.kit.wsgi` serves them."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from flask import Flask

from apps.kit.events import Events
from apps.kit.wsgi import Body
from apps.rest_api import problems
from apps.rest_api.app import create_app
from apps.rest_api.storage import Bounds, Storage


class Items:
    """The items of one file, over HTTP."""

    def __init__(self, database: Path, bounds: Bounds, events: Events, body_limit: int) -> None:
        """ValueError if the database cannot be used: said once, before any worker tries."""
        Storage(database, bounds).close()
        self._database = database
        self._bounds = bounds
        self._events = events
        self._body_limit = body_limit
        self._storage: Storage

    def open(self) -> Flask:
        """Open the storage and give the application; each worker does so for itself."""
        self._storage = Storage(self._database, self._bounds)
        return create_app(self._storage, self._events, body_limit=self._body_limit)

    def probe(self) -> int:
        """Ask the storage."""
        return self._storage.count()

    def complain(self, status: HTTPStatus, detail: str) -> Body:
        """Say it in a problem document."""
        return Body(problems.PROBLEM_JSON, problems.document(status, detail))

"""The server: the WSGI application under gunicorn, configured by the unit's options alone."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import notify
from apps.rest_api.app import create_app
from apps.rest_api.storage import Bounds, Storage
from apps.rest_api.worker import Worker

DRAIN = 3
"""Seconds that requests under way have to finish after SIGTERM."""
_NOTIFY_SOCKET = "NOTIFY_SOCKET"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the unit's options say."""

    listen: Address
    database: Path
    bounds: Bounds
    body_limit: int
    """Bytes."""
    workers: int
    threads: int
    """Of each worker."""
    connections: int
    """Of each worker, at most."""
    patience: float
    """Seconds that a request may take to arrive, and its answer to be taken."""


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """The application as gunicorn runs it: `run` returns never, but by SystemExit."""

    def __init__(self, settings: Settings, events: Events) -> None:
        """ValueError if the database cannot be used: said once, before any worker tries."""
        Storage(settings.database, settings.bounds).close()
        self.settings = settings
        self.events = events
        self.storage: Storage
        self._notify_socket = os.environ.get(_NOTIFY_SOCKET)
        super().__init__()

    def load_config(self) -> None:
        """Configure gunicorn."""
        options: dict[str, Any] = {
            "bind": [str(self.settings.listen)],
            "workers": self.settings.workers,
            "worker_class": Worker,
            "threads": self.settings.threads,
            "worker_connections": self.settings.connections,
            "graceful_timeout": DRAIN,
            "keepalive": 15,
            "forwarded_allow_ips": "",  # no proxy stands before it whose word would count
            "control_socket_disable": True,
            "logconfig_dict": _logging(self.events),
            "on_starting": self._hush,
            "when_ready": self._speak,
            "on_exit": self._stopped,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Open the storage and give the application; each worker does so for itself."""
        self.storage = Storage(self.settings.database, self.settings.bounds)
        return create_app(self.storage, self.events, body_limit=self.settings.body_limit)

    def _hush(self, _arbiter: object) -> None:
        # Gunicorn's parent says READY when it listens. That is too early; a worker will say it.
        os.environ.pop(_NOTIFY_SOCKET, None)

    def _speak(self, _arbiter: object) -> None:
        if self._notify_socket is not None:
            os.environ[_NOTIFY_SOCKET] = self._notify_socket

    def _stopped(self, _arbiter: object) -> None:
        notify("STOPPING=1")
        self.events.emit("stopped")


class _Handler(logging.Handler):
    """Writes what gunicorn and Flask complain about as events."""

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        self._events.bounded("log", level=record.levelname.lower(), text=self.format(record))


def _logging(events: Events) -> dict[str, Any]:
    quiet = {"level": "WARNING", "handlers": ["events"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"events": {"()": lambda: _Handler(events)}},
        "formatters": {},
        "root": quiet,
        "loggers": {"gunicorn.error": {**quiet, "propagate": False}},
    }

"""A WSGI application under gunicorn, configured by the unit's options alone.

A pattern says what it serves as an `Application`: how it is opened in each worker, how a probe asks
whether it works, and how it complains about bytes that are no HTTP. `apps.kit.wsgi_worker` has the
process that answers; `apps.kit.wsgi_front` what stands before an application.
"""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol, TypeAlias

from gunicorn.app.base import BaseApplication

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import notify
from apps.kit.wsgi_worker import Worker

DRAIN = 3
"""Seconds that requests under way have to finish after SIGTERM."""
_NOTIFY_SOCKET = "NOTIFY_SOCKET"

Wsgi: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application (PEP 3333)."""


class Body(NamedTuple):
    """What an answer carries."""

    media_type: str
    body: bytes


class Application(Protocol):
    """What a pattern serves."""

    @abstractmethod
    def open(self) -> Wsgi:
        """Open what it needs, and give the WSGI application; each worker does so for itself."""

    @abstractmethod
    def probe(self) -> object:
        """Ask what requests ask, in a thread that answers them: the watchdog lives on it."""

    @abstractmethod
    def complain(self, status: HTTPStatus, detail: str) -> Body:
        """Say what is wrong with bytes that are no request."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How HTTP is served: what the unit's options say."""

    listen: Address
    workers: int
    threads: int
    """Of each worker."""
    connections: int
    """Of each worker, at most."""
    patience: float
    """Seconds that a request may take to arrive, and its answer to be taken."""
    body_limit: int
    """Bytes."""


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """An application as gunicorn runs it: `run` returns never, but by SystemExit."""

    def __init__(self, application: Application, serving: Serving, events: Events) -> None:
        """Whatever cannot be opened the caller has tried, so that it is said once."""
        self.settings = serving
        self.events = events
        self.probe = application.probe
        self.complain = application.complain
        self._application = application
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

    def load(self) -> Wsgi:
        """Open the application."""
        return self._application.open()

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
    """Writes what gunicorn and its application complain about as events."""

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

"""The process that serves the site: gunicorn, with threads, on the loopback alone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from apps.kit.wsgi_orderly import OrderlyWorker
from lab.errors import LabError
from lab.evidence.site.app import create_app
from lab.evidence.site.guard import HOSTS
from lab.evidence.store import RUNS

LOOPBACK = HOSTS[0]
_THREADS = 8


def serve(port: int, tell: Callable[[str], None], root: Path = RUNS) -> None:
    """Serve the store until Ctrl-C; `tell` is told the address. LabError if the port is taken."""
    listener = _listener(port)
    tell(f"http://{LOOPBACK}:{listener.getsockname()[1]}/ shows {root}; Ctrl-C ends it")
    _Server(listener.detach(), root).run()


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        raise LabError(f"port {port} cannot be had: {error}", "take another: --port") from error


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """The site as gunicorn runs it: `run` returns never, but by SystemExit."""

    def __init__(self, listener: int, root: Path) -> None:
        self._listener = listener  # gunicorn closes it
        self._root = root
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": [f"fd://{self._listener}"],
            "worker_class": OrderlyWorker,
            "threads": _THREADS,
            "graceful_timeout": 10,
            "loglevel": "warning",
            "forwarded_allow_ips": "",  # no proxy stands before it whose word would count
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app(self._root)

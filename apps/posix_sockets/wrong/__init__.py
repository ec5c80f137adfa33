"""Sockets used wrong: each file makes one mistake, in a few lines, and provokes what it costs.

`serve` is the wrong program; `provoke` is who meets it, from another host. Both write `evidence`
events, and what these show is judged in `apps/posix_sockets/claims.py`. Do not copy from here.
"""

from __future__ import annotations

import importlib
import socket
import time
from typing import Protocol

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Refused

NAMES = ("one_recv", "short_send", "blocking_accept", "no_reuseaddr", "byte_order")


class Wrong(Protocol):
    """One of the modules here."""

    def serve(self, listen: Address, events: Events) -> None:
        """Do it wrong for one who provokes it, and end."""

    def provoke(self, server: Address, events: Events) -> None:
        """Meet it, and write what is lost."""


def wrong(name: str) -> Wrong:
    """Give the module of a mistake."""
    module: Wrong = importlib.import_module(f"{__name__}.{name}")
    return module


def listening(listen: Address) -> socket.socket:
    """Listen: what all of them need and none of them is about."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(listen)
        sock.listen()
    except OSError:
        sock.close()
        raise
    sock.settimeout(60)
    return sock


def meet(server: Address, timeout: float = 10.0) -> socket.socket:
    """Connect to a server that may still be starting; Refused if it does not come."""
    ends = time.monotonic() + timeout
    while True:
        try:
            return socket.create_connection(server, timeout=timeout)
        except OSError as error:
            if time.monotonic() > ends:
                raise Refused(f"{server}: {error}") from error
            time.sleep(0.02)

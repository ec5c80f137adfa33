"""The mistake: an `accept` that blocks, in the loop that is to serve everybody.

While the loop waits for the next client, those that it has are not served. A test with one client
that asks one question passes.
"""

from __future__ import annotations

import contextlib
import socket

from apps.kit.address import Address
from apps.kit.events import Events
from apps.posix_sockets.wrong import listening, meet

MISTAKE = "accept blocks in the loop"
PATIENCE = 1.0
"""Seconds that a client waits for its answer before it has a second one connect."""


def serve(listen: Address, events: Events) -> None:
    """Echo to every client, in turn. The first line of the loop waits for a new one."""
    with contextlib.ExitStack() as open_, listening(listen) as listener:
        clients: list[socket.socket] = []
        for turn in (1, 2):
            sock = open_.enter_context(listener.accept()[0])  # the loop stands still here
            sock.setblocking(False)
            clients.append(sock)
            for client in clients:
                with contextlib.suppress(BlockingIOError):
                    client.sendall(client.recv(4096))
            sock.sendall(b"welcome")
            events.emit("evidence", mistake="blocking_accept", turn=turn)


def provoke(server: Address, events: Events) -> None:
    """Ask, once welcome, and wait; then let somebody else connect, and look what happens."""
    with meet(server) as first:
        first.recv(4096)  # the welcome: the loop has served its turn
        first.sendall(b"is anybody there?")
        answered = _answered(first)
        with meet(server):
            afterwards = _answered(first)
    told = {"answered_alone": answered, "answered_when_another_came": afterwards}
    events.emit("evidence", mistake="blocking_accept", **told)
    events.say(f"answered by itself: {answered}; when somebody else connected: {afterwards}")


def _answered(sock: socket.socket) -> bool:
    sock.settimeout(PATIENCE)
    try:
        return bool(sock.recv(4096))
    except TimeoutError:
        return False

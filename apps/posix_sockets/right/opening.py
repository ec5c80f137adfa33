"""Opening sockets that listen: over TCP, over UDP, and at a path of the file system."""

from __future__ import annotations

import contextlib
import socket
import stat
from pathlib import Path

from apps.kit.address import Address

BACKLOG = 1024
"""Connections that may wait to be accepted (the kernel cuts it to net.core.somaxconn)."""


def listen_tcp(address: Address) -> socket.socket:
    """Listen for connections over TCP; OSError says what is in the way."""
    sock = _opened(address, socket.SOCK_STREAM)
    sock.listen(BACKLOG)
    return sock


def bind_udp(address: Address) -> socket.socket:
    """Take datagrams. UDP has no TIME_WAIT, and SO_REUSEADDR would let two servers share a port."""
    return _opened(address, socket.SOCK_DGRAM)


def listen_unix(path: Path) -> socket.socket:
    """Listen at a path. A server that was killed left its socket's file behind: it is replaced.

    FileExistsError if somebody answers there, or if what is there is no socket.
    """
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(f"{path} is there, and is no socket: move it away")
        if _answers(path):
            raise FileExistsError(f"{path}: another server listens there")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{error.strerror} ({path})") from error
    return sock


def _opened(address: Address, kind: socket.SocketKind) -> socket.socket:
    family, _, protocol, _, name = socket.getaddrinfo(*address, type=kind)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        if kind == socket.SOCK_STREAM:
            # A connection that this side closed lives on for a minute (TIME_WAIT), and without this
            # the port could not be bound again for so long.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(name)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{error.strerror} ({address})") from error
    return sock


def _answers(path: Path) -> bool:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
        sock.settimeout(1.0)
        with contextlib.suppress(ConnectionRefusedError):
            sock.connect(str(path))
            return True
    return False

"""Accepting connections: all that wait, until there are no more, or no descriptors for them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Acceptor:
    """A listening socket, and one descriptor in reserve.

    Without descriptors `accept` fails and the connection stays in the queue: the kernel says
    "ready" again at once, and the loop turns for ever without doing anything. So one descriptor is
    kept to be given up: in its place the connection is accepted, and closed. The peer knows.
    """

    def __init__(self, sock: socket.socket) -> None:
        """`sock` listens and does not block."""
        self.sock = sock
        self.turned_away = 0
        self._reserve = _spare()

    def accept(self) -> Iterator[socket.socket]:
        """Give every connection that waits: the kernel has one piece of news for many."""
        while True:
            try:
                sock, _ = self.sock.accept()
            except BlockingIOError:
                return  # EAGAIN: that was all
            except OSError as error:
                if error.errno in _NO_ROOM and not self._turn_away():
                    return
                continue  # ECONNABORTED and the like: that one is gone, the next may be well
            sock.setblocking(False)
            yield sock

    def close(self) -> None:
        """Stop listening."""
        self.sock.close()
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def _turn_away(self) -> bool:
        """Accept one connection in the place of the reserve, and close it; whether it could be."""
        if self._reserve is None:
            return False
        os.close(self._reserve)
        self._reserve = None
        try:
            self.sock.accept()[0].close()
        except OSError:
            return False
        finally:
            self._reserve = _spare()
        self.turned_away += 1
        return True


def _spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None

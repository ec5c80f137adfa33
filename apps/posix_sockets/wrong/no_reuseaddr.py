"""The mistake: to listen without SO_REUSEADDR.

Who closes a connection first keeps it for a minute (TIME_WAIT, RFC 9293 section 3.6.1), so that
late segments find it. Meanwhile the kernel takes the port for taken: a server that was restarted
cannot listen, though nobody does.
"""

from __future__ import annotations

import errno
import socket

from apps.kit.address import Address
from apps.kit.events import Events
from apps.posix_sockets.wrong import meet

MISTAKE = "no SO_REUSEADDR"


def serve(listen: Address, events: Events) -> None:
    """Serve one client, close the connection first, end, and be started again."""
    first = _listening(listen)
    sock, _ = first.accept()
    first.close()
    sock.shutdown(socket.SHUT_WR)  # first: this side will have it in TIME_WAIT …
    sock.recv(1)  # … as soon as the other side has closed, too
    sock.close()
    try:
        _listening(listen).close()
        error = ""
    except OSError as failure:
        error = errno.errorcode.get(failure.errno or 0, str(failure))
    events.emit("evidence", mistake="no_reuseaddr", error=error, nobody_listens=_nobody(listen))


def provoke(server: Address, events: Events) -> None:
    """Connect, wait for the server to close, and close then."""
    with meet(server) as sock:
        sock.recv(1)
    events.say("the server closed the connection; it cannot listen again for a minute")


def _listening(listen: Address) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(60)
    try:
        sock.bind(listen)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def _nobody(listen: Address) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(listen) == errno.ECONNREFUSED

"""The mistake: not to look at how much `send` took.

`send` takes what there is room for in the socket's buffer. The rest is for its caller to send
again. Small answers always fit, so the mistake waits for the first large one, or a slow reader.
"""

from __future__ import annotations

from apps.kit.address import Address
from apps.kit.events import Events
from apps.posix_sockets.wrong import listening, meet

MISTAKE = "a short send is not noticed"
SIZE = 64 << 20
"""Bytes: more than any buffer takes."""


def serve(listen: Address, events: Events) -> None:
    """Send a large file to whoever asks, and believe that it went out."""
    with listening(listen) as listener:
        sock, _ = listener.accept()
    with sock:
        sock.recv(64)
        sock.setblocking(False)
        sock.send(bytes(SIZE))  # it says how much it took, and nobody listens
        events.emit("evidence", mistake="short_send", sent=SIZE)
        sock.setblocking(True)


def provoke(server: Address, events: Events) -> None:
    """Ask, and count what arrives."""
    arrived = 0
    with meet(server) as sock:
        sock.sendall(b"the file, please\n")
        while data := sock.recv(1 << 20):
            arrived += len(data)
    events.emit("evidence", mistake="short_send", arrived=arrived)
    events.say(f"{arrived} of {SIZE} bytes arrived, and nobody was told")

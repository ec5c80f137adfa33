"""The mistake: to take what one `recv` gives for one message.

TCP carries bytes. Two messages that were sent close together arrive in one `recv`, a long one in
several, and which, the network decides: on one machine the mistake seems to work for years.
"""

from __future__ import annotations

from apps.kit.address import Address
from apps.kit.events import Events
from apps.posix_sockets.wrong import listening, meet

MISTAKE = "one recv = one message"


def serve(listen: Address, events: Events) -> None:
    """Answer each message with its length. What it takes for a message is what `recv` gave."""
    with listening(listen) as listener:
        sock, _ = listener.accept()
    with sock:
        while message := sock.recv(4096):
            events.emit("evidence", mistake="one_recv", took=message.decode())
            sock.sendall(f"{len(message)}\n".encode())


def provoke(server: Address, events: Events) -> None:
    """Send two messages at once, and then one in two halves."""
    with meet(server) as sock, sock.makefile("r") as answers:
        sent = ["one", "two", "three"]
        sock.sendall(b"onetwo")
        answers.readline()
        sock.sendall(b"th")
        answers.readline()
        sock.sendall(b"ree")
        answers.readline()
    events.emit("evidence", mistake="one_recv", sent=sent)
    events.say(f"sent {sent}; look at what the server took for messages")

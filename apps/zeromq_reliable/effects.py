"""What the cores of this pattern say is to be done: the kit's effects, and a socket opened anew.

Sockets have names. What is bound (a ROUTER) has many peers, called `socket/identity`; what is
connected (a DEALER) has one, called as the socket. A message is {"frames": (bytes, …)}.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from apps.kit.effects import CancelTimer, Emit, Message, Persist, Send, SetTimer

Frames: TypeAlias = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Reopen:
    """Close a connected socket, whatever it still had to send or to say, and open a new one.

    Its peer knows the new one as somebody else: nothing said to the old one reaches it.
    """

    socket: str


Effect: TypeAlias = Send | SetTimer | CancelTimer | Persist | Emit | Reopen
Effects: TypeAlias = Iterable[Effect]


def send(to: str, frames: Iterable[bytes]) -> Send:
    """Give the effect that sends these frames."""
    return Send(to, {"frames": tuple(frames)})


def frames_of(message: Message) -> Frames:
    """Give the frames of a message."""
    frames: Frames = tuple(message["frames"])
    return frames


def identity(peer: str) -> bytes:
    """Give the ROUTER's address frame of a peer."""
    return peer.partition("/")[2].encode("latin-1")


def peer_of(socket: str, address: bytes) -> str:
    """Give the name of a ROUTER's peer."""
    return f"{socket}/{address.decode('latin-1')}"


def shown(peer: str) -> str:
    """Give a peer's name as events have it."""
    return identity(peer).hex() or peer

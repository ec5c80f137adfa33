"""The broker: Debian's Mosquitto, configured by the unit's options alone.

What it really keeps: its database is written whole, when it ends in good order and, here, after
every so many changes, at the end of the turn of its loop that made them. The confirmations of that
turn have left by then. So a SIGKILL loses what was confirmed in its last turn, and a slow disk
makes turns long.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apps.kit.address import Address
from apps.kit.daemon import Daemon
from apps.kit.events import Events

PROGRAM = "/usr/sbin/mosquitto"
PROBE = "lab-probe"
"""The client that asks whether it serves."""
_CONNECT = b"\x10\x15\0\x04MQTT\x04\x02\0\x0a\0\x09" + PROBE.encode()
_CONNACK = b"\x20\x02\0\0"
_DISCONNECT = b"\xe0\0"
_TOLD = {
    re.compile(r"New client connected from (?P<peer>\S+) as (?P<client>.*) \(.*\)\."): "connected",
    re.compile(r"Client (?P<client>.*) (?P<why>closed its connection)\."): "disconnected",
    re.compile(r"Client (?P<client>.*?) (?P<why>disconnected.*)\."): "disconnected",
    re.compile(r"Client (?P<client>.*) (?P<why>has exceeded timeout), .*"): "disconnected",
    re.compile(r"Client (?P<client>.*) (?P<why>already connected), .*"): "disconnected",
    re.compile(r"Outgoing messages are being dropped for client (?P<client>.*)\."): "dropped",
}
"""What is told of clients as an event of its own: its line, and the event."""
_UNTOLD = (
    "Saving in-memory database",
    "New connection from",
    "Warning: Unable to set TCP_NODELAY.",  # of the probe's connection, which is no TCP
)
"""Lines that say nothing which others do not, thousands of times a minute."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much it takes and keeps."""

    connections: int = 1000
    packet: int = 65536
    """Bytes of the longest packet; the connection of a longer one is closed.

    Not `message_size_limit`: that confirms what it drops.
    """
    queued: int = 10_000
    """Messages that wait for one client; what comes then is dropped for it.

    As many may be under way. With a smaller window Mosquitto 2.0.11 breaks QoS 2: it lets more into
    the window than fit, counting those whose PUBCOMP is awaited as gone, and when it starts again
    it publishes anew what does not fit, although the client has PUBREC'd it long ago.
    """
    autosave: int = 1
    """Changes after which it writes its database; 0: only when it ends."""
    hours: int = 24
    """How long it keeps the session of a client that is away."""


def configuration(listen: Address, place: Path, limits: Limits) -> str:
    """Give mosquitto.conf; see mosquitto.conf(5).

    The second listener is the probe's: who takes up all connections does not keep it out.
    """
    lines = [
        "per_listener_settings false",
        f"listener {listen.port} {listen.host}",
        f"max_connections {limits.connections}",
        f"listener 0 {place / 'probe.sock'}",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {place}/",
        "autosave_on_changes true",
        f"autosave_interval {limits.autosave}",
        f"persistent_client_expiration {limits.hours}h",
        f"max_packet_size {limits.packet}",
        f"max_queued_messages {limits.queued}",
        f"max_inflight_messages {limits.queued}",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_timestamp false",
        *(f"log_type {kind}" for kind in ("error", "warning", "notice", "information")),
    ]
    return "".join(f"{line}\n" for line in lines)


class Broker(Daemon):
    """An async context manager: Mosquitto serves while it is entered."""

    name = "mosquitto"

    def __init__(self, listen: Address, place: Path, limits: Limits, events: Events) -> None:
        """Keep everything in the directory `place`."""
        super().__init__(events)
        self._address = listen
        self._place = place.absolute()
        self._limits = limits

    def command(self) -> Sequence[str]:
        """Write its configuration."""
        path = self._place / "mosquitto.conf"
        path.write_text(configuration(self._address, self._place, self._limits))
        return [PROGRAM, "-c", str(path)]

    async def answers(self) -> bool:
        """Whether it lets a client connect."""
        reader, writer = await asyncio.open_unix_connection(self._place / "probe.sock")
        try:
            writer.write(_CONNECT)
            answer = await reader.readexactly(len(_CONNACK))
            writer.write(_DISCONNECT)
            await writer.drain()
        finally:
            writer.close()
        return answer == _CONNACK

    def heard(self, line: str) -> None:
        """Tell of its clients as events."""
        if line.startswith(_UNTOLD) or PROBE in line:
            return
        for pattern, event in _TOLD.items():
            if found := pattern.fullmatch(line):
                self.events.bounded(event, **found.groupdict())
                return
        self.events.bounded("said", line=line)

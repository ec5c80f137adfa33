"""What a client and the broker agree on, and paho's client made for it.

paho drives no thread and no connecting of its own here: `apps.mqtt.session` gives it a socket that
is connected, and reads and writes when the event loop says so.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MessageState, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from apps.kit.address import Address
from apps.mqtt.core import Message

VERSIONS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
LASTING = 3600
"""Seconds that the broker keeps a session over a lost connection (MQTT 5 says it, 3.1.1 cannot)."""
WAITING = 10_000
"""Messages that may wait to be confirmed."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a client connects."""

    client_id: str
    version: str = "5"
    resume: bool = False
    """Whether the session outlives this process: what came meanwhile is delivered to the next."""
    keepalive: int = 5
    """Seconds of silence after which each side asks; the broker waits half as long again."""
    inflight: int = 20
    """Messages that are sent and not confirmed at once."""
    will: Message | None = None
    """What the broker publishes when it loses this client."""
    birth: Message | None = None
    """What the client publishes whenever it has connected."""

    @property
    def modern(self) -> bool:
        """Whether it is MQTT 5."""
        return self.version == "5"


class Client(paho.Client):
    """paho's client, which takes the socket that it is given."""

    ready: socket.socket

    def _create_socket_connection(self) -> socket.socket:
        return self.ready

    def abort(self) -> None:
        """Close the connection without another word."""
        self._sock_close()

    def held(self) -> dict[int, paho.MQTTMessage]:
        """Give the messages of QoS 2 that came and were not released, by packet identifier.

        paho has them in memory alone and has no other way to them.
        """
        return self._in_messages

    def forget_qos_2(self) -> None:
        """Send no message of QoS 2 again that was sent before."""
        with self._out_message_mutex:
            for mid, message in list(self._out_messages.items()):
                if message.qos == 2:
                    del self._out_messages[mid]

    def hold(self, mid: int, message: Message) -> None:
        """Go on with a message that an earlier process had confirmed."""
        kept = paho.MQTTMessage(mid, message.topic.encode())
        kept.payload = message.payload
        kept.qos = 2
        kept.retain = message.retain
        kept.state = MessageState.MQTT_MS_WAIT_FOR_PUBREL
        kept.properties = user_properties(PacketTypes.PUBLISH, message)
        self._in_messages[mid] = kept


def made(server: Address, terms: Terms) -> Client:
    """Give a client that has these terms and is not connected yet."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        terms.client_id,
        clean_session=None if terms.modern else not terms.resume,
        protocol=VERSIONS[terms.version],
        reconnect_on_failure=False,
    )
    client.max_inflight_messages_set(terms.inflight)
    client.max_queued_messages_set(WAITING)
    if (will := terms.will) is not None:
        client.will_set(will.topic, will.payload, will.qos, will.retain)
    if not terms.modern:
        client.connect_async(server.host, server.port, terms.keepalive)
        return client
    connect = new_properties(PacketTypes.CONNECT)
    connect.SessionExpiryInterval = LASTING
    # A session of this process alone begins clean, once; it goes on over lost connections.
    clean: Any = False if terms.resume else paho.MQTT_CLEAN_START_FIRST_ONLY
    client.connect_async(
        server.host, server.port, terms.keepalive, clean_start=clean, properties=connect
    )
    return client


def new_properties(kind: int) -> Properties:
    """Give properties of a kind of packet, none set yet."""
    return Properties(kind)  # type: ignore[no-untyped-call]  # paho has no types for it


def user_properties(kind: int, message: Message) -> Properties:
    """Give a message's properties as paho has them."""
    properties = new_properties(kind)
    for pair in message.properties:
        properties.UserProperty = pair  # adds one
    if message.expiry is not None:
        properties.MessageExpiryInterval = message.expiry
    return properties


def received(message: paho.MQTTMessage) -> Message:
    """Give paho's message as ours."""
    properties = getattr(message.properties, "UserProperty", ())
    return Message(
        bytes(message._topic).decode(errors="replace"),
        bytes(message.payload),
        message.qos,
        bool(message.retain),
        bool(message.dup),
        properties=tuple((str(name), str(value)) for name, value in properties),
    )


async def connected(server: Address) -> socket.socket:
    """Connect, to the first of the host's addresses that takes it; OSError says why none does."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(*server, type=socket.SOCK_STREAM)
    error: OSError | None = None
    for family, kind, protocol, _, address in infos:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
        except OSError as refused:
            sock.close()
            error = refused
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise error or OSError(f"{server.host} has no address")

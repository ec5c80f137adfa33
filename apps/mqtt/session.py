"""A client's session with the broker, kept up over lost connections, in the event loop.

paho speaks MQTT. What it is not trusted with is here: messages are handed to it only while it is
connected and never more than the broker wants under way (after a reconnect it would send all at
once, and Mosquitto closes the connection of who does); and nothing is confirmed to the broker
before the receiver has settled what it was given, because what paho queues is written afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Backoff, Deadline, set_within
from apps.mqtt.core import Message, is_filter
from apps.mqtt.outbox import Outbox
from apps.mqtt.wire import (
    Terms,
    connected,
    made,
    new_properties,
    received,
    user_properties,
)

_CONNECT = 2.0
_LOOK = 0.25
"""Seconds between two looks whether the broker has been silent for too long."""
_GOODBYE = 1.0
_RETRIES = Backoff(retries=sys.maxsize, longest=1.0)
_NO_REASON = 0x80
"""What paho says of a connection that ended without a word."""


class Receiver(Protocol):
    """Who takes messages; nothing is confirmed before `settle` returns."""

    def hold(self, mid: int, message: Message) -> None:
        """Take note of a message of QoS 2 that is not to be delivered yet."""

    def deliver(self, message: Message, mid: int | None) -> None:
        """Take a message; with `mid` it may have been held."""

    def settle(self) -> None:
        """Make sure of all of it; OSError: then the connection is given up instead."""


class Session:
    """An async context manager: connected, as far as there is a broker, while it is entered."""

    def __init__(
        self,
        server: Address,
        terms: Terms,
        events: Events,
        *,
        filters: Mapping[str, int] | None = None,
        receiver: Receiver | None = None,
        held: Mapping[int, Message] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Subscribe to `filters`, each at most at its QoS; Rejected if that cannot be.

        `held` is what an earlier process had confirmed, and not had delivered.
        """
        for name in filters or ():
            if not is_filter(name):
                raise Rejected(f"{name[:50]!r} is no filter: + is a whole level, # the last ones")
        self.server = server
        self.terms = terms
        self._filters = dict(filters or {})
        self._events = events
        self._receiver = receiver
        self._rng = rng or random.Random()
        self._outbox = Outbox(terms.inflight)
        self._known: dict[int, object] = {}
        self._up = self._leaves = False
        self._why = "no answer in time"
        self._changed = asyncio.Event()
        self._granted: list[ReasonCode] = []
        self._make(held or {})

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._lost = asyncio.Event()
        self._staying = asyncio.create_task(self._stay_connected())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say goodbye: no will. What is not confirmed by now is unknown."""
        self._leaves = True
        if self._up:
            self._client.disconnect(properties=self._farewell())
            await set_within(self._lost, _GOODBYE)
        self._staying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._staying
        self._client.abort()
        self._outbox.lose("the client ended first")
        self._outbox.close()

    @property
    def up(self) -> bool:
        """Whether it is connected, as far as it knows."""
        return self._up

    @property
    def unconfirmed(self) -> int:
        """How many messages were posted and are not confirmed."""
        return len(self._outbox)

    async def connected(self, patience: float) -> None:
        """Wait for the broker; Refused if there is none, Rejected if it says no."""
        await self._until(lambda: self._up, patience, Refused, f"{self.server} is not there")

    async def subscribed(self, patience: float) -> None:
        """Wait until the broker has taken the subscriptions; Rejected if it does not take one."""
        await self.connected(patience)
        await self._until(lambda: self._granted, patience, Unknown, "not subscribed in time")
        for name, code in zip(self._filters, self._granted, strict=True):
            if code.is_failure:
                raise Rejected(f"{name}: {str(code).lower()}")

    async def publish(self, message: Message, patience: float) -> str:
        """Publish; give what the broker says. Refused, Rejected or Unknown.

        QoS 0 is not confirmed: it was written to the connection, no more is known.
        """
        deadline = Deadline(patience)
        await self.connected(patience)
        future = self.post(message)
        try:
            async with asyncio.timeout(deadline.remaining):
                return await future
        except TimeoutError:
            if self._outbox.waits(future):  # and will not be sent: it is cancelled
                raise Refused("it could not be sent in time") from None
            raise Unknown("not confirmed in time; it may be, yet") from None

    def post(self, message: Message) -> asyncio.Future[str]:
        """Have it published when it can be, in order; Rejected at once if it never can."""
        future = self._outbox.post(message)
        if id_ := message.id:
            self._events.send(id_, str(self.server), topic=message.topic, qos=message.qos)
        self._pump()
        return future

    async def _until(
        self,
        condition: Callable[[], object],
        patience: float,
        failed: type[CallFailed],
        told: str,
    ) -> None:
        try:
            async with asyncio.timeout(patience):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise failed(f"{told}: {self._why}") from None

    async def _stay_connected(self) -> None:
        """Have a connection to the broker, whatever becomes of each."""
        delays = _RETRIES.delays(self._rng)
        while not self._leaves:
            self._lost.clear()
            try:
                if self._receiver is not None:
                    self._receiver.settle()
                async with asyncio.timeout(_CONNECT):
                    self._client.ready = await connected(self.server)
            except (TimeoutError, OSError, UnicodeError) as error:
                self._tell("unconnected", str(error) or "no answer in time")
            else:
                self._client.reconnect()
                while not self._lost.is_set():
                    await set_within(self._lost, _LOOK)
                    self._client.loop_misc()
                if self._granted:
                    delays = _RETRIES.delays(self._rng)
                self._granted = []
            await asyncio.sleep(next(delays))

    def _make(self, held: Mapping[int, Message]) -> None:
        try:
            client = made(self.server, self.terms)
        except ValueError as error:
            raise Rejected(f"no client can be like this: {error}") from error
        for mid, message in held.items():
            client.hold(mid, message)
        self._known = dict(client.held())
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._message
        client.on_publish = self._confirmed
        client.on_subscribe = self._subscribed
        client.on_socket_open = self._opened
        client.on_socket_close = self._closed
        client.on_socket_register_write = self._wants_to_write
        client.on_socket_unregister_write = self._has_written
        self._client = client

    # What paho tells: nothing here calls it again before it has returned

    def _opened(self, _client: object, _data: object, sock: Any) -> None:
        self._loop.add_reader(sock, self._readable)

    def _closed(self, _client: object, _data: object, sock: Any) -> None:
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def _wants_to_write(self, _client: object, _data: object, sock: Any) -> None:
        self._loop.add_writer(sock, self._writable)

    def _has_written(self, _client: object, _data: object, sock: Any) -> None:
        self._loop.remove_writer(sock)

    def _connected(
        self,
        _client: object,
        _data: object,
        flags: Any,
        reason: ReasonCode,
        told: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._why = str(reason).lower()
            return
        self._outbox.window = min(self.terms.inflight, getattr(told, "ReceiveMaximum", 1 << 16))
        self._outbox.largest = getattr(told, "MaximumPacketSize", 0)
        self._events.emit("connected", server=str(self.server), resumed=flags.session_present)
        if not flags.session_present:
            # What was under way at QoS 2 is then to be discarded (MQTT 5, section 3.2.2.1.1). paho
            # goes on with it: a PUBREL for a PUBLISH that the broker has forgotten is confirmed all
            # the same, and the message is nowhere. Mosquitto 2.0.11 forgets, when it restarts, the
            # session of a client that began clean, however long the session was to last.
            self._client.forget_qos_2()
            self._outbox.lose("the broker had forgotten the session", lambda m: m.qos == 2)
        self._loop.call_soon(self._begin)

    def _disconnected(
        self, _client: object, _data: object, _flags: object, reason: ReasonCode, _told: object
    ) -> None:
        if not self._lost.is_set():  # of a broker that falls silent paho tells twice
            broke = reason.value == _NO_REASON
            self._over("the connection broke" if broke else str(reason).lower())

    def _message(self, _client: object, _data: object, message: Any) -> None:
        if self._receiver is not None:
            self._receiver.deliver(received(message), message.mid if message.qos == 2 else None)

    def _confirmed(
        self, _client: object, _data: object, mid: int, reason: ReasonCode, _told: object
    ) -> None:
        self._outbox.confirmed(mid, str(reason).lower(), refused=reason.is_failure)
        self._loop.call_soon(self._pump)

    def _subscribed(
        self, _client: object, _data: object, _mid: int, codes: list[ReasonCode], _told: object
    ) -> None:
        self._granted = codes
        self._changed.set()

    # What the event loop tells

    def _readable(self) -> None:
        try:
            self._client.loop_read()
            if self._receiver is not None:
                held = self._client.held()
                for mid, message in held.items():
                    if self._known.get(mid) is not message:
                        self._receiver.hold(mid, received(message))
                self._known = dict(held)
                self._receiver.settle()
        except Exception as error:  # a broker may send anything, and a disk may be full
            self._give_up(error)

    def _writable(self) -> None:
        try:
            self._client.loop_write()
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Close without another word: what was not settled is not confirmed."""
        self._client.abort()
        self._over(str(error) or repr(error))

    def _begin(self) -> None:
        """Go on after the broker has let us in."""
        if self._lost.is_set():
            return
        self._up = True
        self._changed.set()
        if self._filters:
            self._client.subscribe(list(self._subscriptions()))
        if self.terms.birth is not None:
            self._outbox.post_first(self.terms.birth)
        self._pump()

    def _over(self, why: str) -> None:
        """Take note that the connection is lost."""
        self._tell("disconnected", "goodbye" if self._leaves else why)
        self._up = False
        self._lost.set()
        if self.terms.modern or self.terms.resume:
            self._outbox.lose("the connection broke", lambda message: not message.qos)
        else:
            # Its session is gone with it: paho would send all anew, as if it were the first time.
            self._outbox.lose("the connection broke, and its session with it")
            self._make({})

    def _pump(self) -> None:
        """Hand waiting messages to paho, as many as may be under way."""
        while self._up and (posted := self._outbox.take()) is not None:
            message, _ = posted
            extra = self.terms.modern and (message.properties or message.expiry is not None)
            properties = user_properties(PacketTypes.PUBLISH, message) if extra else None
            given = message.topic, message.payload, message.qos, message.retain, properties
            info = self._client.publish(*given)
            if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:  # an identifier that is still in use
                self._outbox.put_back(posted)
                return
            self._outbox.sent(info.mid, posted)

    def _subscriptions(self) -> Iterable[tuple[str, Any]]:
        for name, qos in self._filters.items():
            yield name, SubscribeOptions(qos) if self.terms.modern else qos

    def _farewell(self) -> Properties | None:
        """End the session with the process, unless the next one takes it up."""
        if not self.terms.modern or self.terms.resume:
            return None
        properties = new_properties(PacketTypes.DISCONNECT)
        properties.SessionExpiryInterval = 0
        return properties

    def _tell(self, event: str, why: str) -> None:
        self._why = why
        self._events.bounded(event, why=why)

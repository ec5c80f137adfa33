"""The sender: a heart, beating over a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from apps.kit.address import Address
from apps.kit.effects import Effect, Effects, Emit, Message, Persist, Send, SetTimer
from apps.kit.events import Events
from apps.kit.store import Store
from apps.kit.udp import UdpEndpoint
from apps.udp_heartbeat.heart import Heart


class Sender:
    """An async context manager that sends heartbeats while it is entered.

    On the wire they are what `apps.kit.node` speaks: `{"id": …, "m": …}`.
    """

    def __init__(
        self,
        heart: Heart,
        listen: str,
        targets: Mapping[str, Address],
        *,
        events: Events,
        store: Store,
    ) -> None:
        """`listen` is the address to send from; the heart knows the targets by their names."""
        self._heart = heart
        self._targets = targets
        self._events = events
        self._store = store
        self._socket = UdpEndpoint(Address(listen, 0), lambda *_: None, broadcast=True)
        self._beat: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self._socket.__aenter__()
        self._do_all(self._heart.start(self._loop.time()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._beat is not None:
            self._beat.cancel()
        await self._socket.__aexit__(kind, error, trace)

    def _fire(self, name: str) -> None:
        self._do_all(self._heart.timer(self._loop.time(), name))

    def _do_all(self, effects: Effects) -> None:
        for effect in effects:
            self._do(effect)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send(to, message):
                self._send(to, message)
            case SetTimer(name, after):
                self._beat = self._loop.call_later(after, self._fire, name)
            case Persist(key, value):
                self._store.put(key, value)
            case Emit(event, fields):
                self._events.emit(event, **fields)

    def _send(self, to: str, message: Message) -> None:
        message_id = f"{self._events.node}.{message['incarnation']}:{message['seq']}>{to}"
        self._events.send(message_id, to, kind=message["kind"])
        data = json.dumps({"id": message_id, "m": message}, separators=(",", ":")).encode()
        self._socket.send(data, self._targets[to])


def resolved(targets: list[Address]) -> dict[str, Address]:
    """Give each target's numeric address by its host's name; OSError says which has none."""
    found = {}
    for target in targets:
        try:
            infos = socket.getaddrinfo(*target, family=socket.AF_INET, type=socket.SOCK_DGRAM)
        except socket.gaierror as error:
            raise OSError(
                f"{target} cannot be found: {error.strerror}; is it in /etc/hosts?"
            ) from None
        found[target.host] = Address(str(infos[0][4][0]), target.port)
    return found

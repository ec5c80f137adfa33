"""A pure core, live: its effects done over real sockets, a real clock and a real disk.

The loop is short: read, decode, feed the core, do what it says, in order. Messages go over UDP
(lost, repeated and reordered as the network pleases) or TCP (in order while a connection lasts);
clients ask over TCP, one JSON object a line, on the same port.

A core that raises has broken its own rules: the process ends at once, with its last effects
undone, and systemd starts it again from what is durable (crash-stop; Schneider 1990, section 1).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from apps.kit.address import Address
from apps.kit.effects import (
    CancelTimer,
    Core,
    Effect,
    Effects,
    Emit,
    Message,
    Persist,
    Reject,
    Reply,
    Send,
    SetTimer,
)
from apps.kit.events import Events
from apps.kit.framing import Lines
from apps.kit.store import Store
from apps.kit.tcp import Answer, FramedServer, Limits
from apps.kit.transport import Transport

LONGEST = 60_000
"""Bytes of a message or a request; it fits a UDP datagram."""
WAITING = 10_000
"""Clients' requests that may wait for an answer at once."""
_EX_SOFTWARE = 70


class Node:
    """An async context manager that runs a core while it is entered."""

    def __init__(
        self,
        core: Core,
        name: str,
        listen: Address,
        transport: Transport,
        *,
        events: Events,
        store: Store,
    ) -> None:
        """`name` is the node's own; `listen` takes clients; `store` takes what the core persists.

        The core must have been built from `store.values`.
        """
        self._core = core
        self._name = name
        self._transport = transport
        self._events = events
        self._store = store
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._life = secrets.token_hex(3)
        self._numbers = itertools.count(1)
        self._clients = FramedServer(
            listen,
            self._session,
            events,
            framing=lambda: Lines(LONGEST),
            complain=lambda why: json.dumps({"error": why}).encode(),
            limits=Limits(idle=600.0, drain=1.0),
        )

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self._transport.open(self._arrive)
        self._feed(self._core.start)
        await self._clients.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._clients.__aexit__(kind, error, trace)
        for timer in self._timers.values():
            timer.cancel()
        await self._transport.close()

    def _arrive(self, sender: str, data: bytes) -> None:
        """Take a datagram or frame of a known peer; what is no message is said and ignored."""
        try:
            envelope = json.loads(data)
            message_id, message = envelope["id"], envelope["m"]
            if not isinstance(message, dict):
                raise TypeError("m is no object")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self._events.bounded("malformed", peer=sender, error=str(error), bytes=len(data))
            return
        self._events.recv(str(message_id), sender, **_shown(message))
        self._feed(lambda now: self._core.receive(now, sender, message))

    def _fire(self, name: str) -> None:
        del self._timers[name]
        self._feed(lambda now: self._core.timer(now, name))

    def _session(self, _peer: str) -> Answer:
        return self._answer

    async def _answer(self, frame: bytes) -> bytes:
        """Give the core a client's request and wait for its answer."""
        try:
            body = json.loads(frame)
            if not isinstance(body, dict):
                raise TypeError("a request is a JSON object")
        except (ValueError, TypeError, RecursionError) as error:
            return json.dumps({"error": f"not understood: {error}"}).encode()
        if len(self._waiting) >= WAITING:
            return json.dumps({"error": f"busy: {WAITING} requests wait already"}).encode()
        request = f"{self._name}.{self._life}/{next(self._numbers)}"
        answered = self._waiting[request] = self._loop.create_future()
        try:
            self._feed(lambda now: self._core.request(now, request, body))
            return json.dumps(await answered).encode()
        finally:
            self._waiting.pop(request, None)

    def _feed(self, happen: Callable[[float], Effects]) -> None:
        """Let the core answer to what happened, and do all that it says before anything else."""
        try:
            for effect in happen(self._loop.time()):
                self._do(effect)
        except Exception:
            self._events.emit("core_failed", error=traceback.format_exc())
            os._exit(_EX_SOFTWARE)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send(to, message):
                self._send(to, message)
            case Reply(request, result):
                self._settle(request, {"result": result})
            case Reject(request, reason):
                self._settle(request, {"error": reason})
            case SetTimer(name, after):
                self._cancel(name)
                self._timers[name] = self._loop.call_later(after, self._fire, name)
            case CancelTimer(name):
                self._cancel(name)
            case Persist(key, value):
                self._store.put(key, value)
            case Emit(event, fields):
                self._events.emit(event, **fields)

    def _send(self, to: str, message: Message) -> None:
        message_id = f"{self._name}.{self._life}:{next(self._numbers)}"
        data = json.dumps({"id": message_id, "m": message}, separators=(",", ":")).encode()
        self._events.send(message_id, to, **_shown(message))
        self._transport.send(to, data)

    def _settle(self, request: str, answer: dict[str, Any]) -> None:
        waiting = self._waiting.get(request)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _cancel(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            self._timers.pop(name).cancel()


def _shown(message: Mapping[str, Any]) -> dict[str, Any]:
    """Give what of a message its send and receive events show."""
    return {"kind": message["kind"]} if isinstance(message.get("kind"), str) else {}

"""A pure core, live: its effects done over real sockets, a real clock and a real disk.

The loop is short: read, decode, feed the core, do what it says, in order. Messages go over UDP
(lost, repeated and reordered as the network pleases) or TCP (in order while a connection lasts);
clients ask over TCP, one JSON object a line, and are answered {"result": …} or {"error": why}.

A core that raises has broken its own rules: the process ends at once, with its last effects
undone, and systemd starts it again from what is durable (crash-stop; Schneider 1990, section 1).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import secrets
import ssl
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, assert_never

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
from apps.kit.store import Durable, NoRoom
from apps.kit.tcp import Answer, FramedServer, Limits
from apps.kit.transport import Transport

LONGEST = 60_000
"""Bytes of a line to or from a client."""
LONGEST_REQUEST = 10_000
"""Bytes of a request; however JSON writes it anew, a message that holds it fits a datagram."""
DEEPEST = 100
"""Levels of nesting in a message; a request has half of them, for messages may hold it."""
_EX_SOFTWARE = 70


class Node:
    """An async context manager that runs a core while it is entered."""

    def __init__(
        self,
        core: Core,
        name: str,
        listen: Address | None,
        transport: Transport,
        *,
        events: Events,
        store: Durable,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`name` is the node's own; `listen` takes clients; `store` takes what the core persists.

        Without `listen` there are no clients: the process that it is part of knows the core. The
        core must have been built from `store.values`. `tls` is for the clients' connections.
        """
        self._core = core
        self._name = name
        self._transport = transport
        self._events = events
        self._store = store
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._life = secrets.token_hex(3)
        self._numbers = itertools.count(1)
        self._clients = listen and FramedServer(
            listen,
            self._session,
            events,
            framing=lambda: Lines(LONGEST),
            complain=lambda why: _json({"error": why}),
            limits=Limits(idle=600.0, drain=1.0),
            tls=tls,
        )

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as opened:
            await self._transport.open(self._arrive)
            opened.push_async_callback(self._transport.close)
            opened.callback(self._cancel_all)
            self._feed(self._core.start)
            if self._clients is not None:
                await opened.enter_async_context(self._clients)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    @property
    def address(self) -> Address:
        """Where clients ask; only for a node that listens to them."""
        assert self._clients is not None  # noqa: S101
        return self._clients.address

    def _arrive(self, sender: str, data: bytes) -> None:
        """Take a datagram or frame of a known peer; what is no message is said and ignored."""
        try:
            envelope = _parse(data, DEEPEST)
            message_id, message = envelope.get("id"), envelope.get("m")
            if not isinstance(message_id, str) or not isinstance(message, dict):
                raise ValueError("a message has an id and an object m")  # noqa: TRY004
        except ValueError as error:
            self._events.bounded("malformed", peer=sender, error=str(error), bytes=len(data))
            return
        self._events.recv(message_id[:100], sender, **_shown(message))
        self._feed(lambda now: self._core.receive(now, sender, message))

    def _fire(self, name: str) -> None:
        del self._timers[name]
        self._feed(lambda now: self._core.timer(now, name))

    def _session(self, _peer: str) -> Answer:
        return self._answer

    async def _answer(self, frame: bytes) -> bytes:
        """Give the core a client's request and wait for its answer."""
        try:
            if len(frame) > LONGEST_REQUEST:
                raise ValueError(f"it has {len(frame)} bytes, the most is {LONGEST_REQUEST}")
            body = _parse(frame, DEEPEST // 2)
        except ValueError as error:
            return _json({"error": f"not understood: {error}"})
        request = f"{self._name}.{self._life}/{next(self._numbers)}"
        answered: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[request] = answered
        try:
            self._feed(lambda now: self._core.request(now, request, body))
            return await answered
        finally:
            del self._waiting[request]

    def _feed(self, happen: Callable[[float], Effects]) -> None:
        """Let the core answer to what happened, and do all that it says before anything else."""
        try:
            self._do_all(happen(self._loop.time()))
        except Exception:
            self._events.emit("core_failed", error=traceback.format_exc())
            os._exit(_EX_SOFTWARE)

    def _do_all(self, effects: Effects) -> None:
        """Do them in order, up to one that the store has no room for."""
        for effect in effects:
            try:
                self._do(effect)
            except NoRoom as error:
                if not isinstance(effect, Persist) or effect.otherwise is None:
                    raise
                self._events.bounded("no_room", error=str(error))
                self._do_all(effect.otherwise)
                return

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
            case _:
                assert_never(effect)

    def _send(self, to: str, message: Message) -> None:
        message_id = f"{self._name}.{self._life}:{next(self._numbers)}"
        data = _json({"id": message_id, "m": message})
        self._events.send(message_id, to, **_shown(message))
        self._transport.send(to, data)

    def _settle(self, request: str, answer: Message) -> None:
        data = _json(answer)
        waiting = self._waiting.get(request)
        if waiting is not None and not waiting.done():
            waiting.set_result(data)

    def _cancel(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            self._timers.pop(name).cancel()

    def _cancel_all(self) -> None:
        for name in list(self._timers):
            self._cancel(name)


def _json(value: Message) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _parse(data: bytes, deepest: int) -> dict[str, Any]:
    """Read a JSON object that came from the network; ValueError says why it is none.

    What is accepted can be written again, so that a stranger's request cannot break the core.
    """
    too_deep = ValueError(f"it nests more than {deepest} levels deep")
    try:
        value = json.loads(data)
    except RecursionError:
        raise too_deep from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004
    level: list[Any] = [value]
    for _ in range(deepest):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise too_deep


def _inside(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is no number in JSON")
        case _:
            return ()


def _shown(message: Mapping[str, Any]) -> dict[str, Any]:
    """Give what of a message its send and receive events show."""
    kind = message.get("kind")
    return {"kind": kind[:100]} if isinstance(kind, str) else {}

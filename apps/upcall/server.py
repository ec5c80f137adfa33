"""The server: channels to clients, whoever opened them, and the registry that decides.

A client is called over the connection by which it registered, or, if it names a port to call back,
over a connection that the server opens to that port, at the address from which it registered: a
stranger cannot have the server dial a third party.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections import deque
from types import TracebackType
from typing import Any, Self

from apps.kit.address import Address
from apps.kit.effects import Effects, Emit, Message, Reject, Reply, Send, SetTimer
from apps.kit.events import Events
from apps.kit.framing import FrameError
from apps.upcall.channel import LONGEST, BadLine, Channel
from apps.upcall.core import Registry

CALLS = 100
"""Requests of one channel that may wait for their answers."""
DIAL = 2.0
"""Seconds that a client has to accept a connection."""
_HELD = 64
"""Messages that wait while the server dials."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class UpcallServer:
    """An async context manager that serves while it is entered."""

    def __init__(
        self,
        listen: Address,
        registry: Registry,
        events: Events,
        *,
        connections: int,
        idle: float,
    ) -> None:
        """`idle` is seconds without a line, after which a connection is closed."""
        self._listen = listen
        self._registry = registry
        self._events = events
        self._most = connections
        self._idle = idle
        self._ways: dict[str, Channel | _Dialled] = {}
        """By client, how to call it."""
        self._calls: dict[str, tuple[Channel, Any]] = {}
        """By request, who waits for the answer, and its own number of it."""
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(
            self._accept, *self._listen, backlog=1024, limit=LONGEST
        )
        self._perform(self._registry.start(self._loop.time()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection: clients register with the next server, publishers are unsure."""
        self._server.close()
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(*self._server.sockets[0].getsockname()[:2])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  asyncio.start_server runs this in a task
        try:
            channel = Channel(reader, writer, self._events, self._idle)
        except ConnectionError:
            writer.transport.abort()
            return
        busy = len(self._tasks) >= self._most
        self._tasks.add(task)
        try:
            if busy:
                await channel.refuse(f"busy: {self._most} are connected")
            else:
                await self.converse(channel)
        except asyncio.CancelledError:
            pass  # the server stops
        finally:
            channel.abort()
            self._tasks.discard(task)

    async def converse(self, channel: Channel) -> None:
        """Take what a channel brings until it ends; garbage ends it, with a complaint."""
        try:
            async for message in channel.messages():
                self._take(channel, message)
        except (BadLine, FrameError, TimeoutError) as error:
            self._events.bounded("peer_error", peer=channel.peer, error=str(error))
            with contextlib.suppress(OSError):
                await channel.refuse(str(error))
        except OSError:
            pass  # it is gone
        finally:
            for call in [call for call, (to, _) in self._calls.items() if to is channel]:
                del self._calls[call]
            if self._ways.get(channel.name) is channel:
                del self._ways[channel.name]

    def _take(self, channel: Channel, message: dict[str, Any]) -> None:
        now = self._loop.time()
        if "kind" not in message:
            if channel.calls >= CALLS:
                channel.say({"call": message.get("call"), "error": f"{CALLS} calls wait already"})
                return
            call = str(next(self._numbers))
            channel.calls += 1
            self._calls[call] = channel, message.get("call")
            self._perform(self._registry.request(now, call, message))
        elif self._introduced(channel, message):
            self._perform(self._registry.receive(now, channel.name, message))
        else:
            channel.say(
                {"error": "register first, with a name of letters, digits and any of . _ -"}
            )

    def _introduced(self, channel: Channel, message: Message) -> bool:
        """Whether it is known whose channel this is; a registration says so, and how to call."""
        if message["kind"] == "register":
            name, port = message.get("name"), message.get("back")
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                return False
            channel.name = name
            if type(port) is int and 0 < port < 65536:
                self._dial_back(name, Address(Address.parse(channel.peer).host, port))
            else:
                self._ways[name] = channel
        return bool(channel.name)

    def _dial_back(self, name: str, address: Address) -> None:
        way = self._ways.get(name)
        if not isinstance(way, _Dialled) or way.address != address or way.done:
            if len(self._ways) >= 2 * self._most:
                self._ways = {n: w for n, w in self._ways.items() if isinstance(w, Channel)}
            self._ways[name] = way = _Dialled(self, name, address, self._events, self._idle)
            task = asyncio.create_task(way.run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _perform(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    if to in self._ways:
                        self._ways[to].say(message)
                case Reply(call, result):
                    self._answer(call, {"result": result})
                case Reject(call, reason):
                    self._answer(call, {"error": reason})
                case SetTimer(name, after):
                    self._timers[name] = self._loop.call_later(after, self._fired, name)
                case Emit("malformed" as event, fields):
                    self._events.bounded(event, **fields)
                case Emit(event, fields):
                    self._events.emit(event, **fields)
                case _:
                    raise TypeError(f"a registry has no {effect}")

    def _answer(self, call: str, answer: dict[str, Any]) -> None:
        waiting = self._calls.pop(call, None)
        if waiting is not None:
            channel, number = waiting
            channel.calls -= 1
            channel.say(answer if number is None else {"call": number, **answer})

    def _fired(self, name: str) -> None:
        self._perform(self._registry.timer(self._loop.time(), name))


class _Dialled:
    """A way that the server opens: one connection, for a client that wants more registers again."""

    def __init__(
        self, server: UpcallServer, name: str, address: Address, events: Events, idle: float
    ) -> None:
        self.address = address
        self.done = False
        self._server = server
        self._name = name
        self._events = events
        self._idle = idle
        self._channel: Channel | None = None
        self._held: deque[Message] = deque(maxlen=_HELD)

    def say(self, message: Message) -> bool:
        """Send it, or keep it for the connection that is being opened."""
        if self._channel is not None:
            return self._channel.say(message)
        self._held.append(message)
        return True

    async def run(self) -> None:
        """Dial, and take what comes until it ends."""
        try:
            async with asyncio.timeout(DIAL):
                reader, writer = await asyncio.open_connection(*self.address, limit=LONGEST)
        except (TimeoutError, OSError) as error:
            self._events.bounded("undialled", peer=str(self.address), error=str(error) or "late")
            self.done = True
            return
        try:
            self._channel = channel = Channel(reader, writer, self._events, self._idle)
            channel.name = self._name
            for message in self._held:
                channel.say(message)
            await self._server.converse(channel)
        except ConnectionError:
            pass  # gone as soon as it came
        finally:
            self.done, self._channel = True, None
            self._held.clear()
            writer.transport.abort()

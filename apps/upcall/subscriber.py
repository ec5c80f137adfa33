"""The client: a registration over a real connection, and the callback that it calls.

Two ways lead from the server to it. `Own`: the connection that this client opened (reverse call),
which works from behind a NAT or a firewall. `Back`: a port on which it listens, and to which the
server opens a connection of its own. The callback can call the server over either.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import secrets
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from apps.kit.address import Address
from apps.kit.effects import Effects, Emit, Message, Send, SetTimer
from apps.kit.events import Events
from apps.kit.framing import FrameError
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.retry import Backoff
from apps.upcall.channel import LONGEST, BadLine, Channel
from apps.upcall.registration import Registration

Callback = Callable[["Subscriber", Message], Awaitable[None]]
"""Is given the upcall's `id`, `topic`, `value`, `subscription` and `seq`; its end is the answer."""
IDLE = 10.0
"""Seconds without a word of the server after which a connection is given up."""
_CONNECT = 2.0
_RETRIES = Backoff(retries=sys.maxsize, longest=0.5)


class Subscriber:
    """An async context manager: registered, as far as there is a server, while it is entered."""

    def __init__(
        self,
        server: Address,
        name: str,
        topic: str,
        callback: Callback,
        events: Events,
        *,
        back: Address | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`back` is where to listen for the server's calls; without it they come by our own."""
        self.server = server
        self.name = name
        self.back = back
        self._events = events
        self._callback = callback
        self._rng = rng or random.Random()
        self._core = Registration(str(server), topic, secrets.token_hex(8))
        self._called: asyncio.Queue[Message] = asyncio.Queue()  # the core lets in one at a time
        self._channel: Channel | None = None
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._leaves = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._listener = None
        if self.back is not None:
            self._listener = await asyncio.start_server(self._dialled, *self.back, limit=LONGEST)
            self.back = Address(*self._listener.sockets[0].getsockname()[:2])
        else:
            self._spawn(self._stay_connected())
        self._spawn(self._run_callbacks())
        self._perform(self._core.start(self._loop.time()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say goodbye, so that the server need not find out."""
        self._leaves = True
        self._perform(self._core.request(self._loop.time(), "", {"f": "leave"}))
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._channel is not None:
            await self._channel.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def subscription(self) -> str:
        """The server's name for it, once there is one."""
        return self._core.subscription

    async def registered(self, patience: float) -> None:
        """Wait until the server has registered this client; Refused if it does not in time."""
        try:
            async with asyncio.timeout(patience):
                while not self._core.live:
                    if self._core.refused:
                        raise Rejected(self._core.refused)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Refused(f"{self.server} did not register {self.name} in time") from None

    async def call(self, body: Message, patience: float) -> Message:
        """Ask the server, over the channel by which it calls: Refused, Rejected or Unknown."""
        channel, number = self._channel, next(self._numbers)
        answer = self._answers[number] = self._loop.create_future()
        try:
            if channel is None or not channel.say({**body, "call": number}):
                raise Refused(f"there is no connection to {self.server}")
            async with asyncio.timeout(patience):
                message = await answer
        except TimeoutError:
            raise Unknown("no answer in time; it may have been done") from None
        finally:
            del self._answers[number]
        if "error" in message:
            raise Rejected(str(message["error"]))
        result: Message = message.get("result", {})
        return result

    async def _stay_connected(self) -> None:
        """Have a connection to the server, whatever becomes of each."""
        delays = _RETRIES.delays(self._rng)
        while True:
            try:
                async with asyncio.timeout(_CONNECT):
                    streams = await asyncio.open_connection(*self.server, limit=LONGEST)
            except (TimeoutError, OSError, UnicodeError) as error:
                self._events.bounded("unconnected", error=str(error) or "late")
            else:
                await self._converse(*streams)
                delays = _RETRIES.delays(self._rng)
            await asyncio.sleep(next(delays))

    async def _dialled(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the server's connection, and no other's beside it: the latest counts."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  asyncio.start_server runs this in a task
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except asyncio.CancelledError:
            pass  # this client ends
        finally:
            self._tasks.discard(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = None
        try:
            self._channel = channel = Channel(reader, writer, self._events, IDLE)
            if self.back is None:
                self._perform(self._core.request(self._loop.time(), "", {"f": "register"}))
            async for message in channel.messages():
                self._take(message)
        except (BadLine, FrameError, TimeoutError, OSError, KeyError, TypeError) as error:
            self._events.bounded("disconnected", error=str(error))
        finally:
            writer.transport.abort()
            if self._channel is channel:
                self._channel = None
                if self.back is not None and not self._leaves:
                    self._perform(self._core.request(self._loop.time(), "", {"f": "register"}))
                for answer in self._answers.values():
                    if not answer.done():
                        answer.set_exception(Unknown("the connection broke; it may have been done"))

    def _take(self, message: dict[str, Any]) -> None:
        if "kind" in message:
            self._perform(self._core.receive(self._loop.time(), str(self.server), message))
            self._changed.set()
            return
        answer = self._answers.get(message.get("call", 0))
        if answer is not None and not answer.done():
            answer.set_result(message)
        elif "error" in message:
            self._events.bounded("complaint", error=message["error"])

    async def _run_callbacks(self) -> None:
        while True:
            upcall = await self._called.get()
            await self._callback(self, upcall)
            self._perform(self._core.request(self._loop.time(), "", {"f": "done"}))

    def _perform(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case Send(_, message):
                    self._say(message)
                case SetTimer(name, after):
                    self._timer = self._loop.call_later(after, self._fired, name)
                case Emit("called" as event, fields):
                    self._events.emit(event, **fields)
                    self._called.put_nowait(fields)
                case Emit("malformed" as event, fields):
                    self._events.bounded(event, **fields)
                case Emit(event, fields):
                    self._events.emit(event, **fields)
                case _:
                    raise TypeError(f"a registration has no {effect}")

    def _say(self, message: Message) -> None:
        if message["kind"] == "register":
            message = {**message, "name": self.name}
            if self.back is not None:
                self._spawn(self._ask_for_a_call({**message, "back": self.back.port}))
                return
        if self._channel is not None:
            self._channel.say(message)

    async def _ask_for_a_call(self, register: Message) -> None:
        """Register over a connection for this alone: the server will call back."""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_CONNECT):
                reader, writer = await asyncio.open_connection(*self.server, limit=LONGEST)
            try:
                channel = Channel(reader, writer, self._events, IDLE)
                channel.say(register)
                await channel.close()
            finally:
                writer.transport.abort()

    def _fired(self, name: str) -> None:
        self._perform(self._core.timer(self._loop.time(), name))

    def _spawn(self, main: Any) -> None:
        task = asyncio.create_task(main)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

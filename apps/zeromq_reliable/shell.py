"""A core of this pattern over real ZeroMQ sockets, a real clock and, if it keeps something, a disk.

The loop is short: read what has come, feed the core, do what it says. What came together is fed
together, and all that it makes durable is synced once, before anything else is done: as many
clients as there are share one fsync.

A core that raises, or a disk that fails, ends the process at once, with the last effects undone;
systemd starts it again from what is durable (crash-stop).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Protocol, Self, assert_never, cast

import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.effects import CancelTimer, Emit, Message, Persist, Send, SetTimer
from apps.kit.events import Events
from apps.kit.zeromq import Bounds, asynchronous
from apps.zeromq_reliable.effects import (
    Effect,
    Effects,
    Frames,
    Reopen,
    frames_of,
    identity,
    peer_of,
    shown,
)
from apps.zeromq_reliable.journal import Journal
from apps.zeromq_reliable.paranoid import CLIENTS, WORKERS
from apps.zeromq_reliable.wire import told

BATCH = 100
"""Messages that are fed together, at most."""
LONGEST = 1 << 18
"""Bytes of all frames of a message; a longer one is dropped."""
PROVOKED = {"refused", "registered", "lost", "expired", "gave_up"}
"""What a stranger can bring about at will, so that the kit bounds how many are written."""
_EX_SOFTWARE = 70


class Core(Protocol):
    """What a core of this pattern answers; see `apps.kit.effects.Core`."""

    def start(self, now: float) -> Effects:
        """Begin."""

    def receive(self, now: float, sender: str, message: Message) -> Effects:
        """Take a message, of anybody."""

    def undeliverable(self, now: float, peer: str) -> Effects:
        """Take note that a peer cannot be sent to: its connection is gone, or it does not read."""

    def timer(self, now: float, name: str) -> Effects:
        """Take note that a timer fired."""


class Shell:
    """An async context manager that runs a core while it is entered."""

    def __init__(
        self,
        core: Core,
        events: Events,
        *,
        bind: Mapping[str, Address] | None = None,
        connect: Mapping[str, Address] | None = None,
        journal: Journal | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """`bind` are its ROUTER sockets by name, `connect` its DEALER sockets.

        `journal` takes what the core persists; the core was made of `journal.values`.
        """
        self._core = core
        self._events = events
        self._bind = bind or {}
        self._connect = connect or {}
        self._journal = journal
        self._bounds = bounds
        self._open: dict[str, zmq.asyncio.Socket] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as opened:
            self._sockets = opened.enter_context(asynchronous(self._events, self._bounds))
            opened.push_async_callback(self._stop)
            for name, address in self._bind.items():
                options = {zmq.ROUTER_MANDATORY: 1}
                self._open[name] = self._sockets.open(
                    name, zmq.ROUTER, bind=[address], options=options
                )
            for name in self._connect:
                self._dial(name)
            for name in self._bind:
                self._listen(name)
            self._feed([self._core.start])
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    # Sockets

    def _dial(self, name: str) -> None:
        self._open[name] = self._sockets.open(
            name, zmq.DEALER, connect=[self._connect[name]], watched=False
        )
        self._listen(name)

    def _listen(self, name: str) -> None:
        self._readers[name] = asyncio.create_task(self._read(name, self._open[name]))

    def _reopen(self, name: str) -> None:
        reader = self._readers.pop(name)
        reader.cancel()
        self._closing.add(reader)
        reader.add_done_callback(self._closing.discard)
        self._sockets.drop(self._open.pop(name))
        self._dial(name)

    async def _stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        tasks = [*self._readers.values(), *self._closing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, name: str, socket: zmq.asyncio.Socket) -> None:
        bound = name in self._bind
        while True:
            messages = [await _whole(socket.recv_multipart())]
            with contextlib.suppress(zmq.Again):
                while len(messages) < BATCH:
                    messages.append(await _whole(socket.recv_multipart(zmq.DONTWAIT)))
            inputs = [self._input(name, message, bound=bound) for message in messages]
            self._feed([one for one in inputs if one is not None])
            await asyncio.sleep(0)  # what is there at once is given without a turn of the loop

    def _input(
        self, socket: str, parts: Frames, *, bound: bool
    ) -> Callable[[float], Effects] | None:
        sender, frames = (peer_of(socket, parts[0]), parts[1:]) if bound else (socket, parts)
        size = sum(map(len, frames))
        if size > LONGEST:
            why = f"a message of {size} bytes; the most is {LONGEST}"
            self._events.bounded("refused", peer=shown(sender), why=why)
            return None
        if told(frames):
            way = _hop(socket) + (">" if bound else "<")
            self._events.recv(message_id(way, frames), shown(sender), bytes=size)
        return lambda now: self._core.receive(now, sender, {"frames": frames})

    # Effects

    def _fire(self, name: str) -> None:
        del self._timers[name]
        self._feed([lambda now: self._core.timer(now, name)])

    def _feed(self, inputs: Iterable[Callable[[float], Effects]]) -> None:
        """Let the core answer to what happened, and do all that it says before anything else."""
        try:
            now = self._loop.time()
            todo = [effect for happen in inputs for effect in happen(now)]
            while todo:
                todo = self._do_all(todo)
        except Exception:
            self._events.emit("core_failed", error=traceback.format_exc())
            os._exit(_EX_SOFTWARE)

    def _do_all(self, effects: list[Effect]) -> list[Effect]:
        """Do effects, the durable ones first; give those that follow from what failed."""
        changes = [(e.key, e.value) for e in effects if isinstance(e, Persist)]
        if changes and self._journal is not None:
            self._journal.put(changes)
        undelivered = [e.to for e in effects if not self._do(e) and isinstance(e, Send)]
        now = self._loop.time()
        return [effect for peer in undelivered for effect in self._core.undeliverable(now, peer)]

    def _do(self, effect: Effect) -> bool:
        """Do an effect; say whether it was done."""
        match effect:
            case Send(to, message):
                return self._send(to, frames_of(message))
            case SetTimer(name, after):
                self._cancel(name)
                self._timers[name] = self._loop.call_later(after, self._fire, name)
            case CancelTimer(name):
                self._cancel(name)
            case Reopen(socket):
                self._reopen(socket)
            case Emit(event, fields) if event in PROVOKED:
                self._events.bounded(event, **fields)
            case Emit(event, fields):
                self._events.emit(event, **fields)
            case Persist():
                pass  # it is durable already
            case _:
                assert_never(effect)
        return True

    def _send(self, to: str, frames: Frames) -> bool:
        name = to.partition("/")[0]
        bound = name in self._bind
        whole = (identity(to), *frames) if bound else frames
        sent = self._open[name].send_multipart(whole, zmq.DONTWAIT)
        # What does not wait is done at once, in a future all the same.
        if cast("asyncio.Future[object]", sent).exception() is not None:
            return False
        if told(frames):
            way = _hop(name) + ("<" if bound else ">")
            self._events.send(message_id(way, frames), shown(to), bytes=sum(map(len, frames)))
        return True

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def _hop(socket: str) -> str:
    """Tell a queue's two sides apart: what it passes on is the same words on both."""
    return socket if socket in (CLIENTS, WORKERS) else ""


async def _whole(coming: Awaitable[list[bytes]]) -> Frames:
    return tuple(await coming)


def message_id(way: str, frames: Frames) -> str:
    """Name a message alike at both of its ends: by what is in it, behind its envelope.

    `way` is `>` to a ROUTER and `<` from it, after the socket's name where the same words pass
    several. What is said again in the same words has the same name.
    """
    digest = hashlib.blake2s(digest_size=8)
    envelope = frames.index(b"") + 1 if b"" in frames else 0
    for frame in frames[envelope:]:
        digest.update(len(frame).to_bytes(4, "big") + frame)
    return f"{way}{digest.hexdigest()}"

"""A core of the log, live: its messages over TCP, its writes while the loop goes on.

`apps.kit.node` runs cores whose disk answers at once, and speaks JSON. Here a write takes as long
as the disk does, and entries cross the network as they lie on the disk.

A write waits for the disk in a thread, and meanwhile the loop serves others, whose entries gather
for the next write. If there are no others, that gains nothing, and to wake the thread and be woken
by it takes longer than a quick disk's sync. So a write of one entry is done in the loop, unless the
write before it took long.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from apps.kit.effects import Emit, Message, Reject, Reply, Send, SetTimer
from apps.kit.events import Events
from apps.kit.store import NoRoom
from apps.kit.transport import Transport
from apps.replicated_log.effects import Effect, Write
from apps.replicated_log.storage import LogFile
from apps.replicated_log.wire import Encoder, Malformed, read

_EX_SOFTWARE = 70
_QUICK = 0.002
"""Seconds of a write of which others take no notice."""
_BOUNDED = {"stored", "gap", "foreign", "malformed", "disk_full"}
"""Events that a peer or a client can bring about at will."""


class Core(Protocol):
    """What the shell runs: a `Master` or a `Follower`."""

    def start(self, now: float) -> Iterable[Effect]:
        """Begin."""

    def receive(self, now: float, sender: str, message: Message) -> Iterable[Effect]:
        """Take a message."""

    def timer(self, now: float, name: str) -> Iterable[Effect]:
        """Take note that a timer fired."""

    def written(self, now: float) -> Iterable[Effect]:
        """Take note that the write is on the disk."""

    def refused(self, now: float) -> Iterable[Effect]:
        """Take note that the disk had no room for the write."""


class Shell:
    """An async context manager that runs a core while it is entered."""

    def __init__(
        self,
        core: Core,
        log: LogFile,
        transport: Transport,
        events: Events,
        *,
        settle: Callable[[Reply | Reject], None] = lambda _: None,
        delay: float = 0.0,
    ) -> None:
        """`settle` takes the core's answers; each write waits for `delay` seconds."""
        self._core = core
        self._log = log
        self._transport = transport
        self._events = events
        self._settle = settle
        self._delay = delay
        self._encoder = Encoder()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._name = f"{events.node}.{secrets.token_hex(3)}"
        self._numbers = itertools.count(1)
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._quick = False
        """Whether the last write was."""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self._transport.open(self._arrive)
        self.feed(self._core.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for timer in self._timers.values():
            timer.cancel()
        await self._transport.close()
        await asyncio.to_thread(self._disk.shutdown)

    def feed(self, happen: Callable[[float], Iterable[Effect]]) -> None:
        """Let the core answer to what happened, and do all that it says before anything else.

        What is told of it is told at once, and before anybody else hears of it. A core that raises,
        or a disk that does not say what it did, ends the process: what is on the disk is what the
        next one begins with.
        """
        try:
            with self._events.together():
                acts = [self._told(effect) for effect in happen(self._loop.time())]
            for act in acts:
                act()
        except Exception:
            self._die()

    def _told(self, effect: Effect) -> Callable[[], object]:
        """Tell of what a core asks for; give what does it."""
        match effect:
            case Send(to, message):
                message_id = f"{self._name}:{next(self._numbers)}"
                self._events.send(message_id, to, **_shown(message))
                frame = self._encoder.encode(message_id, message)
                return partial(self._transport.send, to, frame)
            case Write():
                return partial(self._write_later if self._delay else self._write, effect)
            case Reply() | Reject():
                return partial(self._settle, effect)
            case Emit(event, fields):
                emit = self._events.bounded if event in _BOUNDED else self._events.emit
                emit(event, **fields)
                return _nothing
            case SetTimer(name, after):
                return partial(self._set_timer, name, after)
            case _:
                raise TypeError(f"no core of the log asks for {effect}")

    def _set_timer(self, name: str, after: float) -> None:
        self._timers[name] = self._loop.call_later(after, self._fire, name)

    def _write_later(self, effect: Write) -> None:
        self._timers["disk"] = self._loop.call_later(self._delay, self._write, effect)

    def _write(self, effect: Write) -> None:
        if self._quick and len(effect.entries) == 1:
            self._after(self._append(effect))
        else:
            self._disk.submit(self._append, effect).add_done_callback(self._written)

    def _append(self, write: Write) -> Exception | None:
        """Have this on the disk; give what went wrong."""
        began = time.perf_counter()
        try:
            self._log.append(write.entries, write.log)
        except Exception as error:
            return error
        finally:
            self._quick = time.perf_counter() - began < _QUICK
        return None

    def _written(self, write: Future[Exception | None]) -> None:
        """Tell the loop what became of a write; called in the disk's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._after, write.result())

    def _after(self, error: Exception | None) -> None:
        if error is None:
            self.feed(self._core.written)
        elif isinstance(error, NoRoom):
            self._events.bounded("no_room", error=str(error))
            self.feed(self._core.refused)
        else:
            self._events.emit("disk_failed", error="".join(traceback.format_exception(error)))
            os._exit(_EX_SOFTWARE)

    def _fire(self, name: str) -> None:
        self.feed(lambda now: self._core.timer(now, name))

    def _arrive(self, sender: str, frame: bytes) -> None:
        try:
            message_id, message = read(frame)
        except Malformed as error:
            self._events.bounded("malformed", peer=sender, error=str(error), bytes=len(frame))
            return

        def receive(now: float) -> Iterable[Effect]:
            self._events.recv(message_id, sender, **_shown(message))
            return self._core.receive(now, sender, message)

        self.feed(receive)

    def _die(self) -> None:
        self._events.emit("core_failed", error=traceback.format_exc())
        os._exit(_EX_SOFTWARE)


def _nothing() -> None:
    """Do nothing: it was told, and that was all."""


def _shown(message: Message) -> dict[str, Any]:
    """Give what of a message its send and receive events show."""
    shown = {name: message[name] for name in ("kind", "first", "length") if name in message}
    if entries := message.get("entries"):
        shown["entries"] = len(entries)
    return shown

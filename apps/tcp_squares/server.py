"""The server: squares for who asks, and a bag of tasks for those who share the work."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from types import TracebackType
from typing import Self

from apps.kit.address import Address
from apps.kit.effects import CancelTimer, Effects, Emit, Message, Reject, Reply, SetTimer
from apps.kit.events import Events
from apps.kit.framing import Lines
from apps.kit.tcp import Answer, FramedServer, Limits
from apps.tcp_squares.core import Bag, BagLimits
from apps.tcp_squares.wire import LONGEST_LINE, BadLine, complain, parse, render


class SquaresServer:
    """An async context manager that serves while it is entered."""

    def __init__(
        self,
        listen: Address,
        events: Events,
        *,
        digits: int,
        bag: BagLimits,
        limits: Limits,
    ) -> None:
        """`digits` is the most that a number may have. The bag lives as long as this object."""
        self._events = events
        self._digits = digits
        self._bag = Bag(secrets.token_hex(4), bag)
        self._calls: dict[str, asyncio.Future[Message]] = {}
        self._names = itertools.count(1)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._served = FramedServer(
            listen,
            self._session,
            events,
            framing=lambda: Lines(LONGEST_LINE),
            complain=complain,
            ended=self._ended,
            limits=limits,
        )

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self._served.__aenter__()
        self._perform(self._bag.start(self._loop.time()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections of those who wait for the bag: they ask the next server again."""
        for call in self._calls.values():
            call.cancel()
        await self._served.__aexit__(kind, error, trace)
        for timer in self._timers.values():
            timer.cancel()

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._served.address

    def _session(self, peer: str) -> Answer:
        async def answer(line: bytes) -> bytes:
            try:
                request = parse(line, self._digits)
            except BadLine as error:
                return complain(str(error))
            if request["f"] == "square":
                return str(request["number"] ** 2).encode()
            return await self._ask({**request, "peer": peer})

        return answer

    async def _ask(self, request: Message) -> bytes:
        """Hand a request to the bag, and give the line that it is answered with, when it is."""
        call = str(next(self._names))
        self._calls[call] = future = self._loop.create_future()
        try:
            self._perform(self._bag.request(self._loop.time(), call, request))
            return render(request["f"], await future)
        except _Rejected as no:
            return complain(str(no))
        finally:
            del self._calls[call]

    def _ended(self, peer: str) -> None:
        self._perform(self._bag.request(self._loop.time(), "", {"f": "left", "peer": peer}))

    def _fired(self, name: str) -> None:
        del self._timers[name]
        self._perform(self._bag.timer(self._loop.time(), name))

    def _perform(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case Reply(call, result):
                    self._answered(call, result)
                case Reject(call, reason):
                    self._answered(call, _Rejected(reason))
                case SetTimer(name, after):
                    self._cancel(name)
                    self._timers[name] = self._loop.call_later(after, self._fired, name)
                case CancelTimer(name):
                    self._cancel(name)
                case Emit(event, fields):
                    self._events.emit(event, **fields)
                case _:
                    raise TypeError(f"a bag has no {effect}")

    def _answered(self, call: str, outcome: Message | _Rejected) -> None:
        future = self._calls.get(call)
        if future is None or future.done():
            return  # its connection is gone
        if isinstance(outcome, _Rejected):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


class _Rejected(Exception):
    """The bag said no, and why."""

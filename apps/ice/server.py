"""The greeter: every call is handled in the event loop, and a greeting that waits holds no thread.

Ice's threads read and write. What came is handed to the loop (the run time's dispatcher), which
feeds the watchdog as well: a greeter that hangs is killed and restarted.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from types import TracebackType
from typing import Any, Self

from apps.ice.runtime import Ice, communicator
from apps.kit.address import Address
from apps.kit.events import Events

# After the run time, which finds Ice for what slice2py made.
from apps.ice.generated import Greeting  # isort: skip

from apps.ice import greetings

LONGEST_WAIT = 10_000
"""Milliseconds that a greeting may be put off."""
PATIENCE = 2000
"""Milliseconds that an ear has for what it hears."""
UNHEARD = 200
"""Greetings that an ear may not have confirmed yet; one that is further behind is given up."""
DRAIN = 3.0
"""Seconds that calls have to end in when the greeter stops."""


class Greeter(Greeting.Greeter):  # type: ignore[misc]  # made by slice2py, which knows no types
    """The greeter, as its interface has it; called in the event loop alone."""

    def __init__(self, events: Events, *, waiting: int, ears: int) -> None:
        """At most so many greetings wait at once, and so many ears listen."""
        self._events = events
        self._most_waiting = waiting
        self._most_ears = ears
        self._name = secrets.token_hex(4)
        self._greeted = 0
        self._waiting: set[asyncio.Task[str]] = set()
        self._ears: dict[Any, _Ear] = {}
        self._names = itertools.count(1)

    def greet(self, guest: Any, after: Any, current: Any) -> asyncio.Task[str]:
        """Greet a guest, later; Ice answers when the task is done."""
        call = self._came(current)
        if len(self._waiting) >= self._most_waiting:
            self._answered(call, current, exception="Unkind")
            raise Greeting.Unkind(f"{self._most_waiting} greetings wait already; try later")
        task = asyncio.get_running_loop().create_task(self._greet(guest, after, call, current))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return task

    def greeted(self, current: Any) -> int:
        """Give how many were greeted."""
        self._answered(self._came(current), current)
        return self._greeted

    def listen(self, ear: Any, current: Any) -> None:
        """Let an ear hear every greeting, over the connection that this call came by."""
        call = self._came(current)
        if ear is None or len(self._ears) >= self._most_ears:
            raise Greeting.Unkind("there are as many ears as can be had, or this is none")
        fixed = Greeting.EarPrx.uncheckedCast(ear.ice_fixed(current.con))
        name = f"{self._events.node}-{self._name}:e{next(self._names)}"
        self._ears[current.con] = _Ear(fixed.ice_invocationTimeout(PATIENCE), name)
        current.con.setCloseCallback(lambda con: self._drop(con, "its connection ended"))
        self._events.emit("listens", ear=name, peer=_peer(current.con), ears=len(self._ears))
        self._answered(call, current)

    def cancel(self) -> None:
        """Give up what waits: its callers learn that nobody knows."""
        for task in self._waiting:
            task.cancel()

    async def _greet(self, guest: Any, after: Any, call: str, current: Any) -> str:
        try:
            if guest is None:
                raise greetings.Unkind("there is no guest")
            text = greetings.greeting(guest.name, _given(guest.language), _given(guest.times))
            wait = _given(after) or 0
            if not 0 <= wait <= LONGEST_WAIT:
                raise greetings.Unkind(f"it may be put off by 0 to {LONGEST_WAIT} ms, not {wait}")
        except greetings.Unkind as no:
            self._answered(call, current, exception="Unkind")
            suggestion = Ice.Unset if no.suggestion is None else no.suggestion
            raise Greeting.Unkind(no.why, suggestion) from no
        if wait:
            await asyncio.sleep(wait / 1e3)
        self._greeted += 1
        self._events.bounded(
            "executed",
            call=call.partition("#")[0],
            greeter=self._name,
            number=self._greeted,
            text=text,
        )
        for con, ear in list(self._ears.items()):
            self._tell(con, ear, self._greeted, text)
        self._answered(call, current)
        return text

    def _came(self, current: Any) -> str:
        call = str(current.ctx.get("id", ""))[:200]
        if call:
            self._events.recv(call, _peer(current.con), operation=current.operation)
        return call

    def _answered(self, call: str, current: Any, **told: str) -> None:
        if call:
            peer = _peer(current.con)
            self._events.send(f"{call}/answer", peer, operation=current.operation, **told)

    def _tell(self, con: Any, ear: _Ear, number: int, text: str) -> None:
        if ear.unheard >= UNHEARD:
            self._give_up(con, f"it is {UNHEARD} greetings behind")
            return
        message = f"{ear.name}#{number}"
        ear.unheard += 1
        self._events.send(message, ear.name, operation="hear")
        heard = ear.proxy.hearAsync(number, text, {"id": message})
        heard.add_done_callback(lambda done: self._heard(con, ear, message, done))

    def _heard(self, con: Any, ear: _Ear, message: str, done: Any) -> None:
        ear.unheard -= 1
        error = done.exception()
        if error is None:
            self._events.recv(f"{message}/answer", ear.name, operation="hear")
        else:
            self._give_up(con, type(error).__name__)

    def _give_up(self, con: Any, why: str) -> None:
        """Close the connection of an ear that hears no more, so that it learns of it."""
        self._drop(con, why)
        con.close(Ice.ConnectionClose.Forcefully)

    def _drop(self, con: Any, why: str) -> None:
        ear = self._ears.pop(con, None)
        if ear is not None:
            self._events.bounded("dropped", ear=ear.name, why=why)


class _Ear:
    """An ear that listens, and how much it has not confirmed yet."""

    def __init__(self, proxy: Any, name: str) -> None:
        self.proxy = proxy
        self.name = name
        self.unheard = 0


def _given(value: Any) -> Any:
    """Give an optional value, None if it was not sent: an older client knows nothing of it."""
    return None if value is Ice.Unset else value


def _peer(connection: Any) -> str:
    if connection is None:
        return ""
    try:
        info = connection.getInfo()
    except Ice.Exception:  # it is closed already
        return ""
    return str(Address(info.remoteAddress, info.remotePort))


class GreeterServer:
    """An async context manager that serves while it is entered."""

    def __init__(
        self,
        listen: Address,
        events: Events,
        *,
        threads: int,
        idle: int,
        message: int,
        waiting: int,
        ears: int,
    ) -> None:
        """`idle` in seconds, `message` in KiB."""
        self._listen = listen
        self._greeter = Greeter(events, waiting=waiting, ears=ears)
        self._properties = {
            "ThreadPool.Server.Size": 1,
            "ThreadPool.Server.SizeMax": threads,
            "MessageSizeMax": message,
            "ACM.Server.Timeout": idle,
            "ACM.Server.Close": 4,  # a silent one, too, that has a call under way
            "RetryIntervals": -1,
            "Warn.Connections": 0,
            "Warn.Dispatch": 0,
        }

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def dispatch(call: Any, _connection: object) -> None:
            loop.call_soon_threadsafe(call)

        self._ice = communicator(self._properties, dispatch)
        host, port = self._listen
        try:
            adapter = self._ice.createObjectAdapterWithEndpoints(
                "greeter", f'tcp -h "{host}" -p {port} -t 5000'
            )
        except Ice.LocalException as error:
            self._ice.destroy()
            raise OSError(f"Ice cannot listen on {self._listen}: {error.ice_id()}") from error
        adapter.add(self._greeter, Ice.stringToIdentity("greeter"))
        adapter.activate()
        self._adapter = adapter
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take no more calls, give up those that wait, close the connections in good order."""
        self._greeter.cancel()
        await asyncio.to_thread(self._ice.destroy)

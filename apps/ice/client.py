"""The client: be greeted, listen, and say what is known of every call.

Ice repeats nothing here by itself (`RetryIntervals`): this client repeats what was refused. Whether
a call may have reached the server, Ice knows: it says of each whether it was handed to the network.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

from apps.ice.runtime import Ice, communicator
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Backoff, Deadline
from apps.kit.summary import Load, crowd

# After the run time, which finds Ice for what slice2py made.
from apps.ice.generated import Greeting  # isort: skip

PERSISTENT = Backoff(retries=50, first=0.05, longest=1.0)
"""Patience is the deadline's; a server that restarts is away for a second or two."""
LONGEST_NAME = 1000
"""Characters that are sent at most; the greeter takes fewer, and says so."""
_NEVER_SENT = (
    Ice.ConnectFailedException,
    Ice.ConnectTimeoutException,
    Ice.ConnectionTimeoutException,
    Ice.DNSException,
    Ice.CloseConnectionException,
)
"""What says that no request was accepted, whatever had been written."""
_DECLINED = (
    Ice.RequestFailedException,
    Ice.MarshalException,
    Ice.EndpointParseException,
    Ice.MemoryLimitException,
)


class Guest(NamedTuple):
    """Who is to be greeted; what is None is not sent."""

    name: str
    language: str | None = None
    times: int | None = None


def _optional(value: Any) -> Any:
    return Ice.Unset if value is None else value


class Client:
    """A greeter at an address; an async context manager."""

    def __init__(
        self,
        server: Address,
        events: Events,
        *,
        timeout: float = 5.0,
        rng: random.Random | None = None,
    ) -> None:
        """`timeout` bounds a whole call, its repetitions included (seconds)."""
        self._server = server
        self._events = events
        self._timeout = timeout
        self._rng = rng or random.Random()
        self._connection: Any = None

    async def __aenter__(self) -> Self:
        self._ice = communicator(
            {
                "RetryIntervals": -1,
                "Override.ConnectTimeout": max(1, round(self._timeout * 1e3)),
                "MessageSizeMax": 64,
                "ACM.Client.Heartbeat": 3,  # a listener is silent, and lives
                "ACM.Client.Timeout": 10,
                "Warn.Connections": 0,
            }
        )
        host, port = self._server
        try:
            proxy = self._ice.stringToProxy(f'greeter:tcp -h "{host}" -p {port} -t 5000')
        except Ice.LocalException as error:
            self._ice.destroy()
            raise Rejected(f"{self._server} cannot be an address: {error.ice_id()}") from error
        self._greeter = Greeting.GreeterPrx.uncheckedCast(proxy)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection, whoever cancels meanwhile."""
        closing = asyncio.ensure_future(asyncio.to_thread(self._ice.destroy))
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise

    async def greet(self, guest: Guest, after: int | None = None) -> str:
        """Be greeted, after so many milliseconds; Rejected says why not."""
        if len(guest.name) > LONGEST_NAME:  # a message beyond its limit would end the connection
            raise Rejected(f"a name of {len(guest.name)} characters cannot be sent")
        asked = Greeting.Guest(guest.name, _optional(guest.language), _optional(guest.times))

        def ask(greeter: Any, context: dict[str, str]) -> Any:
            return greeter.greetAsync(asked, _optional(after), context)

        return str(await self._call("greet", guest._asdict(), ask))

    async def greeted(self) -> int:
        """Give how many were greeted since the greeter began."""
        return int(await self._call("greeted", None, lambda g, context: g.greetedAsync(context)))

    async def listen(self, ear: Any) -> None:
        """Have an ear hear every greeting, over this client's own connection."""
        adapter = self._ice.createObjectAdapter("")
        proxy = Greeting.EarPrx.uncheckedCast(adapter.addWithUUID(ear))
        await self._call("listen", None, lambda g, context: g.listenAsync(proxy, context), adapter)
        adapter.activate()

    async def closed(self) -> None:
        """Wait for the end of the connection that the last call went over."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        if self._connection is not None:
            self._connection.setCloseCallback(lambda _: loop.call_soon_threadsafe(ended.set))
            await ended.wait()

    async def _call(
        self,
        f: str,
        value: Any,
        ask: Callable[[Any, dict[str, str]], Any],
        adapter: Any = None,
    ) -> Any:
        """Call the greeter; record the operation and what is known of its end."""
        op = self._events.operation()
        self._events.emit("invoke", op=op, f=f, value=value)
        try:
            result = await self._until_answered(op, f, ask, adapter)
        except CallFailed as error:
            how = type(error).__name__.lower()
            self._events.emit(error.event, op=op, f=f, value=value, how=how, error=str(error))
            raise
        self._events.emit("ok", op=op, f=f, value=result)
        return result

    async def _until_answered(
        self, op: str, f: str, ask: Callable[[Any, dict[str, str]], Any], adapter: Any
    ) -> Any:
        """Call until it is not refused, which changed nothing: any other outcome is the end."""
        deadline = Deadline(self._timeout)
        delays = PERSISTENT.delays(self._rng)
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._once(f"{op}#{attempt}", f, ask, adapter, deadline)
            except Refused:
                delay = next(delays, None)
                if delay is None or delay > deadline.remaining:
                    raise
            await asyncio.sleep(delay)

    async def _once(
        self,
        message: str,
        f: str,
        ask: Callable[[Any, dict[str, str]], Any],
        adapter: Any,
        deadline: Deadline,
    ) -> Any:
        peer = str(self._server)
        greeter = self._greeter.ice_invocationTimeout(max(1, round(deadline.remaining * 1e3)))
        call = None
        try:
            if self._connection is None:  # else the call itself sees to it
                self._connection = await Ice.wrap_future(greeter.ice_getConnectionAsync())
            if adapter is not None:
                self._connection.setAdapter(adapter)
            self._events.send(message, peer, operation=f)
            call = ask(greeter, {"id": message})
            result = await Ice.wrap_future(call)
        except Greeting.Unkind as no:
            hint = "" if no.suggestion is Ice.Unset else f"; {no.suggestion}"
            self._events.recv(f"{message}/answer", peer, operation=f, exception="Unkind")
            raise Rejected(f"{no.why}{hint}") from no
        except Ice.Exception as error:
            self._connection = None
            raise _failure(error, sent=call is not None and call.is_sent()) from error
        self._events.recv(f"{message}/answer", peer, operation=f)
        return result


def _failure(error: Any, *, sent: bool) -> CallFailed:
    """Give what a client knows after a failure of Ice's."""
    said = error.ice_id().removeprefix("::Ice::") if hasattr(error, "ice_id") else str(error)
    reason = getattr(error, "reason", "") or getattr(error, "unknown", "")
    what = f"{said}: {reason}".partition("\n")[0].removesuffix(": ")
    if isinstance(error, _DECLINED):
        return Rejected(what)
    if isinstance(error, _NEVER_SENT) or not sent:
        return Refused(f"{what}; nothing was done")
    return Unknown(f"{what}; the call was sent, and may have been done")


class Ear(Greeting.Ear):  # type: ignore[misc]  # made by slice2py, which knows no types
    """What the greeter calls, in a thread of Ice's."""

    def __init__(self, events: Events) -> None:
        """What is heard is shown at once."""
        self._events = events

    def hear(self, number: int, text: str, current: Any) -> None:
        """Hear a greeting."""
        message = str(current.ctx.get("id", ""))
        by = message.partition("#")[0]
        self._events.recv(message, by, operation="hear")
        self._events.bounded("heard", by=by, number=number, text=text)
        self._events.send(f"{message}/answer", by, operation="hear")
        self._events.say(f"{number}. {text}")


async def listen(server: Address, events: Events, *, seconds: float, patience: float) -> None:
    """Hear every greeting for so long; listen anew when the connection has ended."""
    ends = Deadline(seconds)
    while not ends.passed:
        async with Client(server, events, timeout=patience) as client:
            await client.listen(Ear(events))
            events.say("listening; Ctrl-C ends this")
            try:
                async with asyncio.timeout(None if seconds == float("inf") else ends.remaining):
                    await client.closed()
            except TimeoutError:
                return
            events.emit("deaf")
            events.say("the connection ended; listening anew")


async def converse(
    server: Address,
    events: Events,
    guests: Iterable[Guest],
    *,
    after: int | None,
    patience: float,
    persist: bool,
) -> None:
    """Have each guest greeted and show how; `persist` goes on after a call that failed."""
    async with Client(server, events, timeout=patience) as client:
        for guest in guests:
            began = time.perf_counter()
            try:
                text = await client.greet(guest, after)
            except CallFailed as error:
                if not persist:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}")
                continue
            events.say(f"{text}   ({(time.perf_counter() - began) * 1e3:.1f} ms)")


async def count(server: Address, events: Events, *, patience: float) -> None:
    """Show how many were greeted."""
    async with Client(server, events, timeout=patience) as client:
        events.say(f"{await client.greeted()} were greeted")


async def measure(
    server: Address, events: Events, load: Load, *, after: int | None, patience: float
) -> None:
    """Let a crowd of callers be greeted, and sum up."""

    async def one(client: Client, rng: random.Random) -> str:
        return await client.greet(
            Guest(f"guest {rng.randrange(1000)}", rng.choice(LANGUAGES)), after
        )

    await crowd(events, lambda rng: Client(server, events, timeout=patience, rng=rng), one, load)


LANGUAGES: Sequence[str | None] = (None, "de", "fi", "pl")
"""Those that a load asks for."""

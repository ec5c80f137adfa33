"""Requests over UDP, and their answers: sent again if lost, checked, bounded, and told of.

This stands in for rpcudp 5.0.1, the library's own (`rpcudp/protocol.py`), whose bytes it speaks
(`wire.py`). What is wrong there, none of it with an issue upstream:

- Each datagram starts two tasks that nobody keeps; what is garbled ends as an exception in one of
  them; a flood of datagrams is a flood of tasks. Here a datagram is dealt with at once.
- A call that is cancelled leaves its timer behind, which then sets the result of a cancelled future
  (InvalidStateError in the event loop) and leaves the call among the outstanding ones for ever.
- An answer is taken from whatever address it comes.
- A request is sent once, and UDP loses. Here it is sent up to `ATTEMPTS` times; all are idempotent.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

from apps.kademlia import wire
from apps.kademlia.wire import Malformed, Request, Response
from apps.kit.address import Address
from apps.kit.events import Events

ATTEMPTS = (0.2, 0.3, 0.5)
"""Seconds that each attempt of a request waits for an answer."""
HELD_UP = 0.1
"""Seconds that our own timers may be late before we blame ourselves for a silence."""
_BACKLOG = 1 << 20
"""Bytes that may wait to be sent; what comes on top is lost, as UDP has it."""

Answer: TypeAlias = tuple[bool, Any]
"""Whether it answered, and what; as the library has it."""
SILENT: Answer = (False, None)


class _Waiting(NamedTuple):
    answer: asyncio.Future[Any]
    of: Address


class Calls(asyncio.DatagramProtocol):
    """Asks and is asked, on one socket; who inherits has a method `rpc_…` for each request."""

    requests: ClassVar[Mapping[str, int]] = {}
    """Of each request that is answered, how many arguments it has."""

    def __init__(self, id_: bytes, events: Events) -> None:
        """`id_` is who we are: the first argument of each request."""
        self._id = id_
        self._events = events
        self._calls: dict[bytes, _Waiting] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.DatagramProtocol."""
        self.transport: Any = transport
        self.here = Address(*transport.get_extra_info("sockname")[:2])
        self.now: Callable[[], float] = asyncio.get_running_loop().time

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Deal with a datagram at once; what is garbled is said and ignored."""
        sender = Address(*addr[:2])
        try:
            message = wire.decode(data)
            if isinstance(message, Request):
                self._asked(message, sender, len(data))
            else:
                self._answered(message, sender, len(data))
        except Malformed as error:
            self._events.bounded("malformed", peer=str(sender), error=str(error), bytes=len(data))

    def error_received(self, exc: Exception) -> None:
        """See asyncio.DatagramProtocol: an earlier datagram met nobody, and was lost."""

    def _send(self, to: Address, message: Request | Response, trace: str, kind: str) -> None:
        if self.transport.is_closing():
            return
        data = wire.encode(message)
        if len(data) > wire.LONGEST or self.transport.get_write_buffer_size() > _BACKLOG:
            self._events.bounded("unsent", peer=str(to), kind=kind, bytes=len(data))
            return
        self._events.send(trace, str(to), kind=kind, bytes=len(data))
        self.transport.sendto(data, to)

    # Asking

    async def call(self, to: Address, name: str, *arguments: Any) -> Answer:
        """Ask a node, again if it does not answer; whether it did, and what."""
        message = Request(secrets.token_bytes(20), name, [self._id, *arguments])
        trace = f"{self.here}>{to}#{message.id.hex()[:12]}"
        waiting = _Waiting(asyncio.get_running_loop().create_future(), to)
        self._calls[message.id] = waiting
        try:
            for patience in ATTEMPTS:
                self._send(to, message, trace, name)
                if await self._arrives(waiting.answer, patience):
                    return True, waiting.answer.result()
        finally:
            del self._calls[message.id]
            waiting.answer.cancel()
        self._events.bounded("no_answer", peer=str(to), kind=name)
        return SILENT

    async def _arrives(self, answer: asyncio.Future[Any], patience: float) -> bool:
        """Wait for an answer. Who was held up meanwhile waits once more: it may lie there unread.

        Otherwise a node that was paused would give up all others when it goes on.
        """
        for _ in range(2):
            due = self.now() + patience
            done, _ = await asyncio.wait([answer], timeout=patience)
            if done or self.now() < due + HELD_UP:
                return bool(done)
        return False

    def _answered(self, message: Response, sender: Address, size: int) -> None:
        waiting = self._calls.get(message.id)
        if waiting is None or waiting.of != sender:
            return  # it came too late, or twice, or nobody had asked
        trace = f"{sender}>{self.here}#{message.id.hex()[:12]}!"
        self._events.recv(trace, str(sender), bytes=size)
        if not waiting.answer.done():
            waiting.answer.set_result(message.result)

    def _asked(self, message: Request, sender: Address, size: int) -> None:
        if self.requests.get(message.name) != len(message.arguments):
            many = len(message.arguments)
            raise Malformed(f"no request: {message.name[:50]!r} with {many} arguments")
        trace = f"{sender}>{self.here}#{message.id.hex()[:12]}"
        self._events.recv(trace, str(sender), kind=message.name, bytes=size)
        result = getattr(self, f"rpc_{message.name}")(sender, *message.arguments)
        answer = f"{self.here}>{sender}#{message.id.hex()[:12]}!"
        self._send(sender, Response(message.id, result), answer, message.name)

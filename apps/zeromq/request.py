"""REQ/REP, the side that asks (zguide chapter 1; through a broker chapter 2).

A REQ socket sends, then receives, then may send again. That is all it can do: while the answer is
outstanding it cannot ask anew, and if server or broker dies with the request, the answer never
comes, although the socket has long connected again. So who asks needs a timeout, and after it a
new socket. (To ask again then is the beginning of zeromq_reliable.)

With ZMQ_IMMEDIATE a socket without a connection takes no message, instead of queueing it for later:
so what was not taken is known to be refused, and only what was taken can be unknown.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Deadline
from apps.kit.summary import Load, crowd
from apps.kit.zeromq import Sockets, asynchronous
from apps.zeromq.wire import LONGEST_TEXT


class Requester:
    """Asks one question after the other; a context manager."""

    def __init__(
        self,
        sockets: Sockets[zmq.asyncio.Socket],
        server: Address,
        events: Events,
        *,
        patience: float,
        identity: str = "",
        watched: bool = False,
    ) -> None:
        """Ask `server`, or a broker; each answer may take `patience` seconds.

        `identity` is what a ROUTER knows this client by; it makes one up if it is empty.
        """
        self._sockets = sockets
        self._server = server
        self._events = events
        self._patience = patience
        self._watched = watched
        self._options: dict[zmq.SocketOption, int | bytes] = {zmq.IMMEDIATE: 1}
        if identity:
            self._options[zmq.ROUTING_ID] = identity.encode()
        self._socket: zmq.asyncio.Socket | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hang_up()

    async def ask(self, text: bytes, op: str) -> tuple[str, bytes]:
        """Ask; give who answered, and what. A CallFailed says what is known if nobody did."""
        if len(text) > LONGEST_TEXT:
            raise Rejected(f"a text has at most {LONGEST_TEXT} bytes")
        deadline = Deadline(self._patience)
        socket = self._socket = self._socket or self._connect()
        peer = str(self._server)
        try:
            async with asyncio.timeout(deadline.remaining):
                await socket.send_multipart([text, op.encode()])
        except TimeoutError:
            self._hang_up()
            raise Refused(f"{peer}: no connection in {self._patience:g} s") from None
        self._events.send(f"{op}?front", peer, bytes=len(text))
        try:
            async with asyncio.timeout(deadline.remaining):
                answer, *_ = await socket.recv_multipart()
        except TimeoutError:
            self._hang_up()  # it would take no other request: it waits for this one's answer
            raise Unknown(f"{peer}: asked, and not answered in {self._patience:g} s") from None
        self._events.recv(f"{op}!front", peer, bytes=len(answer))
        node, _, echoed = answer.partition(b" ")
        if node == b"error:":
            raise Rejected(echoed.decode(errors="replace"))
        return node.decode(errors="replace"), echoed

    def _connect(self) -> zmq.asyncio.Socket:
        try:
            return self._sockets.open(
                "request",
                zmq.REQ,
                connect=[self._server],
                options=self._options,
                watched=self._watched,
            )
        except OSError as error:
            raise Refused(str(error)) from None

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._sockets.drop(self._socket)
            self._socket = None


async def ask(requester: Requester, events: Events, text: str) -> tuple[str, str]:
    """Ask, as an operation of the history; give who answered, and what."""
    with Operation(events, "ask", text) as operation:
        node, answer = await requester.ask(text.encode(errors="surrogateescape"), operation.op)
        return node, operation.ok(answer.decode(errors="surrogateescape"))


async def converse(
    server: Address,
    events: Events,
    texts: Iterable[str],
    *,
    patience: float,
    identity: str,
    persist: bool,
) -> None:
    """Ask each text and show the answers; `persist` goes on after one that failed."""
    with asynchronous(events) as sockets:
        asking = Requester(
            sockets, server, events, patience=patience, identity=identity, watched=True
        )
        async with asking:
            for text in texts:
                began = time.perf_counter()
                try:
                    node, answer = await ask(asking, events, text)
                except CallFailed as error:
                    if not persist:
                        raise
                    events.say(f"{type(error).__name__.lower()}: {error}")
                    continue
                took = (time.perf_counter() - began) * 1e3
                events.say(f"{answer}   ({node}, {took:.1f} ms)")


async def measure(server: Address, events: Events, load: Load, *, patience: float) -> None:
    """Let a crowd of callers ask made-up texts, each by a socket of its own, and sum up."""
    with asynchronous(events) as sockets:

        def connect(_: random.Random) -> Requester:
            return Requester(sockets, server, events, patience=patience)

        async def one(requester: Requester, rng: random.Random) -> object:
            unlike_any = f"{events.operation()} {rng.randbytes(8).hex()}"
            return await ask(requester, events, unlike_any)

        await crowd(events, connect, one, load)

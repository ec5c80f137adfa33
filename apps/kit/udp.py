"""UDP, sent and received: bounded, and deaf to garbage by choice of its owner.

The queue between the socket and its owner is the kernel's receive buffer: what does not fit there
is lost, as UDP has it, and counted by the kernel (`nstat UdpRcvbufErrors`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

from apps.kit.address import Address

RECEIVE_BUFFER = 4 << 20
"""Bytes asked of the kernel (SO_RCVBUF; it grants up to net.core.rmem_max)."""


class UdpEndpoint(asyncio.DatagramProtocol):
    """An async context manager: a bound socket whose datagrams go to `receive` while entered."""

    def __init__(
        self,
        listen: Address,
        receive: Callable[[bytes, Address], None],
        *,
        broadcast: bool = False,
    ) -> None:
        """`receive` is called with each datagram and who sent it; port 0 lets the kernel choose."""
        self._listen = listen
        self._receive = receive
        self._broadcast = broadcast
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=self._listen, allow_broadcast=self._broadcast
        )
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def address(self) -> Address:
        """Where the socket is bound."""
        if self._transport is None:
            raise RuntimeError("the endpoint is not open: use it in `async with`")
        host, port = self._transport.get_extra_info("sockname")[:2]
        return Address(host, port)

    def send(self, data: bytes, to: Address) -> None:
        """Hand a datagram to the network; there is no telling whether it arrives."""
        if self._transport is None:
            raise RuntimeError("the endpoint is not open: use it in `async with`")
        self._transport.sendto(data, to)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """See asyncio.DatagramProtocol."""
        self._receive(data, Address(*addr[:2]))

    def error_received(self, exc: Exception) -> None:
        """An earlier datagram met an ICMP error: it was lost, as any may be."""

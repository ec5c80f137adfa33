"""UDP, sent and received: bounded, and deaf to garbage by choice of its owner.

The queue between the socket and its owner is the kernel's receive buffer: what does not fit there
is lost, as UDP has it, and counted by the kernel (`UdpEndpoint.queue`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from apps.kit.address import Address

RECEIVE_BUFFER = 4 << 20
"""Bytes asked of the kernel (SO_RCVBUF; it grants up to net.core.rmem_max)."""

_LONGEST = 65535
_BATCH = 64
"""Datagrams taken before the loop's other work gets its turn."""

# socket(7) does not name it: <asm-generic/socket.h>, and the order of <linux/sock_diag.h>.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")


class Queue(NamedTuple):
    """The kernel's receive buffer of a socket."""

    used: int
    """Bytes that wait to be received, with the kernel's own overhead."""
    dropped: int
    """Datagrams that came to the socket and were dropped, since it was opened."""


class UdpEndpoint:
    """An async context manager: a bound socket whose datagrams go to `receive` while entered."""

    def __init__(
        self,
        listen: Address,
        receive: Callable[[bytes, Address], None],
        *,
        broadcast: bool = False,
        receive_buffer: int = RECEIVE_BUFFER,
    ) -> None:
        """`receive` is called with each datagram and who sent it; port 0 lets the kernel choose."""
        self._listen = listen
        self._receive = receive
        self._broadcast = broadcast
        self._receive_buffer = receive_buffer
        self._open: socket.socket | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(*self._listen, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, self._broadcast)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            sock.bind(address)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"{error.strerror} (UDP {self._listen})") from error
        loop.add_reader(sock, self._drain, sock)
        self._open = sock
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sock, self._open = self._socket, None
        asyncio.get_running_loop().remove_reader(sock)
        sock.close()

    @property
    def address(self) -> Address:
        """Where the socket is bound."""
        host, port = self._socket.getsockname()[:2]
        return Address(host, port)

    @property
    def queue(self) -> Queue:
        """How full the receive buffer is, and what did not fit (Linux 4.12 and later)."""
        data = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        figures = _MEMINFO.unpack(data)
        return Queue(used=figures[0], dropped=figures[8])

    def send(self, data: bytes, to: Address) -> None:
        """Hand a datagram to the network; there is no telling whether it arrives."""
        with contextlib.suppress(OSError):  # a full buffer, no route, an earlier ICMP error: lost
            self._socket.sendto(data, to)

    @property
    def _socket(self) -> socket.socket:
        if self._open is None:
            raise RuntimeError("the endpoint is not open: use it in `async with`")
        return self._open

    def _drain(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                data, sender = sock.recvfrom(_LONGEST)
            except OSError:
                return  # empty; or an earlier datagram met an ICMP error: it was lost
            self._receive(data, Address(*sender[:2]))

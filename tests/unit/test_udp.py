"""The kit's UDP socket, on loopback: it takes what comes and knows what did not fit."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from apps.kit.address import Address
from apps.kit.udp import UdpEndpoint

LOOPBACK = Address("127.0.0.1", 0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  the kernel's counter has no event
            await asyncio.sleep(0.001)


def test_datagrams_come_whole_and_with_their_sender() -> None:
    async def main() -> None:
        got: list[tuple[bytes, Address]] = []
        async with (
            UdpEndpoint(LOOPBACK, lambda *datagram: got.append(datagram)) as receiver,
            UdpEndpoint(LOOPBACK, lambda *_: None) as sender,
        ):
            payloads = [b"", b"x", b"y" * 9000, *(bytes([n]) for n in range(200))]
            for payload in payloads:
                sender.send(payload, receiver.address)
            await until(lambda: len(got) == len(payloads))
            assert got == [(payload, sender.address) for payload in payloads]

    asyncio.run(main())


def test_what_does_not_fit_the_buffer_is_counted() -> None:
    async def main() -> None:
        got: list[bytes] = []
        endpoint = UdpEndpoint(LOOPBACK, lambda data, _: got.append(data), receive_buffer=4096)
        async with endpoint as receiver:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(100):
                    sender.sendto(b"z" * 512, receiver.address)
            assert receiver.queue.used > 0
            assert receiver.queue.dropped > 0
            await until(lambda: len(got) + receiver.queue.dropped == 100)
            assert receiver.queue.used == 0

    asyncio.run(main())


def test_sending_where_nobody_can_be_reached_is_a_loss_and_no_error() -> None:
    async def main() -> None:
        async with UdpEndpoint(LOOPBACK, lambda *_: None) as sender:
            sender.send(b"x" * 70000, Address("127.0.0.1", 9))
            sender.send(b"to nobody", Address("127.0.0.1", 9))

    asyncio.run(main())


def test_a_taken_port_is_an_error_and_leaves_no_socket() -> None:
    async def main() -> None:
        async with UdpEndpoint(LOOPBACK, lambda *_: None) as first:
            with pytest.raises(OSError, match="in use"):
                await UdpEndpoint(first.address, lambda *_: None).__aenter__()
        with pytest.raises(RuntimeError, match="not open"):
            first.send(b"", LOOPBACK)

    asyncio.run(main())

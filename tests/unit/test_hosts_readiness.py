"""Who answers as an SSH server does, over real sockets on the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lab.hosts import readiness


@asynccontextmanager
async def server(greeting: bytes) -> AsyncIterator[tuple[int, asyncio.Queue[bytes]]]:
    """A server that sends `greeting` and keeps what it is told; its port and the told lines."""
    told: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        told.put_nowait(await reader.readline())
        writer.close()
        await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], told


@pytest.mark.parametrize(
    ("greeting", "is_ssh"),
    [(b"SSH-2.0-OpenSSH_9.2p1\r\n", True), (b"220 mail ready\r\n", False), (b"", False)],
)
def test_only_an_ssh_banner_counts(greeting: bytes, is_ssh: bool) -> None:
    async def ask() -> bool:
        async with server(greeting) as (port, _):
            return await readiness.answers("127.0.0.1", port)

    assert asyncio.run(ask()) is is_ssh


def test_the_server_gets_a_greeting_too() -> None:
    async def ask() -> bytes:
        async with server(b"SSH-2.0-x\r\n") as (port, told):
            await readiness.answers("127.0.0.1", port)
            async with asyncio.timeout(5):
                return await told.get()

    assert asyncio.run(ask()) == b"SSH-2.0-distlab\r\n"


def test_a_closed_port_is_no_server() -> None:
    async def ask() -> bool:
        async with server(b"") as (port, _):
            pass
        return await readiness.answers("127.0.0.1", port)

    assert asyncio.run(ask()) is False

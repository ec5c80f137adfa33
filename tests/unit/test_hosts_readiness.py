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


def waited_for(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, float | None], seconds: float
) -> tuple[list[str], dict[str, str]]:
    """Wait for hosts that answer after so many seconds, or never: who answered, and who failed."""

    async def greeting(address: str) -> None:
        await asyncio.sleep(3600 if (after := answers[address]) is None else after)

    monkeypatch.setattr(readiness, "_greeting", greeting)
    monkeypatch.setattr(readiness, "_LIFE_SECONDS", 0.01)
    arrived: list[str] = []
    hosts = {host: host for host in answers}
    failed = asyncio.run(readiness.wait(hosts, seconds, gone=set, arrived=arrived.append))
    return arrived, failed


def test_hosts_that_come_one_after_another_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd: dict[str, float | None] = {f"n{number}": 0.2 * number for number in range(1, 8)}
    assert waited_for(monkeypatch, crowd, seconds=1.0) == (list(crowd), {})


def test_one_that_never_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, failed = waited_for(monkeypatch, {"n1": 0.1, "n2": None}, seconds=0.3)
    assert (answered, failed) == (["n1"], {"n2": "no answer in 0.3 s"})

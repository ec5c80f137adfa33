"""TLS from end to end: one context given to each side, and everything else as without."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl

import pytest

from apps.kit import tcp
from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.outcome import Refused
from apps.kit.retry import Backoff
from apps.kit.tcp import FramedServer, Limits
from apps.kit.transport import TcpTransport
from apps.tcp_echo.server import complain, sessions
from tests.loopback import LOOPBACK, PATIENCE, Record, certified, free_port, run, until


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return certified(tmp_path_factory.mktemp("tls"))


def echo(tls: ssl.SSLContext) -> tuple[FramedServer, Record]:
    record = Record()
    return (
        FramedServer(
            LOOPBACK,
            sessions(65536),
            record.events,
            complain=complain,
            limits=Limits(drain=PATIENCE),
            tls=tls,
        ),
        record,
    )


def calling(address: Address, tls: ssl.SSLContext, retries: int = 0) -> Caller:
    return Caller(
        address,
        Record("client").events,
        timeout=PATIENCE,
        backoff=Backoff(retries),
        rng=random.Random(0),
        tls=tls,
    )


def test_an_echo_and_a_goodbye(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    having, trusting = contexts

    async def main() -> None:
        server, record = echo(having)
        async with server, calling(server.address, trusting) as caller:
            for text in (b"hello", b"x" * 60_000, b"again"):
                assert (await caller.call(text, idempotent=False)).endswith(b" " + text)
            assert len({e["peer"] for e in record.seen("recv")}) == 1, "over one connection"
            assert not record.seen("peer_error", "broken_off")

    run(main())


def test_a_server_that_nobody_vouches_for_is_refused(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    having, _ = contexts

    async def main() -> None:
        server, _ = echo(having)
        async with server, calling(server.address, ssl.create_default_context()) as caller:
            with pytest.raises(Refused, match=r"(?i)certificate.verify.failed"):
                await caller.call(b"hello", idempotent=True)

    run(main())


def test_who_speaks_no_tls_and_who_says_nothing_disturb_nobody(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    having, trusting = contexts
    monkeypatch.setattr(tcp, "_HANDSHAKE", 0.2)

    async def main() -> None:
        server, _ = echo(having)
        async with server, calling(server.address, trusting, retries=20) as caller:
            with socket.create_connection(server.address) as silent:
                reader, writer = await asyncio.open_connection(*server.address)
                writer.write(b"no TLS\n")
                with contextlib.suppress(ConnectionError):
                    await reader.read()
                writer.transport.abort()
                assert (await caller.call(b"hello", idempotent=True)).endswith(b" hello")
                silent.setblocking(False)
                assert await asyncio.get_running_loop().sock_recv(silent, 1) == b""

    run(main())


def test_a_complaint_can_be_read(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    having, trusting = contexts

    async def main() -> None:
        server, _ = echo(having)
        async with server:
            reader, writer = await asyncio.open_connection(*server.address, ssl=trusting)
            writer.write(b"x" * 200_000)
            assert await reader.readline() == b"error: frame too long: the limit is 65536 bytes\n"
            writer.transport.abort()

    run(main())


def test_a_server_that_stops_closes_the_connections(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    having, trusting = contexts

    async def main() -> None:
        server, _ = echo(having)
        async with server:
            reader, writer = await asyncio.open_connection(*server.address, ssl=trusting)
            writer.write(b"hello\n")
            assert await reader.readline()
        assert await reader.read() == b""
        writer.close()

    run(main())


def test_nodes_speak_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    having, trusting = contexts

    async def main() -> None:
        addresses = {name: Address("127.0.0.1", free_port()) for name in ("a", "b")}
        records = {name: Record(node=name) for name in addresses}
        ends = {
            name: TcpTransport(
                name,
                here,
                {other: address for other, address in addresses.items() if other != name},
                records[name].events,
                tls=having,
                tls_dial=trusting,
            )
            for name, here in addresses.items()
        }
        got: list[tuple[str, bytes]] = []
        for end in ends.values():
            await end.open(lambda *message: got.append(message))
        ends["a"].send("b", b"hello")
        await until(lambda: got == [("a", b"hello")])
        ends["b"].send("a", b"back")
        await until(lambda: got[1:] == [("b", b"back")])
        for end in ends.values():
            await end.close()
        assert [record.seen() for record in records.values()] == [[], []]

    run(main())

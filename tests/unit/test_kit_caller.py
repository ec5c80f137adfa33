"""A caller that keeps asking: what it repeats, what it says is known, and whose answer it takes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from apps.kit import caller as kit
from apps.kit.address import Address
from apps.kit.caller import Caller, FramedConnection
from apps.kit.framing import Lines
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.retry import Backoff, Deadline, set_within
from apps.kit.tcp import Answer, FramedServer
from tests.loopback import LOOPBACK, PATIENCE, Record, free_port, reset, run, until

QUICK = Backoff(retries=3, first=0.001)
PATIENT = Backoff(retries=1000, first=0.005, longest=0.02)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter, list[bytes]], Awaitable[None]]


def calling(
    address: Address, *, timeout: float = PATIENCE, backoff: Backoff = QUICK, seed: int = 0
) -> Caller:
    events = Record("client").events
    return Caller(address, events, timeout=timeout, backoff=backoff, rng=random.Random(seed))


async def connect(address: Address, limit: int = 65536) -> FramedConnection:
    events = Record("client").events
    return await FramedConnection.open(
        address, Deadline(PATIENCE), events, framing=lambda: Lines(limit)
    )


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[tuple[Address, list[bytes]]]:
    """Serve each connection by a script; give where, and the lines that came."""
    asked: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await script(reader, writer, asked)
        writer.transport.abort()

    server = await asyncio.start_server(accept, *LOOPBACK)
    try:
        yield Address(*server.sockets[0].getsockname()[:2]), asked
    finally:
        server.close()


async def echo(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes]
) -> None:
    while line := await reader.readline():
        asked.append(line)
        writer.write(line)


async def hang_up(
    reader: asyncio.StreamReader, _: asyncio.StreamWriter, asked: list[bytes]
) -> None:
    asked.append(await reader.readline())


async def second_time(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes]
) -> None:
    asked.append(await reader.readline())
    if len(asked) > 1:
        writer.write(asked[-1])
        await reader.read()


def echoes(address: Address) -> FramedServer:
    def session(_peer: str) -> Answer:
        async def answer(line: bytes) -> bytes:
            return line

        return answer

    return FramedServer(address, session, Record().events)


# What is known


@pytest.mark.parametrize("idempotent", [True, False])
def test_what_was_never_heard_is_refused(idempotent: bool) -> None:
    async def main() -> None:
        port = free_port()
        async with calling(Address("127.0.0.1", port)) as caller:
            with pytest.raises(Refused, match=f"127.0.0.1:{port}: .*[Cc]onnect"):
                await caller.call(b"x", idempotent=idempotent)

    run(main())


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "300.0.0.1.", "\udcff"])
def test_a_name_that_nobody_has_is_refused(host: str) -> None:
    async def main() -> None:
        async with calling(Address(host, 1), backoff=Backoff(retries=0)) as caller:
            with pytest.raises(Refused):
                await caller.call(b"x", idempotent=True)

    run(main())


def test_who_does_not_accept_in_time_is_refused() -> None:
    async def main() -> None:
        with socket.socket() as full, contextlib.ExitStack() as waiting:
            full.bind(LOOPBACK)
            full.listen(0)
            address = Address(*full.getsockname())
            for _ in range(3):  # fill the queue of connections that nobody accepts
                sock = waiting.enter_context(socket.socket())
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    sock.connect(address)
            async with calling(address, timeout=0.1) as caller:
                with pytest.raises(Refused, match="did not accept a connection in time"):
                    await caller.call(b"x", idempotent=True)

    run(main())


def test_what_was_sent_and_not_answered_is_unknown_and_not_repeated() -> None:
    async def main() -> None:
        async with scripted(hang_up) as (address, asked), calling(address) as caller:
            with pytest.raises(Unknown, match="the request may have been applied"):
                await caller.call(b"x", idempotent=False)
            assert asked == [b"x\n"]

    run(main())


def test_it_is_repeated_as_often_as_allowed_where_that_does_no_harm() -> None:
    async def main() -> None:
        async with scripted(hang_up) as (address, asked), calling(address) as caller:
            with pytest.raises(Unknown):
                await caller.call(b"x", idempotent=True)
            assert asked == [b"x\n"] * (1 + QUICK.retries)

    run(main())


def test_a_repetition_may_succeed() -> None:
    async def main() -> None:
        async with scripted(second_time) as (address, asked), calling(address) as caller:
            assert await caller.call(b"x", idempotent=True) == b"x"
            assert asked == [b"x\n"] * 2

    run(main())


def test_a_later_refusal_does_not_make_known_what_was_unknown() -> None:
    async def main() -> None:
        async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readline())
            server.close()
            writer.transport.abort()

        asked: list[bytes] = []
        server = await asyncio.start_server(die, *LOOPBACK)
        async with calling(Address(*server.sockets[0].getsockname())) as caller:
            with pytest.raises(Unknown):
                await caller.call(b"x", idempotent=True)
        assert asked == [b"x\n"]

    run(main())


def test_a_silent_connection_costs_one_attempt_and_not_the_call() -> None:
    async def silent_first(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes]
    ) -> None:
        asked.append(await reader.readline())
        if len(asked) > 1:
            writer.write(asked[-1])
        await reader.read()

    async def main() -> None:
        async with scripted(silent_first) as (address, asked):
            caller = Caller(address, Record("client").events, timeout=PATIENCE, attempt=0.05)
            async with caller:
                assert await caller.call(b"hello", idempotent=True) == b"hello"
            assert len(asked) > 1

    run(main())


def test_no_answer_in_time_is_unknown() -> None:
    async def silence(reader: asyncio.StreamReader, _: Any, asked: list[bytes]) -> None:
        asked.append(await reader.readline())
        await reader.read()

    async def main() -> None:
        async with scripted(silence) as (address, asked):
            connection = await connect(address)
            with pytest.raises(Unknown, match="no answer in time"):
                await connection.call(b"x", Deadline(0.05))
            await until(lambda: asked == [b"x\n"])
            await connection.close()

    run(main())


@pytest.mark.parametrize(
    ("frame", "why"), [(b"a\nb", "cannot hold a line break"), (b"x" * 70000, "frame too long")]
)
def test_what_cannot_be_sent_is_rejected_once(frame: bytes, why: str) -> None:
    async def main() -> None:
        async with scripted(echo) as (address, asked), calling(address) as caller:
            with pytest.raises(Rejected, match=why):
                await caller.call(frame, idempotent=True)
            assert await caller.call(b"x", idempotent=False) == b"x"
            assert asked == [b"x\n"]

    run(main())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"x" * 70000, "the answer broke the framing: frame too long"),
        (b"half", "connection closed by the peer"),
    ],
)
def test_an_answer_that_is_none_is_unknown(answer: bytes, why: str) -> None:
    async def broken(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: list[bytes]
    ) -> None:
        await reader.readline()
        writer.write(answer)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    async def main() -> None:
        async with scripted(broken) as (address, _), calling(address) as caller:
            with pytest.raises(Unknown, match=why):
                await caller.call(b"x", idempotent=False)

    run(main())


# Whose answer it is


def test_the_answer_to_a_cancelled_call_is_not_the_next_ones() -> None:
    async def late(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes]
    ) -> None:
        while line := await reader.readline():
            asked.append(line)
            if line == b"slow\n":
                await asyncio.sleep(0.05)
            writer.write(line)

    async def main() -> None:
        async with scripted(late) as (address, asked), calling(address) as caller:
            assert await caller.call(b"first", idempotent=False) == b"first"
            slow = asyncio.create_task(caller.call(b"slow", idempotent=True))
            await until(lambda: b"slow\n" in asked)
            slow.cancel()
            await asyncio.wait([slow])
            for line in (b"a", b"b"):
                assert await caller.call(line, idempotent=False) == line
            assert asked == [b"first\n", b"slow\n", b"a\n", b"b\n"]

    run(main())


def test_calls_at_once_each_get_their_own_answer() -> None:
    lines = [str(number).encode() for number in range(50)]

    async def main() -> None:
        async with scripted(echo) as (address, _), calling(address) as caller:
            for _ in range(3):
                calls = (caller.call(line, idempotent=False) for line in lines)
                assert await asyncio.gather(*calls) == lines

    run(main())


def test_one_connection_serves_one_call_after_another() -> None:
    opened = 0

    async def count(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes]
    ) -> None:
        nonlocal opened
        opened += 1
        await echo(reader, writer, asked)

    async def main() -> None:
        async with scripted(count) as (address, _), calling(address) as caller:
            for _ in range(20):
                await caller.call(b"x", idempotent=False)
            assert opened == 1

    run(main())


def test_what_was_not_asked_is_no_answer() -> None:
    async def talkative(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes]
    ) -> None:
        line = await reader.readline()
        asked.append(line)
        writer.write(line + b"and more\n")
        await reader.read()

    async def main() -> None:
        async with scripted(talkative) as (address, _), calling(address) as caller:
            for line in (b"a", b"b", b"c"):
                assert await caller.call(line, idempotent=False) == line

    run(main())


def test_a_server_that_talks_without_end_fills_no_memory() -> None:
    poured = 0

    async def pour(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: list[bytes]
    ) -> None:
        nonlocal poured
        writer.write(await reader.readline())
        while True:
            writer.write(b"x\n" * 10_000)
            await writer.drain()
            poured += 20_000

    async def main() -> None:
        async with scripted(pour) as (address, _):
            connection = await connect(address)
            assert await connection.call(b"x", Deadline(PATIENCE)) == b"x"
            assert await set_within(connection._lost, PATIENCE)
            assert len(connection._frames) < 200_000
            assert not connection.usable
            await connection.close()

    run(main())


# Servers come and go


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async def main() -> None:
        first = echoes(LOOPBACK)
        async with first:
            address = first.address
            caller = calling(address)
            assert await caller.call(b"a", idempotent=False) == b"a"
        async with echoes(address), caller:
            assert await caller.call(b"b", idempotent=False) == b"b"

    run(main())


def test_nor_is_one_that_was_closed_while_the_loop_stood_still() -> None:
    """A person types for a minute, the server meanwhile closes: that call is not unknown."""
    typed = threading.Event()
    listening = socket.create_server(LOOPBACK)

    def serve() -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                connection.sendall(connection.recv(100))
            typed.set()

    async def main() -> None:
        async with calling(Address(*listening.getsockname())) as caller:
            assert await caller.call(b"a", idempotent=False) == b"a"
            assert typed.wait(PATIENCE)  # the loop stands still
            assert await caller.call(b"b", idempotent=False) == b"b"

    with listening:
        server = threading.Thread(target=serve)
        server.start()
        try:
            run(main())
        finally:
            server.join(PATIENCE)


def test_a_server_that_restarts_again_and_again_costs_no_call_that_may_be_repeated() -> None:
    async def main() -> None:
        address = Address("127.0.0.1", free_port())
        answered = [0] * 4
        over = False

        async def ask(number: int) -> None:
            async with calling(address, backoff=PATIENT, seed=number) as caller:
                while not over:
                    line = f"{number}/{answered[number]}".encode()
                    assert await caller.call(line, idempotent=True) == line
                    answered[number] += 1

        callers = asyncio.gather(*(ask(number) for number in range(len(answered))))
        for _ in range(5):
            async with echoes(address):
                before = list(answered)
                await until(lambda: all(a > b + 3 for a, b in zip(answered, before, strict=True)))  # noqa: B023
        async with echoes(address):
            over = True
            await callers

    run(main())


def test_a_connection_that_is_reset_at_once_is_refused_or_unknown() -> None:
    async def resetting(_: Any, writer: asyncio.StreamWriter, __: list[bytes]) -> None:
        reset(writer)

    async def main() -> None:
        async with scripted(resetting) as (address, _):
            for _ in range(30):
                async with calling(address, backoff=Backoff(retries=0)) as caller:
                    with pytest.raises((Refused, Unknown)):
                        await caller.call(b"x", idempotent=False)

    run(main())


def test_a_peer_that_does_not_say_goodbye_does_not_hold_the_end_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kit, "_GOODBYE", 0.05)

    async def main() -> None:
        with socket.create_server(LOOPBACK) as deaf:
            connection = await connect(Address(*deaf.getsockname()), limit=1 << 30)
            with pytest.raises(Unknown):  # more than the kernel takes stays in the buffer
                await connection.call(b"x" * (1 << 24), Deadline(0.05))
            await connection.close()
            await until(connection._lost.is_set)

    run(main())

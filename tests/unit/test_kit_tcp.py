"""A framed server and what the network brings: each peer costs itself its connection, no more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import pytest

from apps.kit import tcp
from apps.kit.address import Address
from apps.kit.framing import Lines
from apps.kit.tcp import Answer, FramedServer, Limits
from tests.loopback import LOOPBACK, PATIENCE, Record, reset, run, until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server that answers a line with the line; some lines it treats otherwise."""

    def __init__(self, *, limit: int = 100, **limits: Any) -> None:
        self.record = Record()
        self.asked: list[bytes] = []
        self.ended: list[str] = []
        self.may_answer = asyncio.Event()
        self.server = FramedServer(
            LOOPBACK,
            self._session,
            self.record.events,
            framing=lambda: Lines(limit),
            complain=lambda why: f"error: {why}".encode(),
            ended=self.ended.append,
            limits=Limits(**limits),
        )

    def _session(self, _peer: str) -> Answer:
        return self._answer

    async def _answer(self, line: bytes) -> bytes | None:
        self.asked.append(line)
        if line == b"wait":
            await self.may_answer.wait()
        elif line == b"raise":
            raise OSError(28, "No space left on device")
        elif line == b"too long":
            return b"x" * 101
        elif line == b"nothing":
            return None
        return line

    @contextlib.asynccontextmanager
    async def peer(self) -> AsyncIterator[Streams]:
        """Connect to it."""
        reader, writer = await asyncio.open_connection(*self.server.address)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def serves(self) -> None:
        """See that it answers somebody else, who may be slow to ask where patience is short."""
        async with asyncio.timeout(PATIENCE):
            said = b""
            while said != b"other":
                async with self.peer() as streams:
                    said = await ask(streams, b"other")


def served(test: Callable[[Echo], Awaitable[None]], **options: Any) -> None:
    """Run a test against a server, which at the end answers others, and leaves nothing behind."""

    async def main() -> None:
        echo = Echo(**options)
        async with echo.server:
            await test(echo)
            await until(lambda: len(echo.server._open) < echo.server._limits.connections)
            await echo.serves()

    run(main())


async def ask(streams: Streams, line: bytes) -> bytes:
    reader, writer = streams
    writer.write(line + b"\n")
    return (await reader.readline()).rstrip(b"\n")


# What comes in


def test_one_byte_at_a_time() -> None:
    async def test(echo: Echo) -> None:
        async with echo.peer() as (reader, writer):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"hello\r\nworld\n":
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            assert await reader.readline() == b"hello\n"
            assert await reader.readline() == b"world\n"

    served(test)


def test_who_ends_its_side_is_answered() -> None:
    async def test(echo: Echo) -> None:
        async with echo.peer() as (reader, writer):
            writer.write(b"one\ntwo\n")
            writer.write_eof()
            assert await reader.read() == b"one\ntwo\n"
        await until(lambda: len(echo.ended) == 1)

    served(test)


def test_resets_and_connections_gone_at_once_are_borne() -> None:
    async def test(echo: Echo) -> None:
        for before in (b"", b"half a line", b"a line\n", b"x" * 200, b"wait\n") * 10:
            async with echo.peer() as (_, writer):
                writer.write(before)
                reset(writer)
        echo.may_answer.set()
        await until(lambda: not echo.server._open)

    served(test)


def test_pipelined_frames_are_answered_in_order() -> None:
    lines = [str(number).encode() for number in range(5000)]

    async def test(echo: Echo) -> None:
        async with echo.peer() as (reader, writer):
            writer.write(b"\n".join(lines) + b"\n")
            assert [(await reader.readline()).strip() for _ in lines] == lines

    served(test)


def test_who_pipelines_without_end_keeps_nobody_waiting() -> None:
    async def test(echo: Echo) -> None:
        async with echo.peer() as (_, writer), echo.peer() as other:
            writer.write(b"x\n" * 100_000)
            await until(lambda: echo.asked)
            assert await ask(other, b"other") == b"other"
            assert len(echo.asked) < 50_000

    served(test)


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (b"x" * 1_000_000, b"error: frame too long: the limit is 100 bytes\n"),
        (b"y" * 101 + b"\n", b"error: frame too long: the limit is 100 bytes\n"),
        (b"half", b"error: stream ended inside a frame, after 4 bytes of it\n"),
    ],
)
def test_the_complaint_can_be_read_by_who_broke_the_framing(sent: bytes, complaint: bytes) -> None:
    async def test(echo: Echo) -> None:
        async with echo.peer() as (reader, writer):
            writer.write(sent)
            writer.write_eof()
            assert await reader.read() == complaint
        assert [e["error"].encode() for e in echo.record.seen("peer_error")] == [complaint[7:-1]]

    served(test)


@pytest.mark.parametrize("trickle", [b"", b"x"])
def test_silence_ends_after_a_while_even_where_bytes_trickle(trickle: bytes) -> None:
    async def test(echo: Echo) -> None:
        async with echo.peer() as (reader, writer):

            async def trickles() -> None:
                while True:
                    writer.write(trickle)
                    await asyncio.sleep(0.02)

            task = asyncio.create_task(trickles())
            assert await reader.readline() == b"error: idle: no whole frame for 0.1 s\n"
            task.cancel()

    served(test, idle=0.1)


def test_no_complaint_fits_a_limit_that_is_too_short_for_it() -> None:
    async def test(echo: Echo) -> None:
        async with echo.peer() as (reader, writer):
            writer.write(b"x" * 20)
            assert await reader.read() == b""

    served(test, limit=10)


# Crowds


async def all_read(peers: Iterable[Streams]) -> list[bytes]:
    return list(await asyncio.gather(*(reader.readline() for reader, _ in peers)))


def test_too_many_are_told_so_and_take_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_LINGER", 60.0)

    async def test(echo: Echo) -> None:
        async with contextlib.AsyncExitStack() as stack:

            async def connect(count: int) -> list[Streams]:
                return [await stack.enter_async_context(echo.peer()) for _ in range(count)]

            inside = await connect(3)
            assert [await ask(peer, b"in") for peer in inside] == [b"in"] * 3
            refused = await connect(3)
            assert await all_read(refused) == [b"error: busy: 3 are connected\n"] * 3
            unheard = await connect(5)
            assert await all_read(unheard) == [b""] * 5
            reset(inside[0][1])
            await until(lambda: len(echo.ended) == 1)
            # Those that were refused linger still, and must not stand in anybody's way.
            assert len(echo.server._open) == 5
            await echo.serves()
        assert len(echo.record.seen("peer_error")) == 3
        await until(lambda: not echo.server._open)
        assert len(echo.ended) == 4, "who had no session has no end"

    served(test, connections=3)


def test_a_flood_of_connections_leaves_nothing_behind() -> None:
    async def test(echo: Echo) -> None:
        async def one(number: int) -> None:
            with contextlib.suppress(ConnectionError):
                async with echo.peer() as (reader, writer):
                    writer.write(b"x" * number)
                    await reader.readline()

        for _ in range(4):
            await asyncio.gather(*(one(number) for number in range(60)))
        await until(lambda: not echo.server._open)

    served(test, connections=10, idle=0.05)


def slow(address: Address) -> socket.socket:
    """Connect with a small buffer, which is full soon if it is not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(address)
    return sock


def test_who_does_not_read_is_cut_off_and_what_it_was_owed_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "_LINGER", 0.1)

    async def test(echo: Echo) -> None:
        with slow(echo.server.address) as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            flood = asyncio.create_task(loop.sock_sendall(sock, (b"x" * 99 + b"\n") * 200_000))
            await until(lambda: echo.ended)
            await until(lambda: not echo.server._open)
            with contextlib.suppress(ConnectionError):
                await flood
        (event,) = echo.record.seen("broken_off")
        assert event["error"] == "the peer did not take its answer for 0.3 s"

    served(test, idle=0.3, connections=2)


def test_who_ends_its_side_and_reads_nothing_is_cut_off_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "_LINGER", 0.1)

    async def test(echo: Echo) -> None:
        with slow(echo.server.address) as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await loop.sock_sendall(sock, (b"x" * 99 + b"\n") * 200_000)
            sock.shutdown(socket.SHUT_WR)
            await until(lambda: echo.ended)
            await until(lambda: not echo.server._open)

    served(test, idle=0.2, connections=2)


# What goes wrong inside


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"raise", "No space left on device"),
        (b"too long", "the answer cannot be sent: frame too long: the limit is 100 bytes"),
        (b"wait", "no answer was found within 0.1 s"),
    ],
)
def test_what_is_not_known_is_not_called_an_error(line: bytes, told: str) -> None:
    async def test(echo: Echo) -> None:
        async with echo.peer() as streams:
            assert await ask(streams, b"before") == b"before"
            streams[1].write(line + b"\nafter\n")
            assert await streams[0].read() == b""
        (event,) = echo.record.seen("broken_off")
        assert told in event["error"]
        assert echo.asked == [b"before", line]

    served(test, answer=0.1)


def test_no_answer_is_an_answer() -> None:
    async def test(echo: Echo) -> None:
        async with echo.peer() as (reader, writer):
            writer.write(b"nothing\nsomething\n")
            assert await reader.readline() == b"something\n"
        seen = [(e["event"], e["bytes"]) for e in echo.record.seen("recv", "send")]
        assert seen == [("recv", 7), ("recv", 9), ("send", 9)]

    served(test)


# The end


def test_on_stop_calls_are_answered_and_idle_connections_closed() -> None:
    async def main() -> None:
        echo = Echo(drain=10.0)
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(echo.server)
            calling, idle, fresh, halfway, broken = [
                await stack.enter_async_context(echo.peer()) for _ in range(5)
            ]
            assert await ask(idle, b"hello") == b"hello"
            calling[1].write(b"wait\nnot any more\n")
            halfway[1].write(b"half")
            broken[1].write(b"x" * 101)
            assert await broken[0].readline()
            await until(lambda: b"wait" in echo.asked)
            await until(lambda: len(server._open) == 5)
            address = server.address
            stopped = asyncio.create_task(server.__aexit__(None, None, None))
            for reader, _ in (idle, fresh, halfway, broken):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            assert not stopped.done()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)
            echo.may_answer.set()
            assert await calling[0].read() == b"wait\n"
            await stopped
            assert not server._open
            stack.pop_all()
            for _, writer in (calling, idle, fresh, halfway, broken):
                writer.transport.abort()
        assert sorted(echo.asked) == [b"hello", b"wait"]
        assert len(echo.ended) == 5

    run(main())


def test_on_stop_what_takes_too_long_is_cut_off() -> None:
    async def main() -> None:
        echo = Echo(drain=0.05)
        async with echo.server:
            reader, writer = await asyncio.open_connection(*echo.server.address)
            writer.write(b"wait\n")
            await until(lambda: echo.asked)
        assert await reader.read() == b""
        writer.close()

    run(main())


def test_on_stop_an_answer_that_is_not_read_yet_still_arrives() -> None:
    async def main() -> None:
        echo = Echo(limit=9_000_000, drain=10.0)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(echo.server)
            sock = stack.enter_context(slow(echo.server.address))
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            line = b"x" * 8_000_000 + b"\n"
            await loop.sock_sendall(sock, line)
            await until(lambda: echo.record.seen("send"))
            stopped = asyncio.create_task(echo.server.__aexit__(None, None, None))
            got = 0
            while chunk := await loop.sock_recv(sock, 1 << 20):
                got += len(chunk)
            assert got == len(line)
            await stopped

    run(main())


def test_a_connection_that_comes_with_the_end_is_not_left_open() -> None:
    async def main() -> None:
        for _ in range(20):
            echo = Echo()
            async with echo.server:
                sock = socket.create_connection(echo.server.address)
                await asyncio.sleep(0)
            with sock:
                sock.settimeout(10)
                with contextlib.suppress(ConnectionResetError):
                    while await asyncio.to_thread(sock.recv, 1) != b"":
                        continue

    run(main())


def test_the_events_of_both_directions_have_names_of_their_own() -> None:
    async def test(echo: Echo) -> None:
        async with echo.peer() as streams:
            await ask(streams, b"a")
            await ask(streams, b"b")
            mine = "{}:{}".format(*streams[1].get_extra_info("sockname"))
        theirs = str(echo.server.address)
        assert [(e["event"], e["id"], e["peer"]) for e in echo.record.seen("recv", "send")] == [
            ("recv", f"{mine}>{theirs}#1", mine),
            ("send", f"{theirs}>{mine}#1", mine),
            ("recv", f"{mine}>{theirs}#2", mine),
            ("send", f"{theirs}>{mine}#2", mine),
        ]

    served(test)

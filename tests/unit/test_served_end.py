"""A served connection's end is told, however it ended."""

from __future__ import annotations

import asyncio
import io

import pytest

from apps.kit.events import Events
from apps.kit.tcp import Answer, FramedServer
from tests.loopback import LOOPBACK, reset


@pytest.mark.parametrize("how", ["half-close", "reset", "garbage"])
def test_the_owner_is_told_when_a_connection_is_gone(how: str) -> None:
    async def main() -> None:
        met: list[str] = []
        gone: list[str] = []
        told = asyncio.Event()

        def session(peer: str) -> Answer:
            met.append(peer)

            async def answer(line: bytes) -> bytes:
                return line

            return answer

        def end(peer: str) -> None:
            gone.append(peer)
            told.set()

        events = Events("p", "server", "n1", out=io.StringIO())
        async with FramedServer(LOOPBACK, session, events, ended=end) as server:
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            if how == "reset":
                reset(writer)
            elif how == "garbage":
                writer.write(b"x" * 100_000)
            else:
                writer.write_eof()
            async with asyncio.timeout(10):
                await told.wait()
            writer.close()
        assert gone == met

    asyncio.run(main())

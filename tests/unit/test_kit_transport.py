"""How nodes' messages cross the network: what arrives, from whom, and what is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping

import pytest

from apps.kit import transport as kit
from apps.kit.address import Address
from apps.kit.framing import LengthPrefixed
from apps.kit.transport import Peers, TcpTransport, Transport, UdpTransport
from tests.loopback import PATIENCE, Record, end_by_reset, free_port, reset, run, until

FRAMING = LengthPrefixed()


class End:
    """One node's end of a network, and all that it was told."""

    def __init__(self, kind: str, name: str, addresses: Mapping[str, Address]) -> None:
        self.record = Record(node=name)
        self.got: list[tuple[str, bytes]] = []
        peers = {other: address for other, address in addresses.items() if other != name}
        here, events = addresses[name], self.record.events
        self.transport: Transport = (
            UdpTransport(here, peers, events)
            if kind == "udp"
            else TcpTransport(name, here, peers, events)
        )

    def receive(self, sender: str, data: bytes) -> None:
        self.got.append((sender, data))

    async def __aenter__(self) -> End:
        await self.transport.open(self.receive)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.transport.close()

    async def hears(self, other: End, data: bytes) -> None:
        """Wait until something that the other says is heard; what it says may be lost."""
        name = other.record.events.node
        async with asyncio.timeout(PATIENCE):
            while (name, data) not in self.got:
                other.transport.send(self.record.events.node, data)
                await asyncio.sleep(0.005)


def places(*names: str) -> dict[str, Address]:
    return {name: Address("127.0.0.1", free_port()) for name in names}


@contextlib.asynccontextmanager
async def dialled(to: Address, name: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Dial a TCP transport, say this, and see what becomes of the connection."""
    reader, writer = await asyncio.open_connection(*to)
    writer.write(name)
    try:
        yield reader
    finally:
        reset(writer)


both = pytest.mark.parametrize("kind", ["udp", "tcp"])


@both
def test_messages_arrive_with_their_senders_name(kind: str) -> None:
    async def main() -> None:
        at = places("a", "b", "c")
        async with End(kind, "a", at) as a, End(kind, "b", at) as b, End(kind, "c", at) as c:
            await a.hears(b, b"from b")
            await a.hears(c, b"from c")
            await b.hears(a, b"x" * 60_000)
            assert {sender for sender, data in a.got if data == b"from b"} == {"b"}
            assert c.got == []

    run(main())


@both
def test_whoever_comes_back_is_heard_again(kind: str) -> None:
    async def main() -> None:
        at = places("a", "b")
        async with End(kind, "a", at) as a:
            for number in range(3):
                async with End(kind, "b", at) as b:
                    await a.hears(b, f"from b, {number}".encode())
                    await b.hears(a, f"from a, {number}".encode())

    run(main())


@both
def test_what_is_too_long_is_lost_and_said(kind: str) -> None:
    async def main() -> None:
        at = places("a", "b")
        async with End(kind, "a", at) as a, End(kind, "b", at) as b:
            a.transport.send("b", b"x" * (1 << 21))
            await b.hears(a, b"short")
            (event,) = a.record.seen("unsent")
            assert event["peer"] == "b"
            assert {data for _, data in b.got} == {b"short"}

    run(main())


@both
def test_a_port_that_is_taken_is_an_error_and_leaves_nothing(kind: str) -> None:
    async def main() -> None:
        at = places("a", "b")
        async with End(kind, "a", at):
            with pytest.raises(OSError, match=f"(?i){at['a'].port}.*") as error:
                await End(kind, "a", at).transport.open(lambda *_: None)
            assert "in use" in str(error.value)

    run(main())


def test_a_peer_that_has_no_address_is_named() -> None:
    with pytest.raises(OSError, match=r"the peer n2 cannot be found: 'a\.\.b' has no address"):
        Peers({"n1": Address("127.0.0.1", 1), "n2": Address("a..b", 2)})


# UDP


def test_datagrams_of_strangers_are_counted_and_ignored() -> None:
    async def main() -> None:
        at = places("a", "b")
        async with End("udp", "a", at) as a, End("udp", "b", at) as b:
            with socket.socket(type=socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"garbage", at["a"])
            await until(lambda: a.record.seen("stranger"))
            await a.hears(b, b"hello")
            assert a.record.seen("stranger")[0]["bytes"] == 7
            assert {data for _, data in a.got} == {b"hello"}

    run(main())


# TCP


def test_messages_arrive_once_and_in_order() -> None:
    async def main() -> None:
        at = places("a", "b")
        async with End("tcp", "a", at) as a, End("tcp", "b", at) as b:
            await b.hears(a, b"connected")
            del b.got[:]
            sent = [str(number).encode() for number in range(900)]
            for data in sent:
                a.transport.send("b", data)
            await until(lambda: b.got[-1:] == [("a", sent[-1])])
            assert [data for _, data in b.got if data != b"connected"] == sent

    run(main())


def test_what_does_not_fit_the_queue_is_lost_and_said() -> None:
    async def main() -> None:
        at = places("a", "b")
        async with End("tcp", "a", at) as a:
            for number in range(kit.QUEUE + 5):
                a.transport.send("b", str(number).encode())
            assert len(a.record.seen("unsent")) == 5
            async with End("tcp", "b", at) as b:
                await until(lambda: len(b.got) == kit.QUEUE)

    run(main())


@pytest.mark.parametrize(
    ("said", "event", "error"),
    [
        (FRAMING.encode(b"mallory"), "stranger", "calls itself 'mallory'"),
        (FRAMING.encode(b"a"), "stranger", "calls itself 'a'"),
        (FRAMING.encode(b"\xff" * 500), "stranger", "calls itself '\ufffd"),
        (b"\xff\xff\xff\xff", "peer_error", "frame too long"),
        (b"GET / HTTP/1.1\r\n\r\n", "peer_error", "frame too long"),
        (b"\0\0", "peer_error", "idle: no whole frame for"),
        (FRAMING.encode(b"b") + b"\xff\xff\xff\xff", "peer_error", "frame too long"),
    ],
)
def test_garbage_and_strangers_are_said_and_cut_off(
    monkeypatch: pytest.MonkeyPatch, said: bytes, event: str, error: str
) -> None:
    async def main() -> None:
        at = places("a", "b")
        async with End("tcp", "a", at) as a, End("tcp", "b", at) as b:
            await a.hears(b, b"before")
            if said == b"\0\0":
                monkeypatch.setattr(kit, "PATIENCE", 0.1)
            async with dialled(at["a"], said) as reader:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            monkeypatch.undo()
            assert error in a.record.seen(event)[0]["error"]
            await a.hears(b, b"after")
            assert {data for _, data in a.got} == {b"before", b"after"}

    run(main())


def test_many_that_say_no_name_stand_in_nobodys_way() -> None:
    async def main() -> None:
        at = places("a", "b")
        async with End("tcp", "a", at) as a, contextlib.AsyncExitStack() as stack:
            nameless = [
                await stack.enter_async_context(dialled(at["a"], b""))
                for _ in range(kit._NAMELESS + 5)
            ]
            for reader in nameless[-5:]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            del nameless
            await stack.aclose()
            async with End("tcp", "b", at) as b:
                await a.hears(b, b"hello")

    run(main())


def test_who_dials_anew_has_left_the_old_connection() -> None:
    async def main() -> None:
        at = places("a", "b")
        hello = FRAMING.encode(b"b")
        async with End("tcp", "a", at) as a, dialled(at["a"], hello) as first:
            await until(lambda: [c.name for c in a.transport._hearing] == ["b"])  # type: ignore[attr-defined]
            async with dialled(at["a"], hello + FRAMING.encode(b"anew")) as second:
                assert await first.read() == b""
                await until(lambda: a.got == [("b", b"anew")])
                assert not second.at_eof()

    run(main())


def test_a_peer_that_takes_nothing_is_given_up_and_dialled_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kit, "PATIENCE", 0.1)

    async def main() -> None:
        at = places("a", "b")
        with socket.create_server(at["b"]) as deaf:
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            async with End("tcp", "a", at) as a:
                first, _ = await loop.sock_accept(deaf)
                again = asyncio.create_task(loop.sock_accept(deaf))
                with first:
                    while not again.done():
                        a.transport.send("b", b"x" * 500_000)
                        await asyncio.wait([again], timeout=0.01)
                (await again)[0].close()

    run(main())


@pytest.mark.parametrize("turns", range(8))
def test_it_closes_while_a_peer_is_lost_in_the_middle_of_a_message(turns: int) -> None:
    async def main() -> None:
        at = places("a", "b")
        with socket.create_server(at["b"]) as deaf:
            deaf.setblocking(False)
            async with End("tcp", "a", at) as a:
                first, _ = await asyncio.get_running_loop().sock_accept(deaf)
                for _ in range(20):
                    a.transport.send("b", b"x" * 1_000_000)
                    await asyncio.sleep(0)
                end_by_reset(first)
                first.close()
                for _ in range(turns):
                    await asyncio.sleep(0)
                async with asyncio.timeout(PATIENCE):
                    await a.transport.close()

    run(main())

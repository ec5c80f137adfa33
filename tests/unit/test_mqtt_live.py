"""mqtt's session live over loopback, with a broker that does as it is told: what clients then know.

The real broker is met on the hosts; this one is silent, refuses, lies and falls away on demand.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from apps.kit.address import Address
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.mqtt.client import publish
from apps.mqtt.core import Message
from apps.mqtt.session import Session
from apps.mqtt.wire import Terms
from tests.loopback import PATIENCE, Record, free_port, run, until

CONNECT, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x10, 0x30, 0x40, 0x50, 0x60, 0x70
SUBSCRIBE = 0x80
HELLO = Message("t", b"hello", 1)


@dataclass
class Packet:
    """A packet of MQTT 3.1.1 or 5, as far as these tests look into it."""

    kind: int
    flags: int
    body: bytes

    @property
    def mid(self) -> bytes:
        """Its identifier."""
        if self.kind != PUBLISH:
            return self.body[:2]
        start = 2 + int.from_bytes(self.body[:2], "big")
        return self.body[start : start + 2]


@dataclass
class Puppet:
    """A broker that lets clients in (MQTT 5), and answers nothing else unless it is told to."""

    connack: bytes = b"\x20\x03\0\0\0"
    address: Address = field(default_factory=lambda: Address("127.0.0.1", free_port()))
    seen: list[Packet] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first, length = await reader.readexactly(2)
                if length > 127:
                    length += 128 * (await reader.readexactly(1))[0] - 128
                packet = Packet(first & 0xF0, first & 0x0F, await reader.readexactly(length))
                self.seen.append(packet)
                if packet.kind == CONNECT:
                    writer.write(self.connack)
        writer.close()

    def say(self, data: bytes) -> None:
        """Write to the client that came last."""
        self.writers[-1].write(data)

    def hang_up(self) -> None:
        """End its connection."""
        self.writers[-1].transport.abort()

    def of(self, kind: int) -> list[Packet]:
        """Give what came of a kind."""
        return [packet for packet in self.seen if packet.kind == kind]


@asynccontextmanager
async def served(puppet: Puppet) -> AsyncIterator[None]:
    server = await asyncio.start_server(puppet.serve, *puppet.address)
    try:
        yield
    finally:
        server.close()
        for writer in puppet.writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def meeting(
    record: Record, puppet: Puppet | None = None, version: str = "5", **more: Any
) -> AsyncIterator[tuple[Puppet, Session]]:
    """Give a broker, and a session with it."""
    broker = puppet or Puppet()
    session = Session(broker.address, terms(version), record.events, **more)
    async with served(broker), session:
        yield broker, session


def terms(version: str) -> Terms:
    """`kept` is MQTT 5, with a session that outlives the process."""
    return Terms("test", "5" if version == "kept" else version, resume=version == "kept")


def publishing(session: Session, record: Record) -> asyncio.Task[str]:
    return asyncio.create_task(publish(session, HELLO, record.events, PATIENCE))


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"", "success"), (b"\x10\0", "no matching subscribers")],
)
def test_confirmed_is_ok(answer: bytes, said: str) -> None:
    record = Record("publish")

    async def play() -> None:
        async with meeting(record) as (broker, session):
            asked = publishing(session, record)
            await until(lambda: broker.of(PUBLISH))
            body = broker.of(PUBLISH)[0].mid + answer
            broker.say(bytes([PUBACK, len(body)]) + body)
            assert await asked == said

    run(play())
    assert [e["event"] for e in record.seen("invoke", "send", "ok", "fail", "unknown")] == [
        "invoke",
        "send",
        "ok",
    ]


def test_refused_by_the_broker_is_rejected() -> None:
    record = Record("publish")

    async def play() -> None:
        async with meeting(record) as (broker, session):
            asked = publishing(session, record)
            await until(lambda: broker.of(PUBLISH))
            broker.say(b"\x40\x04" + broker.of(PUBLISH)[0].mid + b"\x97\0")
            with pytest.raises(Rejected, match="quota exceeded"):
                await asked

    run(play())


def test_silence_is_unknown() -> None:
    record = Record("publish")

    async def play() -> None:
        async with meeting(record) as (_, session):
            with pytest.raises(Unknown, match="not confirmed in time"):
                await session.publish(HELLO, 0.3)

    run(play())


@pytest.mark.parametrize("connack", [b"\x20\x03\0\x87\0", b"\x20\x03\0\x88\0", b""])
def test_not_let_in_is_refused(connack: bytes) -> None:
    record = Record("publish")

    async def play() -> None:
        async with meeting(record, Puppet(connack)) as (_, session):
            with pytest.raises(Refused):
                await session.publish(HELLO, 0.3)

    run(play())


def test_nobody_there_is_refused() -> None:
    record = Record("publish")

    async def play() -> None:
        nobody = Address("127.0.0.1", free_port())
        async with Session(nobody, terms("5"), record.events) as session:
            with pytest.raises(Refused, match="Connect call failed"):
                await session.publish(HELLO, 0.3)

    run(play())


def test_mqtt_5_sends_again_what_was_not_confirmed() -> None:
    record = Record("publish")

    async def play() -> None:
        async with meeting(record) as (broker, session):
            asked = publishing(session, record)
            await until(lambda: broker.of(PUBLISH))
            broker.hang_up()
            await until(lambda: len(broker.of(PUBLISH)) == 2)
            first, again = broker.of(PUBLISH)
            assert (first.flags, again.flags) == (0x02, 0x0A)  # DUP
            assert first.body == again.body
            broker.say(b"\x40\x02" + again.mid)
            assert await asked == "success"

    run(play())


@pytest.mark.parametrize("kept", [True, False])
def test_a_release_is_no_confirmation_once_the_session_is_forgotten(*, kept: bool) -> None:
    """The broker had the message, and confirms its release, whether it still has it or not."""
    record = Record("publish")

    async def play() -> None:
        async with meeting(record) as (broker, session):
            await session.connected(PATIENCE)
            asked = session.post(Message("t", b"hello", 2))
            await until(lambda: broker.of(PUBLISH))
            broker.say(b"\x50\x02" + broker.of(PUBLISH)[0].mid)
            await until(lambda: broker.of(PUBREL))
            broker.connack = b"\x20\x03\1\0\0" if kept else b"\x20\x03\0\0\0"
            broker.hang_up()
            if kept:
                await until(lambda: len(broker.of(PUBREL)) == 2)
                broker.say(b"\x70\x02" + broker.of(PUBREL)[1].mid)
                assert await asked == "success"
                return
            with pytest.raises(Unknown, match="forgotten the session"):
                await asked
            asked = session.post(HELLO)
            await until(lambda: len(broker.of(PUBLISH)) == 2)
            broker.say(b"\x40\x02" + broker.of(PUBLISH)[1].mid)
            assert await asked == "success"
            assert len(broker.of(PUBREL)) == 1

    run(play())


def test_mqtt_3_does_not_know_what_became_of_it() -> None:
    """Its session ended with the connection: to send it again could make it two."""
    record = Record("publish")

    async def play() -> None:
        async with meeting(record, Puppet(b"\x20\x02\0\0"), version="3.1.1") as (broker, session):
            asked = publishing(session, record)
            await until(lambda: broker.of(PUBLISH))
            broker.hang_up()
            with pytest.raises(Unknown, match="its session with it"):
                await asked
            await session.connected(PATIENCE)
            asked = publishing(session, record)
            await until(lambda: len(broker.of(PUBLISH)) == 2)
            broker.say(b"\x40\x02" + broker.of(PUBLISH)[1].mid)
            assert await asked == "success"

    run(play())


def test_never_more_under_way_than_the_broker_wants() -> None:
    """Not after a reconnect either: Mosquitto would close the connection (Receive Maximum)."""
    record = Record("publish")

    async def play() -> None:
        async with meeting(record, Puppet(b"\x20\x06\0\0\x03\x21\0\x02")) as (broker, session):
            await session.connected(PATIENCE)
            asked = [session.post(HELLO) for _ in range(5)]
            await until(lambda: len(broker.of(PUBLISH)) == 2)
            broker.hang_up()
            await until(lambda: len(broker.of(PUBLISH)) == 4)
            for confirmed in range(5):
                await until(lambda n=confirmed: len(broker.of(PUBLISH)) > n + 2 or n > 2)  # type: ignore[misc]
                packet = [*broker.of(PUBLISH)[2:]][confirmed]
                broker.say(b"\x40\x02" + packet.mid)
                await until(lambda n=confirmed: asked[n].done())  # type: ignore[misc]
            assert len(broker.of(PUBLISH)) == 7

    run(play())


def test_garbage_ends_a_connection_and_nothing_else() -> None:
    record = Record("publish")

    async def play() -> None:
        async with meeting(record) as (broker, session):
            for garbage in (b"\xff" * 50, b"\x30\x05\0\x09tAB", b"\x90\x01\0", b"\x00\x00"):
                await session.connected(PATIENCE)
                count = len(broker.of(CONNECT))
                broker.say(garbage)
                await until(lambda n=count: len(broker.of(CONNECT)) > n)  # type: ignore[misc]

    run(play())
    assert record.seen("disconnected")


class Shelf:
    """A receiver whose disk may be full."""

    def __init__(self) -> None:
        self.full = False
        self.held: list[bytes] = []
        self.had: list[bytes] = []

    def hold(self, _mid: int, message: Message) -> None:
        self.held.append(message.payload)

    def deliver(self, message: Message, _mid: int | None) -> None:
        self.had.append(message.payload)

    def settle(self) -> None:
        if self.full and (self.held or self.had):
            raise OSError("no space left")


@pytest.mark.parametrize(
    ("packet", "confirmed"),
    [(b"\x32\x07\0\x01t\0\x05\0x", PUBACK), (b"\x34\x07\0\x01t\0\x05\0x", PUBREC)],
)
def test_what_is_not_written_is_not_confirmed(packet: bytes, confirmed: int) -> None:
    record, shelf = Record("subscribe"), Shelf()

    async def play() -> None:
        async with meeting(record, receiver=shelf, version="kept") as (broker, session):
            await session.connected(PATIENCE)
            shelf.full = True
            broker.say(packet)
            await until(lambda: record.seen("disconnected"))
            shelf.full = False
            await until(lambda: len(broker.of(CONNECT)) == 2)
            await session.connected(PATIENCE)
            assert not broker.of(confirmed)
            broker.say(bytes([packet[0] | 0x08]) + packet[1:])
            await until(lambda: broker.of(confirmed))

    run(play())


def test_a_held_message_is_delivered_by_the_next_process() -> None:
    record, shelf = Record("subscribe"), Shelf()
    held = {5: Message("t", b"x", 2)}

    async def play() -> None:
        async with meeting(record, receiver=shelf, held=held, version="kept") as (broker, session):
            await session.connected(PATIENCE)
            for _ in range(2):
                broker.say(b"\x62\x02\0\x05")  # PUBREL, and again
            await until(lambda: len(broker.of(PUBCOMP)) == 2)

    run(play())
    assert shelf.had == [b"x"]


def test_a_subscription_that_is_refused_is_told() -> None:
    record = Record("subscribe")

    async def play() -> None:
        async with meeting(record, filters={"t": 1}, receiver=Shelf()) as (broker, session):
            asked = asyncio.create_task(session.subscribed(PATIENCE))
            await until(lambda: broker.of(SUBSCRIBE))
            broker.say(b"\x90\x04" + broker.of(SUBSCRIBE)[0].mid + b"\0\x87")
            with pytest.raises(Rejected, match="not authorized"):
                await asked

    run(play())


def test_what_cannot_be_is_rejected_at_once() -> None:
    record = Record("publish")

    async def play() -> None:
        puppet = Puppet(b"\x20\x08\0\0\x05\x27\0\0\x04\0")  # at most 1024 bytes
        with pytest.raises(Rejected, match="is no filter"):
            Session(puppet.address, terms("5"), record.events, filters={"a/#/b": 1})
        async with meeting(record, puppet) as (_, session):
            await session.connected(PATIENCE)
            for message, why in (
                (Message("t", b"x" * 1000, 1), "the broker takes 1024"),
                (Message("a/+", b"x", 1), "no topic"),
            ):
                with pytest.raises(Rejected, match=why):
                    session.post(message)

    run(play())

"""zeromq_reliable over real sockets and on a real disk: kills, strangers, torn tails."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.zeromq_reliable.client import Caller, Pirate, Traveller
from apps.zeromq_reliable.crew import Pace
from apps.zeromq_reliable.journal import Journal
from apps.zeromq_reliable.majordomo import Broker, BrokerLimits
from apps.zeromq_reliable.paranoid import CLIENTS, WORKERS, Queue, QueueLimits
from apps.zeromq_reliable.pirates import Patience
from apps.zeromq_reliable.shell import LONGEST, Shell
from apps.zeromq_reliable.titanic import Titanic, TitanicLimits
from apps.zeromq_reliable.worker import Majordomo, ParanoidPirate, Talk, Worker
from tests.loopback import Record, free_port, run, until

PACE = Pace(0.05, 4)
PATIENCE = Patience(timeout=10.0, attempt=0.5)
BRIEF = Patience(timeout=0.3, attempt=0.2)


def here() -> Address:
    return Address("127.0.0.1", free_port())


def broker_at(address: Address, record: Record) -> Shell:
    return Shell(Broker(PACE, BrokerLimits()), record.events, bind={"broker": address})


def worker_of(address: Address, record: Record, takes: float = 0.0) -> Shell:
    talks = {Talk(name, Majordomo(name), PACE): name for name in ("echo", "upper")}
    connect = dict.fromkeys(("echo", "upper"), address)
    return Shell(Worker(talks, takes), record.events, connect=connect)


@contextlib.asynccontextmanager
async def titanic_of(address: Address, path: Path, record: Record) -> AsyncIterator[Shell]:
    with Journal(path) as journal:
        limits = TitanicLimits(sockets=2, lanes=2, attempt=0.5)
        core = Titanic(PACE, limits, journal.values, random.Random(1))
        connect = dict.fromkeys(core.sockets, address)
        async with Shell(core, record.events, connect=connect, journal=journal) as shell:
            yield shell


def test_pirates_are_answered_while_their_workers_come_and_go() -> None:
    async def main() -> None:
        record, front, back = Record(), here(), here()
        queue = Shell(
            Queue(PACE, QueueLimits()), record.events, bind={CLIENTS: front, WORKERS: back}
        )

        def pirate() -> Shell:
            talk = Talk(WORKERS, ParanoidPirate(), PACE)
            return Shell(Worker({talk: "echo"}), record.events, connect={WORKERS: back})

        async with queue, Pirate(front, record.events, PATIENCE) as client:
            async with pirate():
                assert await client.ask("one") == "one"
            asking = asyncio.create_task(client.ask("two"))
            await until(lambda: len(record.seen("recv")) > 4)
            async with pirate():
                assert await asking == "two"
        assert [e["event"] for e in record.seen("ok", "fail", "unknown")] == ["ok", "ok"]
        sent = {e["id"] for e in record.seen("send")}
        assert {e["id"] for e in record.seen("recv")} <= sent

    run(main())


def test_a_late_reply_is_not_taken_for_the_one_that_is_waited_for() -> None:
    async def main() -> None:
        record = Record()
        with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as queue:
            port = queue.bind_to_random_port("tcp://127.0.0.1")
            pirate = Pirate(Address("127.0.0.1", port), record.events, PATIENCE)
            async with pirate as client:
                asking = asyncio.create_task(client.ask("one"))
                first, again = [await queue.recv_multipart() for _ in range(2)]
                await queue.send_multipart([*first[:-1], b"late"])
                await asyncio.sleep(0.1)
                assert not asking.done()
                await queue.send_multipart(again)
                assert await asking == "one"

    run(main())


def test_a_call_outlives_its_broker_and_its_worker() -> None:
    async def main() -> None:
        record, address = Record(), here()
        async with Caller(address, record.events, PATIENCE) as client:
            async with broker_at(address, record), worker_of(address, record):
                assert await client.call("upper", "one") == "ONE"
                assert await client.find("echo")
                assert not await client.find("tea")
            asking = asyncio.create_task(client.call("echo", "two"))
            async with worker_of(address, record), broker_at(address, record):
                assert await asking == "two"

    run(main())


def test_a_client_says_what_it_knows() -> None:
    async def main() -> None:
        record, address = Record(), here()
        async with Caller(address, record.events, BRIEF) as client:
            with pytest.raises(Refused, match="Nothing was sent"):
                await client.call("echo", "one")
            async with broker_at(address, record):
                with pytest.raises(Unknown, match="may have been done"):
                    await client.call("echo", "two")
                with pytest.raises(Rejected, match="no service name"):
                    await client.call("e cho", "three")
                with pytest.raises(Rejected, match="too long"):
                    await client.call("echo", "x" * 70_000)

    run(main())


def test_titanic_keeps_what_it_gave_a_ticket_for(tmp_path: Path) -> None:
    async def main() -> None:
        record, address, path = Record(), here(), tmp_path / "log"
        async with broker_at(address, record), Traveller(address, record.events, PATIENCE) as one:
            async with titanic_of(address, path, record):
                tickets = [await one.store("upper", text) for text in ("a", "b")]
            async with titanic_of(address, path, record), worker_of(address, record):
                assert [await one.fetch(ticket) for ticket in tickets] == ["A", "B"]
                assert await one.fetch(tickets[0]) == "A"
                for ticket in tickets:
                    await one.close(ticket)
                with pytest.raises(Rejected, match="400"):
                    await one.fetch(tickets[0])
                assert await one.travel("echo", "c") == "c"
        with Journal(path) as journal:
            assert journal.values == {}

    run(main())


def test_strangers_at_the_brokers_port_harm_nobody() -> None:
    async def main() -> None:
        record, address = Record(), here()
        async with (
            broker_at(address, record),
            worker_of(address, record),
            Caller(address, record.events, PATIENCE) as client,
        ):
            await say(address, b"GET / HTTP/1.0\r\n\r\n" * 100)
            await say(address, b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + b"\0" * 100)
            context = zmq.asyncio.Context()
            with context.socket(zmq.DEALER) as stranger:
                stranger.linger = 0
                stranger.connect(f"tcp://{address}")
                for frames in (
                    [b"garbage"],
                    [b""] * 100,
                    [b"", b"MDPW01", b"\7"],
                    [b"", b"MDPC01", b"echo", *[b"x" * 60_000] * (1 + LONGEST // 60_000)],
                    [b"", b"MDPW01", b"\3", b"c", b"", b"hi"],
                ):
                    await stranger.send_multipart(frames)
                assert await stranger.recv_multipart() == [b"", b"MDPW01", b"\5"]
                await stranger.send_multipart([b"", b"MDPC01", b"echo", b"x" * 70_000])
            context.term()
            assert await client.call("echo", "still here") == "still here"
            assert len(record.seen("refused")) >= 5

    async def say(address: Address, data: bytes) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(data)
        with contextlib.suppress(OSError):
            await reader.read(1)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    run(main())


class TestJournal:
    """The disk."""

    def test_what_was_put_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with Journal(path) as journal:
            journal.put([("a", 1), ("b", ["\x00\xff"])])
            journal.put([("a", None), ("c", {"d": None})])
        with Journal(path) as journal:
            assert journal.values == {"b": ["\x00\xff"], "c": {"d": None}}
            assert journal.repaired == 0

    @pytest.mark.parametrize("kept", [0, 1, 9, 10, -1])
    def test_a_torn_tail_is_cut_off(self, tmp_path: Path, kept: int) -> None:
        path = tmp_path / "log"
        with Journal(path) as journal:
            journal.put([("a", 1)])
            good = journal.length
            journal.put([("b", 2)])
        data = path.read_bytes()
        torn = data[good:][:kept]
        path.write_bytes(data[:good] + torn)
        with Journal(path) as journal:
            assert journal.values == {"a": 1}
            assert journal.repaired == len(torn)
            journal.put([("c", 3)])
        with Journal(path) as journal:
            assert journal.values == {"a": 1, "c": 3}

    def test_a_damaged_file_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with Journal(path) as journal:
            journal.put([("a", 1), ("b", 2)])
        data = path.read_bytes()
        path.write_bytes(b"0" + data[1:])
        with pytest.raises(ValueError, match="damaged at byte 0"):
            Journal(path)
        assert path.read_bytes() == b"0" + data[1:]

    def test_what_is_gone_takes_no_room_for_long(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with Journal(path, small=1000) as journal:
            journal.put([("kept", "x" * 100)])
            for number in range(50):
                journal.put([(str(number), "y" * 100)])
                journal.put([(str(number), None)])
            assert journal.length <= 1200
            assert path.stat().st_size == journal.length
        with Journal(path) as journal:
            assert journal.values == {"kept": "x" * 100}

    def test_a_write_that_fails_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        path = tmp_path / "log"
        with Journal(path) as journal:
            journal.put([("a", 1)])
            with monkeypatch.context() as patch:
                patch.setattr("os.fsync", fail)
                with pytest.raises(OSError, match="No space"):
                    journal.put([("b", 2)])
            journal.put([("c", 3)])
        with Journal(path) as journal:
            assert journal.values == {"a": 1, "c": 3}

"""zeromq: what stands in the frames, what is counted, the claims, and all patterns on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket as net
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest
import zmq
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.address import Address
from apps.kit.claims import Event
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.zeromq import Bounds, asynchronous
from apps.zeromq import claims, synchronised, wire, zmtp
from apps.zeromq.__main__ import cli
from apps.zeromq.broker import broker
from apps.zeromq.core import Batches, Tally, sum_of_squares
from apps.zeromq.forwarder import LastValues, forwarder
from apps.zeromq.publisher import Pace, publish
from apps.zeromq.request import Requester
from apps.zeromq.server import replier, server
from apps.zeromq.sink import sink
from apps.zeromq.subscriber import subscriber
from apps.zeromq.ventilator import Plan, Ventilator
from apps.zeromq.wire import Garbled, Result, Task, Update
from apps.zeromq.worker import worker
from benchmarks import zmq_floors
from tests.loopback import PATIENCE, Record, free_port, run, until

BOUNDS = Bounds()

# The frames

words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=50)
numbers = st.integers(0, 10**15 - 1)
within = st.integers(1, wire.MOST_TASKS).flatmap(
    lambda of: st.tuples(st.integers(1, of), st.just(of))
)


@given(st.builds(Update, words, numbers, words, st.text(max_size=99)))
def test_an_update_is_read_as_it_was_written(update: Update) -> None:
    assert Update.decode(update.encode()) == update


@given(words, within, st.integers(0, wire.LONGEST_TASK))
def test_a_task_is_read_as_it_was_written(batch: str, place: tuple[int, int], work: int) -> None:
    task = Task(batch, *place, work)
    assert Task.decode(task.encode()) == task


@given(words, within, words, numbers)
def test_a_result_is_read_as_it_was_written(
    batch: str, place: tuple[int, int], node: str, square: int
) -> None:
    result = Result(batch, *place, node, square)
    assert Result.decode(result.encode()) == result


@given(st.binary(max_size=99) | st.lists(words | numbers.map(str)).map(" ".join).map(str.encode))
def test_what_is_no_message_is_garbled_and_nothing_worse(frame: bytes) -> None:
    for kind in (Update, Task, Result):
        with contextlib.suppress(Garbled):
            kind.decode(frame)


@pytest.mark.parametrize("frame", [b"b 0 3 1", b"b 4 3 1", b"b 1 2000000 1", b"b 1 3 1001"])
def test_a_task_that_cannot_be_is_garbled(frame: bytes) -> None:
    with pytest.raises(Garbled, match="no task"):
        Task.decode(frame)


def test_a_reply_brings_the_id_back() -> None:
    assert wire.reply("n1", [b"hi"]) == [b"n1 hi"]
    assert wire.reply("n1", [b"hi", b"id"]) == [b"n1 hi", b"id"]


@pytest.mark.parametrize("frames", [[b"x" * 60_001], [b"a", b"b" * 201], [b"a", b"b", b"c"]])
def test_a_request_that_cannot_be_answered_is_told_why(frames: list[bytes]) -> None:
    assert wire.reply("n1", frames)[0].startswith(b"error: ")


def test_the_id_is_found_behind_an_envelope() -> None:
    assert wire.id_of([b"\0abc", b"", b"text", b"id"]) == "id"
    assert wire.id_of([b"text", b"id"]) == "id"
    for frames in ([b"text"], [b"\0abc", b"", b"text"], [b""], [], [b"", b""]):
        assert wire.id_of(frames) is None


# What is counted


@given(st.lists(st.integers(1, 30)).map(sorted))
def test_a_tally_knows_what_did_not_come(came: list[int]) -> None:
    tally = Tally()
    for number in came:
        tally.take(number)
    new = set(came)
    assert (tally.received, tally.copies, tally.late) == (len(new), len(came) - len(new), 0)
    assert tally.missed == (min(new) - 1 if new else 0)
    assert tally.missed + tally.lost == (max(new) - len(new) if new else 0)


def test_what_comes_behind_a_later_one_is_late() -> None:
    tally = Tally()
    assert [tally.take(number) for number in (5, 7, 6, 7, 8)] == [True, True, False, False, True]
    assert (tally.missed, tally.lost, tally.late, tally.copies) == (4, 1, 1, 1)


@given(st.integers(1, 60), st.randoms(use_true_random=False))
def test_a_batch_counts_each_task_once_in_any_order(of: int, rng: random.Random) -> None:
    batches, come = Batches(3), [*range(1, of + 1), *(rng.randint(1, of) for _ in range(9))]
    rng.shuffle(come)
    complete = [batches.take("b", n, of, "n1", n**2).complete for n in come]
    assert complete[-1]
    report = batches.report("b")
    assert (report["total"], report["copies"]) == (sum_of_squares(of), 9)
    assert report["by"] == {"n1": of}


def test_a_sink_forgets_the_oldest_batch() -> None:
    batches = Batches(2)
    for name in "abc":
        batches.take(name, 1, 1, "n1", 1)
    assert [batches.report(name)["tasks"] for name in "abc"] == [0, 1, 1]


def test_a_batch_has_one_size() -> None:
    batches = Batches(2)
    batches.take("a", 1, 5, "n1", 1)
    with pytest.raises(ValueError, match="a has 5 tasks, not 6"):
        batches.take("a", 1, 6, "n1", 1)


def test_last_values_are_bounded_and_found_by_their_beginning() -> None:
    last = LastValues(2)
    for topic in ("a.x", "b", "a.x", "a.y"):
        last.keep(topic, f"{topic} 1".encode())
    assert last.matching(b"") == [b"a.x 1", b"a.y 1"]
    assert last.matching(b"a.y") == [b"a.y 1"]


# The claims


def event(name: str, node: str = "n1", component: str = "client", **fields: Any) -> Event:
    return {"event": name, "node": node, "component": component, "t": 0.0, **fields}


def ask(op: str, text: str, end: str = "ok", result: str = "", **times: float) -> list[Event]:
    invoked = event("invoke", op=op, f="ask", value=text)
    ended = event(end, op=op, f="ask", value=result or text)
    return [{**invoked, "t": times.get("at", 0.0)}, {**ended, "t": times.get("until", 1.0)}]


def test_an_answer_of_another_request_is_found() -> None:
    assert claims.own_answers(ask("1", "a")).holds
    found = claims.own_answers([*ask("1", "a"), *ask("2", "b", result="a")])
    assert (found.holds, len(found.witness)) == (False, 2)
    assert claims.own_answers([]).holds is None


def test_a_request_taken_by_two_is_found() -> None:
    taken = [event("recv", node, "replier", id="1?back") for node in ("n1", "n2")]
    assert claims.taken_once(taken[:1]).holds
    assert claims.taken_once(taken).holds is False


@pytest.mark.parametrize(
    ("told", "holds"),
    [
        ({"tasks": 3, "total": 14, "copies": 0}, True),
        ({"tasks": 3, "total": 15, "copies": 0}, False),
        ({"tasks": 4, "total": 14, "copies": 0}, False),
        ({"tasks": 3, "total": 14, "copies": 1}, False),
    ],
)
def test_a_wrong_total_is_found(told: dict[str, int], *, holds: bool) -> None:
    asked = event("invoke", op="1", f="ventilate", value={"batch": "b", "count": 3})
    found = claims.totals_are_right([asked, event("ok", op="1", f="ventilate", value=told)])
    assert found.holds is holds


def test_a_broadcast_that_somebody_has_not_whole_is_found() -> None:
    begun = [
        event("together", stream="s", subscribers=["n1", "n2"]),
        event("summary", stream="s", published=9),
    ]
    heard = [tally("n1", stream="s", received=9), tally("n2", stream="s", received=9)]
    assert claims.began_together([*begun, *heard]).holds
    assert claims.began_together([*begun, heard[0], tally("n2", stream="s", received=8)]).holds is (
        False
    )
    assert claims.began_together([*begun, heard[0]]).holds is None
    assert claims.began_together([]).holds is None


def tally(node: str, **counts: Any) -> Event:
    none = {"first": 1, "last": 9, "received": 9, "missed": 0, "lost": 0, "late": 0, "copies": 0}
    return event("tally", node, "subscriber", **{"stream": "s", "topic": "w", **none, **counts})


def test_updates_out_of_order_are_found() -> None:
    assert claims.in_order([tally("n1", lost=3)]).holds
    assert claims.in_order([tally("n1"), tally("n2", late=1)]).holds is False


def test_losses_are_shown_with_their_numbers() -> None:
    assert "first 4 of 9" in claims.slow_joiner([tally("n1", missed=4)]).detail
    assert claims.slow_joiner([tally("n1")]).holds is None
    found = claims.slow_subscriber([tally("n2"), tally("n1", received=2, lost=7)], "n1")
    assert found.detail == "of 9 n1 has 2 and lost 7; n2 lost 0"
    assert claims.slow_subscriber([tally("n2", lost=1)], "n1").holds is None


def test_a_request_is_stuck_if_later_ones_were_answered() -> None:
    waits = ask("1", "a", "unknown", at=0.0, until=9.0)
    assert claims.stuck([*waits, *ask("2", "b", at=1.0, until=2.0)]).holds
    assert claims.stuck([*waits, *ask("2", "b", at=1.0, until=9.5)]).holds is None


# On loopback

Serving = AbstractAsyncContextManager[None]


def anywhere() -> Address:
    return Address("127.0.0.1", free_port())


@contextlib.asynccontextmanager
async def all_of(*services: Serving) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for service in services:
            await stack.enter_async_context(service)
        yield


def asking(
    at: Address, patience: float, ask_it: Callable[[Requester], Awaitable[object]], **how: Any
) -> Any:
    """Ask by a requester of its own; give what came of it."""

    async def main() -> object:
        with asynchronous(Record("request").events) as sockets:
            requester = Requester(sockets, at, Record("request").events, patience=patience, **how)
            async with requester:
                return await ask_it(requester)

    return main()


def test_requests_are_answered_by_a_server_and_by_a_broker() -> None:
    direct, front, back = anywhere(), anywhere(), anywhere()
    services = all_of(
        server(Record().events, direct, BOUNDS),
        broker(Record("broker").events, front, back, BOUNDS),
        replier(Record("replier", "r1").events, back, BOUNDS),
        replier(Record("replier", "r2").events, back, BOUNDS),
    )

    async def several(requester: Requester) -> set[str]:
        found = [await requester.ask(b"text %d" % n, f"op{n}") for n in range(6)]
        assert [text for _, text in found] == [b"text %d" % n for n in range(6)]
        return {node for node, _ in found}

    async def main() -> None:
        async with services:
            assert await asking(direct, PATIENCE, several) == {"n1"}
            assert await asking(front, PATIENCE, several, identity="me") <= {"r1", "r2"}

    run(main())


def test_nobody_there_is_refused_silence_is_unknown_and_a_complaint_rejected() -> None:
    async def main() -> None:
        with net.create_server(("127.0.0.1", 0)) as taken:
            deaf = Address(*taken.getsockname())
            with pytest.raises(Refused):
                await asking(deaf, 0.1, lambda r: r.ask(b"x", "1"))
        front, back = anywhere(), anywhere()
        async with broker(Record("broker").events, front, back, BOUNDS):
            with pytest.raises(Unknown):
                await asking(front, 0.3, lambda r: r.ask(b"x", "1"))
        with pytest.raises(Rejected):
            await asking(front, PATIENCE, lambda r: r.ask(b"x" * 60_001, "1"))

    run(main())


@contextlib.asynccontextmanager
async def by_hand(
    at: Address, kind: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Shake hands as a socket of this type."""
    reader, writer = await asyncio.open_connection(*at)
    writer.write(zmtp.GREETING + zmtp.ready(kind))
    await reader.readuntil(b"READY")
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def cut_off(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(1000):
            pass


def test_zmtp_by_hand_is_answered_and_a_huge_frame_cut_off() -> None:
    async def main() -> None:
        at = anywhere()
        async with server(Record().events, at, BOUNDS):
            async with by_hand(at, "REQ") as (reader, writer):
                writer.write(zmtp.huge(1 << 40))
                await cut_off(reader)
            async with by_hand(at, "REQ") as (reader, writer):
                writer.write(zmtp.message([b"no envelope"]))
                writer.write(zmtp.message([b"", b"hand-made"]))
                await reader.readuntil(zmtp.message([b"", b"n1 hand-made"]))

    run(main())


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.0\r\n\r\n", zmtp.GREETING + b"\4\5oops!", zmtp.GREETING[:30]]
)
def test_bad_zmtp_is_cut_off(sent: bytes) -> None:
    async def main() -> None:
        at = anywhere()
        async with server(Record().events, at, Bounds(handshake=0.1)):
            reader, writer = await asyncio.open_connection(*at)
            writer.write(sent)
            await cut_off(reader)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    run(main())


def test_a_reply_to_who_is_gone_and_one_to_nobody_are_dropped() -> None:
    async def main() -> None:
        front, back, record = anywhere(), anywhere(), Record("broker")
        async with broker(record.events, front, back, BOUNDS):
            with asynchronous(Record().events) as sockets:
                made_up = sockets.open("replier", zmq.DEALER, connect=[back])
                await made_up.send_multipart([b"nobody", b"", b"answer"])
                await made_up.send(b"")
                await until(lambda: len(record.seen("unroutable")) >= 1)
            async with replier(Record("replier").events, back, BOUNDS):
                await asking(front, PATIENCE, lambda r: r.ask(b"x", "1"))

    run(main())


def test_a_forwarder_forwards_and_gives_late_ones_the_last_value() -> None:
    inlet, outlet = anywhere(), anywhere()
    early, late, middle = Record("subscriber", "early"), Record("subscriber", "late"), Record()

    def publishing() -> None:
        publish(inlet, Record().events, "abc", topic="w", settle=PATIENCE, bounds=BOUNDS)

    def heard(record: Record) -> list[tuple[int, int]]:
        return [(tally["received"], tally["missed"]) for tally in record.seen("tally")[-1:]]

    async def main() -> None:
        async with forwarder(middle.events, inlet, outlet, 10, BOUNDS):
            async with subscriber(early.events, outlet, "w", BOUNDS):
                await asyncio.to_thread(publishing)
                await until(lambda: heard(early) == [(3, 0)])
                async with subscriber(late.events, outlet, "w", BOUNDS):
                    await until(lambda: heard(late) == [(1, 2)])
                    await until(lambda: early.seen("tally")[-1]["copies"] == 1)
            await until(lambda: len(middle.seen("unsubscribed")) == 2)
        assert [event["topic"] for event in middle.seen("subscribed")] == ["w", "w"]

    run(main())


def test_garbage_is_no_update_no_task_and_no_result() -> None:
    inlet, outlet, results, totals, tasks = (anywhere() for _ in range(5))
    records = [Record(), Record(), Record()]

    async def main() -> None:
        async with all_of(
            forwarder(records[0].events, inlet, outlet, 10, BOUNDS),
            sink(records[1].events, results, totals, 2, BOUNDS),
            worker(records[2].events, [tasks], results, BOUNDS),
        ):
            with asynchronous(Record().events) as sockets:
                senders = [
                    sockets.open("a", zmq.XPUB, connect=[inlet]),
                    sockets.open("b", zmq.PUSH, connect=[results]),
                    sockets.open("c", zmq.PUSH, bind=[tasks]),
                ]
                listener = sockets.open("d", zmq.SUB, connect=[outlet])
                listener.subscribe("")
                await senders[0].recv()
                for sender, record in zip(senders, records, strict=True):
                    for frame in (b"", b"\xff\xfe", b"only this"):
                        await sender.send(frame)
                    await until(partial(lambda r: len(r.seen("garbled")) == 3, record))
                await senders[1].send(Result("b", 1, 1, "n9", 1).encode())
                await until(lambda: records[1].seen("batch"))

    run(main())


def test_a_batch_comes_through_whole() -> None:
    tasks, results, totals = (anywhere() for _ in range(3))
    plan = Plan(count=50, work=0, workers=2, patience=PATIENCE)
    counted = Record("sink")

    def ventilating() -> Any:
        with Ventilator(tasks, totals, Record("ventilate").events, BOUNDS) as giving:
            return giving.ventilate(plan)

    async def main() -> None:
        async with all_of(
            sink(counted.events, results, totals, 2, BOUNDS),
            worker(Record("worker", "w1").events, [tasks], results, BOUNDS),
            worker(Record("worker", "w2").events, [tasks], results, BOUNDS),
        ):
            report = await asyncio.to_thread(ventilating)
            assert (report["tasks"], report["total"]) == (50, sum_of_squares(50))
            assert set(report["by"]) == {"w1", "w2"}
        assert len(counted.seen("batch")) == 1

    run(main())


def test_a_ventilator_without_workers_or_sink_says_what_it_knows() -> None:
    tasks, nobody = anywhere(), anywhere()
    with (
        Ventilator(tasks, nobody, Record().events, BOUNDS) as giving,
        pytest.raises(Refused, match="0 of 1 workers"),
    ):
        giving.ventilate(Plan(3, 0, 1, 0.1))
    with (
        net.create_server(tuple(tasks)),
        pytest.raises(Rejected, match="cannot listen"),
    ):
        Ventilator(tasks, nobody, Record().events, BOUNDS)


def test_a_broadcast_waits_for_its_subscribers_and_reaches_them_whole() -> None:
    updates, ready = anywhere(), anywhere()
    records = [Record("join", name) for name in ("a", "b")]

    def joining(record: Record) -> None:
        synchronised.join(updates, ready, record.events, patience=PATIENCE, bounds=BOUNDS)

    threads = [threading.Thread(target=joining, args=(record,)) for record in records]
    for thread in threads:
        thread.start()
    said = Record("broadcast")
    synchronised.broadcast(
        said.events,
        updates,
        ready,
        Pace(500, math.inf, 0.0, 10).texts(),
        topic="w",
        subscribers=2,
        patience=PATIENCE,
        wait=False,
        bounds=Bounds(linger=PATIENCE),
    )
    for thread in threads:
        thread.join(PATIENCE)
    history = [e for record in (*records, said) for e in record.seen()]
    assert claims.began_together(history).detail == "2 subscribers have all 501"


def test_a_broadcast_that_nobody_joins_is_refused() -> None:
    how: dict[str, Any] = {"topic": "w", "subscribers": 1, "patience": 0.1, "wait": False}
    with pytest.raises(Refused, match="0 of 1"):
        synchronised.broadcast(Record().events, anywhere(), anywhere(), [], **how, bounds=BOUNDS)
    with pytest.raises(Refused, match="nothing in"):
        synchronised.join(anywhere(), anywhere(), Record().events, patience=0.1, bounds=BOUNDS)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["request", "127.0.0.1:1", "hi", "--timeout", "0.1"], 3, "refused: 127.0.0.1:1: no conn"),
        (["publish", "127.0.0.1:1", "hi", "--settle", "0.1"], 3, "nobody has subscribed in 0.1 s"),
        (["subscribe", "127.0.0.1:1", "--for", "0.1"], 3, "nothing came in 0.1 s"),
        (["ventilate", "127.0.0.1", "--work", "2000"], 2, "not in the range 0<=x<=1000"),
        (["request", "nowhere:x"], 2, "needs a port"),
        (["worker", "--ventilators", ":", "--sink", "a"], 2, "names no host"),
    ],
)
def test_a_client_ends_with_what_is_known(arguments: list[str], status: int, said: str) -> None:
    ended = CliRunner().invoke(cli, arguments)
    assert ended.exit_code == status
    assert said in ended.output


@pytest.mark.parametrize(("bound", "kind"), [("rep", "req"), ("pub", "sub"), ("push", "pull")])
def test_a_floor_does_what_is_measured(bound: str, kind: str) -> None:
    at = anywhere()
    serving = [
        sys.executable,
        zmq_floors.__file__,
        "serve",
        bound,
        at.host,
        str(at.port),
        "50",
        "9",
    ]
    process = subprocess.Popen(serving)
    try:
        assert zmq_floors.call(kind, f"tcp://{at}", 50, 9)["rate"] > 0
    finally:
        process.terminate()
        process.wait()

"""Squares: the lines, the bag of tasks, the claims, and all of it together on loopback."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from click.testing import CliRunner

from apps.kit.address import Address
from apps.kit.claims import Event
from apps.kit.effects import CancelTimer, Effects, Emit, Reject, Reply, SetTimer
from apps.kit.events import Events
from apps.kit.faults import PowerOff
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.summary import Load
from apps.kit.tcp import Limits
from apps.tcp_squares import client, worker
from apps.tcp_squares.__main__ import cli
from apps.tcp_squares.claims import (
    counted_once,
    lost_work_is_redone,
    outcomes_are_true,
    results_are_right,
    worked_twice,
)
from apps.tcp_squares.core import Bag, BagLimits
from apps.tcp_squares.server import SquaresServer
from apps.tcp_squares.wire import LONGEST_LINE, MOST_DIGITS, BadLine, parse, render
from tests.loopback import run

# The lines


@pytest.mark.parametrize(
    ("line", "number"), [(b"12", 12), (b" -3 ", -3), (b"+007", 7), (b"0", 0), (b"9" * 9, 999999999)]
)
def test_an_integer_is_read(line: bytes, number: int) -> None:
    assert parse(line, 9) == {"f": "square", "number": number}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "an empty line"),
        (b"twelve", "'twelve' is not an integer"),
        (b"1.5", "'1.5' is not an integer"),
        (b"1_0", "'1_0' is not an integer"),
        ("١٢".encode(), "'١٢' is not an integer"),
        (b"\xff\xfe", "is not an integer"),
        (b"1234567890", "a number of 10 digits; at most 9 are taken"),
        (b"0000000001", "a number of 10 digits"),
        (b"x" * 5000, "xxx…' is not an integer"),
        (b"1 2", "one integer a line"),
        (b"submit", "submit needs: submit REQUEST SECONDS N"),
        (b"submit r1 10", "submit needs"),
        (b"submit r/1 10 1", "'r/1' is no name"),
        (b"submit r1 soon 1", "'soon' is not 0 to 60 seconds"),
        (b"submit r1 10 1 two", "'two' is not an integer"),
        (b"submit r1 10 " + b"1 " * 20000, "send it in parts"),
        (b"take w1 61", "'61' is not 0 to 60 seconds"),
        (b"take w1 -1", "'-1' is not 0 to 60 seconds"),
        (b"take w1 nan", "'nan' is not"),
        (b"done l1", "done needs: done LEASE SQUARE"),
        (b"done l1 " + b"9" * 19, "a number of 19 digits; at most 18"),
    ],
)
def test_a_bad_line_is_refused_and_says_why(line: bytes, says: str) -> None:
    with pytest.raises(BadLine, match=says.replace(".", r"\.")):
        parse(line, 9)


def test_the_longest_numbers_stay_below_pythons_own_limit() -> None:
    square = parse(b"9" * MOST_DIGITS, MOST_DIGITS)["number"] ** 2
    assert len(str(square)) == 2 * MOST_DIGITS < sys.int_info.default_max_str_digits


def test_the_answer_to_the_longest_submit_fits_its_line() -> None:
    line = b"submit r 60 " + b" ".join([b"9" * 100] * 323)
    request = parse(line, 100)
    squares = [number**2 for number in request["numbers"]]
    assert len(line) > LONGEST_LINE // 2 - 150
    assert len(render("submit", {"squares": squares})) <= LONGEST_LINE


# The bag


class Shell:
    """Feeds a bag, and keeps what it says."""

    def __init__(self, limits: BagLimits | None = None) -> None:
        self.bag = Bag("b", limits)
        self.answers: dict[str, Any] = {}
        self.timers: dict[str, float] = {}
        self.events: list[Event] = []
        self.now = 0.0

    def ask(self, call: str, f: str, peer: str = "p", **body: Any) -> Any:
        self.perform(self.bag.request(self.now, call, {"f": f, "peer": peer, **body}))
        return self.answers.get(call)

    def take(self, call: str, peer: str = "p", wait: float = 0) -> Any:
        return self.ask(call, "take", peer, worker=peer, wait=wait)

    def submit(self, call: str, *numbers: int, request: str = "r", peer: str = "c") -> Any:
        return self.ask(call, "submit", peer, request=request, wait=20, numbers=list(numbers))

    def done(self, call: str, lease: str, square: int, peer: str = "p") -> Any:
        return self.ask(call, "done", peer, lease=lease, square=square)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and (first := min(self.timers.items(), key=lambda t: t[1]))[1] <= end:
            self.now = first[1]
            del self.timers[first[0]]
            self.perform(self.bag.timer(self.now, first[0]))
        self.now = end

    def perform(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case Reply(call, result):
                    assert call not in self.answers or call == "gone"
                    self.answers[call] = result
                case Reject(call, reason):
                    assert call not in self.answers
                    self.answers[call] = reason
                case SetTimer(name, after):
                    self.timers[name] = self.now + after
                case CancelTimer(name):
                    self.timers.pop(name, None)
                case Emit(event, fields):
                    self.events.append({"event": event, **fields})
                case _:
                    pytest.fail(f"a bag has no {effect}")

    def seen(self, event: str) -> list[Event]:
        return [e for e in self.events if e["event"] == event]


def test_tasks_are_worked_and_the_request_is_answered_in_its_own_order() -> None:
    shell = Shell()
    assert shell.submit("s", 3, 4) is None
    first, second = shell.take("t1", "w1"), shell.take("t2", "w2")
    assert (first["number"], second["number"]) == (3, 4)
    assert shell.take("t3") == {}
    assert shell.done("d2", second["lease"], 16) == {"counted": True}
    assert "s" not in shell.answers
    shell.done("d1", first["lease"], 9)
    assert shell.answers["s"] == {"squares": [9, 16]}
    assert counted_once(shell.events).holds


def test_a_worker_that_waits_is_handed_the_task_that_comes() -> None:
    shell = Shell(BagLimits(lease=60))
    assert shell.take("t", wait=20) is None
    shell.submit("s", 5)
    assert shell.answers["t"]["number"] == 5
    assert shell.take("t2", wait=20) is None
    shell.pass_time(20)
    assert shell.answers["t2"] == {}


@pytest.mark.parametrize("how", ["its connection is gone", "its lease runs out"])
def test_a_lost_task_goes_to_another_worker_and_counts_once(how: str) -> None:
    shell = Shell()
    shell.submit("s", 7)
    lost = shell.take("t1", "w1")
    if how == "its lease runs out":
        shell.pass_time(BagLimits().lease)
    else:
        shell.ask("gone", "left", "w1")
    again = shell.take("t2", "w2")
    assert again["number"] == 7
    assert again["lease"] != lost["lease"]
    assert shell.done("d2", again["lease"], 49, "w2") == {"counted": True}
    assert shell.done("d1", lost["lease"], 49, "w1")["counted"] is False
    assert len(shell.seen("lease_lost")) == len(shell.seen("dropped")) == 1
    assert shell.answers["s"] == {"squares": [49]}
    assert counted_once(shell.events).holds


def test_a_late_result_counts_if_it_is_the_first() -> None:
    shell = Shell()
    shell.submit("s", 7, 8)
    late = shell.take("t1", "w1")
    shell.pass_time(BagLimits().lease)
    assert shell.done("d1", late["lease"], 49) == {"counted": True}
    assert shell.take("t2", "w2")["number"] == 8, "the task that is done is not handed out again"


def test_both_workers_of_one_task_finish_and_the_first_counts() -> None:
    shell = Shell()
    shell.submit("s", 7)
    slow = shell.take("t1", "w1")
    shell.pass_time(BagLimits().lease)
    fast = shell.take("t2", "w2")
    assert shell.done("d1", slow["lease"], 49) == {"counted": True}
    assert shell.done("d2", fast["lease"], 49)["why"] == "another result came first"
    assert [event["worker"] for event in shell.seen("counted")] == ["w1"]
    shell.pass_time(1000)
    assert len(shell.seen("lease_lost")) == 1


def test_a_lease_of_an_earlier_bag_is_unknown() -> None:
    shell = Shell()
    shell.submit("s", 7)
    shell.take("t1")
    assert shell.done("d", "older.1", 49) == {
        "counted": False,
        "why": "this bag knows no such lease",
    }


def test_a_task_that_kills_its_workers_fails_its_request() -> None:
    shell = Shell(BagLimits(attempts=3))
    shell.submit("s", 7, 8)
    for number in range(3):
        assert shell.take(f"t{number}", f"w{number}")["number"] == 7
        shell.ask("gone", "left", f"w{number}")
    assert "leased 3 times" in shell.answers["s"]
    assert shell.take("t") == {}, "nothing of the request is left"
    assert not shell.timers


def test_a_request_submitted_again_is_the_same_request() -> None:
    shell = Shell()
    shell.submit("s1", 7, peer="c1")
    shell.ask("gone", "left", "c1")
    shell.submit("s2", 7, peer="c2")
    shell.done("d", shell.take("t")["lease"], 49)
    assert "s1" not in shell.answers
    assert shell.answers["s2"] == {"squares": [49]}
    assert shell.submit("s3", 7) == {"squares": [49]}
    assert "choose another id" in shell.submit("s4", 8)
    assert shell.take("t2") == {}


def test_a_submit_that_waited_long_enough_is_told_so_and_may_wait_on() -> None:
    shell = Shell()
    shell.submit("s1", 7)
    shell.pass_time(20)
    assert shell.answers["s1"] == {}
    shell.submit("s2", 7)
    shell.done("d", shell.take("t")["lease"], 49)
    assert shell.answers["s2"] == {"squares": [49]}


def test_a_request_that_nobody_waits_for_is_forgotten_with_its_leases() -> None:
    shell = Shell(BagLimits(keep=30, capacity=2))
    shell.submit("s1", 7, 8, request="old", peer="c1")
    held = shell.take("t1")
    shell.ask("gone", "left", "c1")
    assert "full" in shell.submit("s2", 1, 2, request="new")
    shell.pass_time(30)
    assert shell.submit("s3", 1, 2, request="new") is None
    assert shell.done("d", held["lease"], 49)["counted"] is False
    assert shell.take("t2")["number"] == 1


def test_finished_requests_make_room() -> None:
    shell = Shell(BagLimits(capacity=2))
    for number in range(5):
        shell.submit(f"s{number}", number, number, request=f"r{number}")
        for half in "ab":
            lease = shell.take(f"t{number}{half}")["lease"]
            shell.done(f"d{number}{half}", lease, number**2)
        assert shell.answers[f"s{number}"] == {"squares": [number**2] * 2}


def test_what_a_bag_does_not_know_is_rejected_or_ignored() -> None:
    shell = Shell()
    assert "not submit, take, done or left" in shell.ask("x", "steal")
    shell.perform(shell.bag.receive(0.0, "n9", {"hello": "there"}))
    assert shell.seen("ignored")


# The claims


def op(event: str, name: str, f: str, value: Any, **fields: Any) -> Event:
    return {"event": event, "op": name, "f": f, "value": value, "t": 0.0, **fields}


def counted(task: int, **fields: Any) -> Event:
    return {"event": "counted", "bag": "b", "request": "r", "task": task, **fields}


FINISHED: Event = {"event": "finished", "bag": "b", "request": "r", "tasks": 2}
SUBMITTED: Event = {"event": "submitted", "bag": "b", "request": "r", "tasks": 2}
POWER_OFF: Event = {"event": "inject", "t": 0.1, "fault": PowerOff("hub").as_json()}
SUBMIT = op("invoke", "1", "submit", ["1", "2"], request="r")


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([], None),
        ([op("invoke", "1", "square", "3"), op("ok", "1", "square", "9")], True),
        ([op("invoke", "1", "square", "3"), op("ok", "1", "square", "6")], False),
        ([SUBMIT, op("ok", "1", "submit", ["1", "4"], request="r")], True),
        ([SUBMIT, op("ok", "1", "submit", ["4", "1"], request="r")], False),
        ([SUBMIT, op("ok", "1", "submit", ["1"], request="r")], False),
        ([op("ok", "1", "square", "9")], None),
    ],
)
def test_the_claim_that_results_are_right(history: list[Event], holds: bool | None) -> None:
    assert results_are_right(history).holds is holds


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([], None),
        ([counted(0), counted(1), FINISHED], True),
        ([counted(0), counted(1), counted(0), FINISHED], False),
        ([counted(0), FINISHED], False),
        ([counted(0), counted(0, bag="c"), counted(1), FINISHED], True),
        ([counted(0), counted(0)], False),
    ],
)
def test_the_claim_that_tasks_count_once(history: list[Event], holds: bool | None) -> None:
    assert counted_once(history).holds is holds


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([], None),
        ([SUBMIT], True),
        ([SUBMIT, SUBMITTED, FINISHED, op("ok", "1", "submit", [], request="r")], True),
        ([SUBMIT, SUBMITTED, op("ok", "1", "submit", [], request="r")], False),
        ([SUBMIT, SUBMITTED, op("ok", "1", "submit", [], request="r"), POWER_OFF], True),
        ([SUBMIT, op("fail", "1", "submit", [], request="r", how="refused")], True),
        ([SUBMIT, SUBMITTED, op("fail", "1", "submit", [], request="r", how="refused")], False),
        ([SUBMIT, SUBMITTED, op("unknown", "1", "submit", [], request="r", how="unknown")], True),
        ([SUBMIT, *[op("fail", "1", "submit", [], request="r", how="refused")] * 2], False),
    ],
)
def test_the_claim_that_outcomes_are_true(history: list[Event], holds: bool | None) -> None:
    assert outcomes_are_true(history).holds is holds


LOST: Event = {
    "event": "lease_lost",
    "bag": "b",
    "request": "r",
    "task": 0,
    "worker": "w",
    "why": "it ran out",
}


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([counted(0)], None),
        ([LOST], False),
        ([LOST, counted(0)], True),
        ([LOST, counted(1)], False),
        ([LOST, counted(0, bag="another")], True),
        ([SUBMITTED, LOST, counted(7, bag="another")], True),
        ([LOST, {**SUBMITTED, "bag": "another"}], False),
        ([LOST, {"event": "gave_up", "bag": "b", "request": "r"}], True),
    ],
)
def test_the_claim_that_lost_work_is_redone(history: list[Event], holds: bool | None) -> None:
    assert lost_work_is_redone(history).holds is holds


def leased(lease: str, task: int) -> Event:
    return {"event": "leased", "bag": "b", "request": "r", "task": task, "lease": lease}


WORKED = [op("invoke", lease, "work", "3", lease=lease) for lease in ("b.1", "b.2")]


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([], None),
        ([leased("b.1", 0), leased("b.2", 1), *WORKED], None),
        ([leased("b.1", 0), leased("b.2", 0), WORKED[0]], None),
        ([leased("b.1", 0), leased("b.2", 0), *WORKED], True),
    ],
)
def test_the_limit_that_a_task_may_be_worked_twice(
    history: list[Event], holds: bool | None
) -> None:
    finding = worked_twice(history)
    assert finding.holds is holds
    assert list(finding.witness) == (WORKED if holds else [])


# All of it, on loopback


def serving(out: io.StringIO, port: int = 0, bag: BagLimits | None = None) -> SquaresServer:
    return SquaresServer(
        Address("127.0.0.1", port),
        Events("tcp_squares", "server", "n1", out=out),
        digits=1000,
        bag=bag or BagLimits(),
        limits=Limits(idle=5),
    )


def play(scenario: Callable[[Events, SquaresServer], Awaitable[None]]) -> list[Event]:
    """Play a scenario against a server; give all events, of both sides."""
    out = io.StringIO()

    async def main() -> None:
        async with asyncio.timeout(20), serving(out) as server:
            await scenario(Events("tcp_squares", "client", "n2", out=out), server)

    run(main())
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_clients_get_their_own_squares_and_bad_input_costs_nobody_else_anything() -> None:
    async def scenario(events: Events, server: SquaresServer) -> None:
        async with client.connect(server.address, events, 5) as caller:
            with pytest.raises(Rejected, match="'x' is not an integer"):
                await client.square(caller, events, "x")
            with pytest.raises(Rejected, match="1001 digits"):
                await client.square(caller, events, "1" * 1001)
            assert await client.square(caller, events, "-12") == "144"
        await client.measure(server.address, events, Load(200, callers=5, seed=1), patience=5)

    history = play(scenario)
    assert results_are_right(history).holds
    assert outcomes_are_true(history).holds
    (summary,) = (event for event in history if event["event"] == "summary")
    assert summary["answered"] == 200


def test_workers_share_a_request() -> None:
    async def scenario(events: Events, server: SquaresServer) -> None:
        numbers = [str(number) for number in range(20)]
        asked = client.submit(server.address, events, "r", numbers, patience=10)
        workers = [
            asyncio.create_task(worker.work(server.address, events, follow=True, delay=0.001))
            for _ in range(3)
        ]
        await asked
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await worker.work(server.address, events, follow=False, delay=0)

    history = play(scenario)
    assert results_are_right(history).holds
    assert counted_once(history).holds
    assert outcomes_are_true(history).holds


def test_a_worker_whose_connection_breaks_loses_its_task_at_once() -> None:
    async def scenario(events: Events, server: SquaresServer) -> None:
        asked = asyncio.create_task(client.submit(server.address, events, "r", ["6"], patience=10))
        async with client.connect(server.address, events, 5) as caller:
            assert await worker.take(caller, "doomed", 5) is not None
        async with client.connect(server.address, events, 5) as caller:
            task = await worker.take(caller, "heir", 4)
            assert task is not None
            await worker.do(caller, events, task, 0)
        await asked

    history = play(scenario)
    assert [e["why"] for e in history if e["event"] == "lease_lost"] == [
        "its worker's connection is gone"
    ]
    assert counted_once(history).holds


def test_a_request_outlives_its_server() -> None:
    out = io.StringIO()

    async def main() -> None:
        events = Events("tcp_squares", "client", "n2", out=out)
        async with serving(out) as server:
            address = server.address
            asked = asyncio.create_task(
                client.submit(address, events, "r", ["6", "7"], patience=15)
            )
            async with client.connect(address, events, 5) as caller:
                held = await worker.take(caller, "w", 5)
        assert held is not None
        async with serving(out, address.port):
            async with client.connect(address, events, 5) as caller:
                assert (await client.ask(caller, f"done {held.lease} 36"))[0] == "dropped:"
                for _ in range(2):
                    task = await worker.take(caller, "w", 10)
                    assert task is not None
                    await worker.do(caller, events, task, 0)
            await asked

    run(main())
    history = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len({e["bag"] for e in history if e["event"] == "submitted"}) == 2
    assert counted_once(history).holds
    assert outcomes_are_true(history).holds
    assert results_are_right(history).holds


def test_nobody_there_is_refused_and_not_done_in_time_is_unknown() -> None:
    out = io.StringIO()
    events = Events("tcp_squares", "client", "n2", out=out)

    async def main() -> None:
        async with serving(out) as server:
            address = server.address
            with pytest.raises(Unknown, match="`--request r` with the same numbers"):
                await client.submit(address, events, "r", ["1"], patience=0.05)
        with pytest.raises(Refused):
            await client.submit(address, events, "r2", ["1"], patience=0.05)

    run(main())
    history = [json.loads(line) for line in out.getvalue().splitlines()]
    assert outcomes_are_true(history).detail.endswith("1 refused, 1 unknown")


def test_a_server_of_another_kind_is_recognised() -> None:
    async def main() -> None:
        async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.readline():
                writer.write(b"2026-01-01 hello\n")
            writer.close()

        listening = await asyncio.start_server(other, "127.0.0.1", 0)
        address = Address(*listening.sockets[0].getsockname()[:2])
        events = Events("tcp_squares", "client", "n2", out=io.StringIO())
        async with listening, client.connect(address, events, 5) as caller:
            with pytest.raises(Rejected, match="is this the server of tcp_squares"):
                await client.square(caller, events, "5")
            with pytest.raises(Rejected, match="is this the server of tcp_squares"):
                await worker.take(caller, "w", 0)

    run(main())


@pytest.mark.parametrize("command", ["client", "submit"])
def test_a_negative_number_is_no_option(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "127.0.0.1:1", "-3", "--timeout", "0.01"])
    assert result.exit_code == Refused.exit_status, result.output

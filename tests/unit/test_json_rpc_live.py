"""The server as it runs under systemd, on loopback: HTTP, slow peers, kill -9, its client."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from apps.json_rpc.__main__ import cli
from apps.json_rpc.auto import Auto
from apps.json_rpc.client import Asked, Client
from apps.kit.address import Address
from apps.kit.checkers.outcomes import outcomes_are_true
from apps.kit.events import Events
from apps.kit.outcome import Refused, Rejected, Unknown
from tests import loopback
from tests.served import Unit, peers_that_sent, read_all, units

JSON = {"Content-Type": "application/json"}
CALL = b'{"jsonrpc": "2.0", "method": "get_data", "id": 1}'


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Unit]]:
    with units("json_rpc", tmp_path) as start:
        yield start


def quiet() -> Events:
    return Events("json_rpc", "client", "n2", out=io.StringIO())


def transfer(**params: Any) -> Asked:
    return Asked("transfer", {"source": "alice", "target": "bob", "amount": 5, **params})


def posted(unit: Unit, body: bytes, method: str = "POST", path: str = "/", **headers: str) -> Any:
    connection = http.client.HTTPConnection(*unit.address, timeout=30)
    connection.request(method, path, body, headers or JSON)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None


def test_http_says_what_became_of_the_message(started: Callable[..., Unit]) -> None:
    unit = started("--body-limit", 1000)
    assert posted(unit, CALL)[0] == 200
    assert posted(unit, CALL.replace(b', "id": 1', b"")) == (204, None)
    wrong = {
        415: posted(unit, CALL, **{"Content-Type": "text/plain"}),
        405: posted(unit, CALL, method="PUT"),
        404: posted(unit, CALL, path="/there"),
        413: posted(unit, b" " * 1001 + CALL),
    }
    for status, (told, document) in wrong.items():
        assert told == status
        assert document["error"]["code"] == -32600
        assert document["error"]["data"]


def test_the_body_limit_counts_for_chunks_too(started: Callable[..., Unit]) -> None:
    unit = started("--body-limit", 1000)
    connection = http.client.HTTPConnection(*unit.address, timeout=30)
    connection.request("POST", "/", iter([b" " * 600, b" " * 600]), JSON, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_slow_peers_and_garbage_cost_nobody_else(started: Callable[..., Unit]) -> None:
    unit = started("--threads", 2, "--patience", 1)
    half = b"POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
    sent = [b"POST / HT", half, b"", b"\0\r\n\r\n"]
    peers = peers_that_sent(unit.address, sent)
    with Client(unit.address, quiet(), timeout=30) as client:
        assert client.ask(Asked("get_data", [])) == ["hello", 5]
    answers = [read_all(peer) for peer in peers]
    assert b" 408 " in answers[0]
    assert b" 408 " in answers[1]
    assert b" 400 " in answers[3]
    assert b'"code": -32600' in answers[3]


def test_outcomes_are_true_over_kill_9(started: Callable[..., Unit]) -> None:
    unit = started()
    out = io.StringIO()
    events = Events("json_rpc", "client", "n2", out=out)
    acknowledged = threading.Semaphore(0)

    def write(worker: int) -> None:
        with Client(unit.address, events, timeout=60) as client:
            for number in range(40):
                asked = transfer(key=f"{worker}.{number}")
                assert client.ask(asked) == client.ask(asked)
                acknowledged.release()

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, worker) for worker in range(4)]
        for _ in range(2):
            for _ in range(20):
                assert acknowledged.acquire(timeout=60)
            unit.kill()
            unit.start()
        for writer in writers:
            writer.result(timeout=60)
    with Client(unit.address, quiet()) as client:
        kept = client.transfers()
    assert len(kept) == 160
    history = [json.loads(line) for line in out.getvalue().splitlines()]
    assert outcomes_are_true(history, "transfer", kept).holds


def test_it_feeds_the_watchdog_and_stops_cleanly(started: Callable[..., Unit]) -> None:
    unit = started()
    unit.notified("WATCHDOG=1")
    unit.notified("WATCHDOG=1")
    events = unit.stop()
    assert unit.process.returncode == 0
    assert [event["event"] for event in events] == ["ready", "stopped"]


def test_a_request_and_its_answer_are_messages(started: Callable[..., Unit]) -> None:
    unit = started()
    out = io.StringIO()
    with Client(unit.address, Events("json_rpc", "client", "n2", out=out)) as client:
        client.ask(Asked("get_data", []))
    theirs = [event for event in unit.stop() if event["event"] in {"send", "recv"}]
    ours = [json.loads(line) for line in out.getvalue().splitlines()]
    ids = {event["event"]: event["id"] for event in ours if "id" in event}
    assert {event["event"]: event["id"] for event in theirs} == {
        "recv": ids["send"],
        "send": ids["recv"],
    }


# The client


def test_the_client_tells_refused_rejected_and_unknown_apart(started: Callable[..., Unit]) -> None:
    unit = started()
    with Client(unit.address, quiet(), timeout=30) as client:
        with pytest.raises(Rejected, match="-32601"):
            client.ask(Asked("nothing", []))
        with pytest.raises(Rejected, match="-32000"):
            client.ask(transfer(amount=10**15))
        with pytest.raises(Unknown, match="-32603"):
            client.ask(Asked("sum", [1e308, 1e308]))
        answers = client.batch_of(
            [Asked("sum", [1]), Asked("x", []), Asked("update", [], notification=True)]
        )
        assert (answers[0], type(answers[1]), answers[2]) == (1, Rejected, None)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = Address("127.0.0.1", mute.getsockname()[1])
        with Client(address, quiet(), timeout=0.3) as client, pytest.raises(Unknown):
            client.ask(transfer())
    with Client(address, quiet(), timeout=0.3) as client, pytest.raises(Refused):
        client.ask(transfer())


@pytest.mark.parametrize(
    "said",
    [b"", b"[]", b'{"jsonrpc": "2.0"}', b'{"jsonrpc": "2.0", "result": 1, "id": 99}', b"\xff"],
)
def test_what_is_no_answer_leaves_the_outcome_unknown(said: bytes) -> None:
    def serve(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer:
            peer.recv(65536)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n"
            peer.sendall(head.encode() + said)

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        pool.submit(serve, listening)
        address = Address("127.0.0.1", listening.getsockname()[1])
        with Client(address, quiet(), timeout=30) as client, pytest.raises(Unknown):
            client.ask(Asked("get_data", []))


def test_the_automatic_client_goes_on_over_failures(started: Callable[..., Unit]) -> None:
    unit = started()
    record = loopback.Record()

    async def main() -> None:
        async with Auto(unit.address, 0.01, record.events, 0.3):
            await loopback.until(lambda: len(record.seen("ok")) > 2)
            unit.kill()
            await loopback.until(lambda: record.seen("fail"))
            unit.start()
            answered = len(record.seen("ok"))
            await loopback.until(lambda: len(record.seen("ok")) > answered)

    asyncio.run(main())


def test_the_command_line_says_what_happened(started: Callable[..., Unit]) -> None:
    unit = started()

    def run(*words: str, command: str = "client", typed: str | None = None) -> tuple[int, str]:
        result = CliRunner().invoke(cli, [command, unit.url, *words], input=typed)
        return result.exit_code, result.output

    assert run("subtract", "42", "23") == (0, "19\n")
    assert run("subtract", "subtrahend=23", "minuend=42") == (0, "19\n")
    assert run("notify", "update", "1")[0] == 0
    assert run("batch", "sum 1 2", "get_data", "x")[1].splitlines()[:2] == [
        "sum: 3",
        'get_data: ["hello", 5]',
    ]
    assert run("batch", "sum 1 2", "x")[0] == run("x")[0] == 4
    assert run("sum", "1e308", "1e308")[0] == 5
    assert run("sum", "1", "a=2")[0] == 2
    assert run("transfer", "source=alice", "target=bob", "amount=7")[0] == 0
    talk = run(typed='sum 1 2\n\nfly\nsum "1\nsend []\n')
    assert talk[0] == 0
    assert "3\nrejected: -32601" in talk[1]
    assert "quote as in a shell" in talk[1]
    assert "-32600" in talk[1]
    assert "OTHERWISE" not in run(command="examples")[1]
    assert "alice to bob: 7" in run(command="statement")[1]
    for call in ((), ("subtract", "42", "23")):
        summed = run(*call, "--count", "30", "--callers", "3", "--json", "--brief")
        assert json.loads(summed[1])["answered"] == 30

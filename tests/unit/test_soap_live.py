"""The server as it runs under systemd, on loopback: zeep, slow peers, kill -9, its client."""

from __future__ import annotations

import importlib
import io
import json
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.soap.__main__ import cli
from apps.soap.claims import orders_are_true
from apps.soap.client import Client
from apps.soap.envelope import fault, written
from tests.served import Unit, peers_that_sent, read_all, units
from tests.zeep_judge import judge

LINES = [{"article": "bolt", "quantity": 3}]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Unit]]:
    with units("soap", tmp_path) as start:
        yield start


def quiet() -> Events:
    return Events("soap", "client", "n2", out=io.StringIO())


def test_zeep_reads_the_wsdl_and_calls_every_operation(started: Callable[..., Unit]) -> None:
    judge(started().url)


def test_slow_peers_and_garbage_cost_nobody_else(started: Callable[..., Unit]) -> None:
    unit = started("--threads", 2, "--patience", 1)
    half = b"POST / HTTP/1.1\r\nContent-Type: text/xml\r\nContent-Length: 90\r\n\r\n<"
    sent = [b"POST / HT", half, b"", b"\0\r\n\r\n"]
    peers = peers_that_sent(unit.address, sent)
    with Client(unit.address, quiet(), timeout=30) as client:
        assert client.add(2, 3) == 5
    answers = [read_all(peer) for peer in peers]
    assert b" 408 " in answers[0]
    assert b" 408 " in answers[1]
    assert b" 400 " in answers[3]
    assert b"<faultcode>soap:Client</faultcode>" in answers[3]


def test_outcomes_are_true_over_kill_9(started: Callable[..., Unit]) -> None:
    unit = started()
    out = io.StringIO()
    events = Events("soap", "client", "n2", out=out)
    acknowledged = threading.Semaphore(0)

    def write(worker: int) -> None:
        with Client(unit.address, events, timeout=60) as client:
            for number in range(40):
                key = f"{worker}.{number}"
                assert client.order("al", LINES, key) == client.order("al", LINES, key)
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
        kept = client.orders()
    assert len(kept) == 160
    history = [json.loads(line) for line in out.getvalue().splitlines()]
    assert orders_are_true(history, kept).holds


def test_it_feeds_the_watchdog_and_stops_cleanly(started: Callable[..., Unit]) -> None:
    unit = started()
    unit.notified("WATCHDOG=1")
    unit.notified("WATCHDOG=1")
    events = unit.stop()
    assert unit.process.returncode == 0
    assert [event["event"] for event in events] == ["ready", "stopped"]


# The client


def test_the_client_tells_refused_rejected_and_unknown_apart(started: Callable[..., Unit]) -> None:
    unit = started()
    with Client(unit.address, quiet(), timeout=30) as client:
        with pytest.raises(Rejected, match=r"Client\.OutOfStock"):
            client.order("al", [{"article": "unicorn", "quantity": 1}])
        with pytest.raises(Rejected, match="Schema"):
            client.add("x", 1)
        with pytest.raises(Rejected, match="cannot be sent"):
            client.order("\0", LINES)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = Address("127.0.0.1", mute.getsockname()[1])
        with Client(address, quiet(), timeout=0.3) as client, pytest.raises(Unknown):
            client.order("al", LINES)
    with Client(address, quiet(), timeout=0.3) as client, pytest.raises(Refused):
        client.order("al", LINES)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff",
        b"<x/>",
        written("quoteResponse", {"quoteResult": "1"}),
        written("addResponse", {}),
        written("addResponse", {"addResult": "x"}),
        fault("Server", "it failed"),
        b"<!DOCTYPE x [<!ENTITY a '1'>]>" + written("addResponse", {"addResult": "1"})[39:],
    ],
)
def test_what_is_no_answer_leaves_the_outcome_unknown(said: bytes) -> None:
    def serve(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer:
            peer.recv(65536)
            head = f"HTTP/1.1 500 x\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n"
            peer.sendall(head.encode() + said)

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        pool.submit(serve, listening)
        address = Address("127.0.0.1", listening.getsockname()[1])
        with Client(address, quiet(), timeout=30) as client, pytest.raises(Unknown):
            client.add(1, 2)


def test_the_command_line_says_what_happened(started: Callable[..., Unit]) -> None:
    unit = started()

    def run(*words: str, typed: str | None = None) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["client", unit.url, *words], input=typed)
        return result.exit_code, result.output

    assert run("add", "2", "3") == (0, "5\n")
    assert run("quote", "bolt=3", "nut=2") == (0, "0.40\n")
    assert "unicorn  1000000.00  (0 left)" in run("catalogue")[1]
    made = run("order", "alice", "bolt=3", "key=k")
    assert made == (0, "1  alice: bolt=3, 0.30 (k)\n")
    assert run("order", "alice", "bolt=3", "key=k") == made == run("orders")
    assert run("order", "alice", "unicorn=1")[0] == 4
    for wrong in (("fly",), ("add", "1", "x"), ("quote", "bolt"), ("quote",)):
        assert run(*wrong)[0] == 2
    talk = run(typed='add 2 3\n\nfly\norder al car=1\nadd "1\n')
    assert talk[0] == 0
    assert talk[1].startswith("5\n'fly' is no command")
    assert "rejected: Client.SchemaValidationError" in talk[1]
    for call in ((), ("add", "2", "3")):
        summed = run(*call, "--count", "30", "--callers", "3", "--json", "--brief")
        assert json.loads(summed[1])["answered"] == 30


def test_spyne_leaves_other_imports_alone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.import_module("apps.soap.service")
        with pytest.raises(ModuleNotFoundError):
            __import__("a_module_that_nobody_has")

"""The server as it runs under systemd, on loopback: gunicorn, slow peers, kill -9, its client."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.rest_api.__main__ import cli
from apps.rest_api.claims import acknowledged_writes_survive, keys_create_once
from apps.rest_api.client import Items
from tests.openapi_judge import judge
from tests.served import Unit, peers_that_sent, read_all, units

CHUNKED = b"""POST /items HTTP/1.1\r
Content-Type: application/json\r
Transfer-Encoding: chunked\r
\r
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Unit]]:
    with units("rest_api", tmp_path) as start:
        yield start


def quiet() -> Events:
    return Events("rest_api", "client", "n2", out=io.StringIO())


def events_of(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_the_openapi_document_is_true(started: Callable[..., Unit]) -> None:
    judge(started().url, examples=15)


def test_it_feeds_the_watchdog_and_stops_cleanly(started: Callable[..., Unit]) -> None:
    unit = started()
    unit.notified("WATCHDOG=1")
    unit.notified("WATCHDOG=1")
    events = unit.stop()
    assert unit.process.returncode == 0
    assert [event["event"] for event in events] == ["ready", "stopped"]


def test_no_acknowledged_write_is_lost_over_kill_9(started: Callable[..., Unit]) -> None:
    unit = started()
    out = io.StringIO()
    events = Events("rest_api", "client", "n2", out=out)
    acknowledged = threading.Semaphore(0)

    def write(worker: int) -> None:
        with Items(unit.address, events, timeout=60) as items:
            for number in range(40):
                key = f"{worker}.{number}"
                content = {"name": "nut", "labels": {"key": key}}
                made = items.create(content, key)
                assert items.create(content, key)["id"] == made["id"]
                items.patch(made["id"], {"quantity": number})
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
    final = list(seen_by(unit).values())
    assert len(final) == 160
    assert acknowledged_writes_survive(events_of(out), final).holds
    assert keys_create_once(events_of(out), final).holds


def test_slow_peers_are_cut_off_and_others_are_served(started: Callable[..., Unit]) -> None:
    unit = started("--threads", 2, "--patience", 1)
    half = [b"GET / HT", b"POST /items HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", b"", b"\0"]
    peers = peers_that_sent(unit.address, half)
    with Items(unit.address, quiet(), timeout=30) as items:
        assert items.create({"name": "nut"})["id"] == 1
    answers = [read_all(peer) for peer in peers]
    assert b"408" in answers[0]
    assert b"application/problem+json" in answers[0]
    assert b"415" in answers[1] or b"408" in answers[1]
    unit.notified("WATCHDOG=1")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nnonsense\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
        (CHUNKED + b"zz\r\n", b"400"),
    ],
    ids=lambda sent: sent[:20].decode(errors="replace"),
)
def test_what_is_no_http_is_told_so_as_a_problem(
    started: Callable[..., Unit], sent: bytes, status: bytes
) -> None:
    unit = started("--patience", 1)
    with socket.create_connection(unit.address) as peer:
        peer.settimeout(30)
        peer.sendall(sent)
        answer = read_all(peer)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert json.loads(body)["status"] == int(status)


def test_a_connection_serves_many_requests(started: Callable[..., Unit]) -> None:
    unit = started()
    connection = http.client.HTTPConnection(*unit.address, timeout=30)
    for _ in range(3):
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b'{"items": 0, "status": "ok"}\n'
    connection.close()


def test_a_broken_database_is_said_before_anything_listens(tmp_path: Path) -> None:
    (tmp_path / "items.db").write_bytes(b"x" * 5000)
    ended = subprocess.run(
        [sys.executable, "-m", "apps.rest_api", "server", "--port", "5151"],
        cwd=ROOT,
        env={**os.environ, "STATE_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "move the file away" in ended.stderr


# The client


def test_the_client_tells_refused_rejected_and_unknown_apart(started: Callable[..., Unit]) -> None:
    unit = started()
    with Items(unit.address, quiet(), timeout=30) as items:
        with pytest.raises(Rejected, match=r"422 .*name"):
            items.create({})
        with pytest.raises(Rejected, match="404"):
            items.get(7)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = Address("127.0.0.1", mute.getsockname()[1])
        with Items(address, quiet(), timeout=0.3) as items, pytest.raises(Unknown):
            items.create({"name": "nut"})
    with Items(address, quiet(), timeout=0.3) as items, pytest.raises(Refused):
        items.create({"name": "nut"})


def test_another_clients_change_is_not_overwritten(started: Callable[..., Unit]) -> None:
    unit = started()
    with Items(unit.address, quiet()) as mine, Items(unit.address, quiet()) as theirs:
        made = mine.create({"name": "nut"})
        theirs.patch(made["id"], {"quantity": 5})
        with pytest.raises(Rejected, match="412"):
            mine.patch(made["id"], {"quantity": 6})
        mine.get(made["id"])
        assert mine.patch(made["id"], {"quantity": 6})["version"] == 3
        mine.delete(made["id"])
        with pytest.raises(Rejected, match="404"):
            theirs.delete(made["id"])


def lossy(upstream: Address, listening: socket.socket, lose: int) -> None:
    """Carry requests to a server, one a connection; of the first so many, the answers are lost."""
    with contextlib.suppress(OSError):  # accept fails when the test is done with it
        for number in range(100):
            client, _ = listening.accept()
            with client, socket.create_connection(upstream) as server:
                server.sendall(read_request(client))
                answer = read_all(server)
                if number >= lose:
                    client.sendall(answer)


def read_request(client: socket.socket) -> bytes:
    """Read a whole request; give it with the wish that the server close after it."""
    with client.makefile("rb") as file:
        first, *headers = iter(file.readline, b"\r\n")
        sizes = [int(h.split(b":")[1]) for h in headers if h.lower().startswith(b"content-length")]
        body = file.read(sum(sizes))
    return b"".join([first, b"Connection: close\r\n", *headers, b"\r\n", body])


@pytest.mark.parametrize("verb", ["create", "patch", "delete"])
def test_a_lost_answer_neither_doubles_nor_loses_a_write(
    started: Callable[..., Unit], verb: str
) -> None:
    unit = started()
    if verb != "create":
        with Items(unit.address, quiet()) as items:
            items.create({"name": "nut"})
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        address = Address("127.0.0.1", listening.getsockname()[1])
        pool.submit(lossy, unit.address, listening, 2)
        with Items(address, quiet(), timeout=30) as items:
            items.seen = seen_by(unit)
            if verb == "create":
                assert items.create({"name": "nut"})["id"] == 1
            elif verb == "patch":
                assert items.patch(1, {"quantity": 5})["version"] == 2
            else:
                items.delete(1)
        listening.shutdown(socket.SHUT_RDWR)
    versions = {"create": [1], "patch": [2], "delete": []}
    assert [item["version"] for item in seen_by(unit).values()] == versions[verb]


def seen_by(unit: Unit) -> dict[int, Any]:
    with Items(unit.address, quiet()) as items:
        return {item["id"]: item for page in items.pages() for item in page}


def test_the_command_line_says_what_happened(started: Callable[..., Unit]) -> None:
    unit = started()

    def run(*words: str, typed: str | None = None) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["client", unit.url, *words], input=typed)
        return result.exit_code, result.output

    assert run("create", '{"name": "nut"}')[0] == 0
    assert run("get", "1")[1].startswith('1  {"labels": {}, "name": "nut", "quantity": 0}')
    assert run("get", "2")[0] == 4
    assert run("get", "two")[0] == 2
    assert run("paint", "1")[0] == 2
    assert run("create", "{")[0] == 2
    talk = run(
        typed='patch 1 {"quantity": 3}\nfly\n\npatch 1 {"name": 3}\nlist all\ndelete 1\nlist\n'
    )
    assert talk[0] == 0
    assert '"quantity": 3}  (version 2)' in talk[1]
    assert "'fly' is no command" in talk[1]
    assert "rejected: 422" in talk[1]
    assert "1 is gone" in talk[1]
    summed = run("--count", "30", "--callers", "3", "--json", "--brief")
    assert json.loads(summed[1])["answered"] == 30

"""metrics over loopback: collector and agent as processes, killed and restarted; sockets abused.

InfluxDB itself is met on the hosts (tests/hosts/test_metrics.py); here a server answers as it does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import zmq
from click.testing import CliRunner, Result

from apps.kit.address import Address
from apps.kit.metrics import Samples
from apps.metrics.__main__ import cli
from apps.metrics.agent import Agent
from apps.metrics.core import Sample, encode
from apps.metrics.spool import Spool
from lab.catalogue import ROOT
from tests.loopback import PATIENCE, Record, free_port, run, until

Lines = set[str]


def wait(condition: Callable[[], object], what: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, str(what() if callable(what) else what)
        time.sleep(0.01)


class Component:
    """A component as a process, in a directory of its own; its events go to a file."""

    def __init__(self, directory: Path, *options: str, **environment: str) -> None:
        self._directory = directory
        self._options = options
        self._environment = environment
        directory.mkdir()
        self.log = directory / "events.jsonl"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "apps.metrics", *self._options]
        path = os.environ | {"PYTHONPATH": str(ROOT)} | self._environment
        with self.log.open("w") as log:
            self._process = subprocess.Popen(command, cwd=self._directory, env=path, stdout=log)
        self.wait_seen("ready")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        return self._process.wait(PATIENCE)

    def seen(self, name: str) -> list[Any]:
        found = (json.loads(line) for line in self.log.read_text().splitlines())
        return [event for event in found if event["event"] == name]

    def wait_seen(self, name: str) -> None:
        wait(lambda: f'"event":"{name}"' in self.log.read_text(), self.log.read_text)


class Database:
    """Answers as InfluxDB does, and keeps the lines that it was given."""

    def __init__(self) -> None:
        self.lines: Lines = set()
        self.made = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                if asked.path == "/query":
                    outer.made = "CREATE DATABASE" in parse_qs(asked.query)["q"][0]
                    self._reply(200, '{"results":[{}]}')
                elif not outer.made:
                    self._reply(404, '{"error":"database not found: \\"distlab\\""}')
                elif "poison" in body:
                    self._reply(400, '{"error":"partial write: field type conflict dropped=1"}')
                else:
                    outer.lines |= set(body.splitlines())
                    self._reply(204, "")

            def _reply(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def database() -> Iterator[Database]:
    served = Database()
    yield served
    served.close()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def collector(tmp_path: Path, database: Database, port: int) -> Iterator[Component]:
    options = ("--port", str(port), "--store", database.address, "--spool", "1")
    component = Component(tmp_path / "collector", "collector", *options)
    yield component
    assert component.end() == 0


def client(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--json"])


def ask(port: int, *requests: list[bytes]) -> list[list[bytes]]:
    """Send requests as a publisher does, and give as many answers."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.rcvtimeo = round(PATIENCE * 1000)
        dealer.connect(f"tcp://127.0.0.1:{port}")
        for request in requests:
            dealer.send_multipart(request)
        return [dealer.recv_multipart() for _ in requests]


def test_all_is_written_once_though_it_comes_twice(
    collector: Component, database: Database, port: int
) -> None:
    result = client("publish", f"127.0.0.1:{port}", "--count", "1000", "--twice")
    assert result.exit_code == 0
    wait(lambda: len(database.lines) == 1000, lambda: len(database.lines))
    events = [json.loads(text) for text in result.stdout.splitlines()]
    assert len([event for event in events if event["event"] == "ok"]) == 20
    collector.wait_seen("written")


def test_what_is_acknowledged_survives_kill_9(tmp_path: Path, port: int) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    options = ("--port", str(port), "--store", nobody)
    component = Component(tmp_path / "collector", "collector", *options)
    result = client("publish", f"127.0.0.1:{port}", "--count", "500")
    assert result.exit_code == 0
    component.wait_seen("away")
    component.end(signal.SIGKILL)
    database = Database()
    try:
        again = ("--port", str(port), "--store", database.address)
        component._options = ("collector", *again)
        component.start()
        wait(lambda: len(database.lines) == 500, lambda: len(database.lines))
        assert component.end() == 0
    finally:
        database.close()


def test_a_full_spool_says_so_and_takes_more_when_there_is_room(tmp_path: Path, port: int) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    options = ("--port", str(port), "--store", nobody, "--spool", "1")
    component = Component(tmp_path / "collector", "collector", *options)
    amount = ("--count", "20000", "--batch", "500", "--timeout", "0.5", "--for", "0.7")
    result = client("publish", f"127.0.0.1:{port}", *amount)
    assert result.exit_code == 5
    events = [json.loads(text) for text in result.stdout.splitlines()]
    assert {e["event"] for e in events if e.get("f") == "publish"} >= {"ok", "fail"}
    assert component.seen("full")
    assert component.end() == 0


def test_without_a_collector_nothing_was_sent(port: int) -> None:
    result = client("publish", f"127.0.0.1:{port}", "--count", "10", "--timeout", "0.2")
    assert result.exit_code == 5
    assert '"event":"fail"' in result.stdout
    assert '"event":"unknown"' not in result.stdout


def test_garbage_is_answered_counted_and_survived(
    collector: Component, database: Database, port: int
) -> None:
    now = time.time_ns()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"\xff" * 100)
    with socket.create_connection(("127.0.0.1", port)) as silent:
        smuggled = encode("n1", [Sample(now, "p", "c", "a\nb ms=1 1", 1)])
        good = encode("n1", [Sample(now, "p", "c", "a,b=c d", 1)])
        answers = ask(port, [b"x#1", b"[" * 1000], [b"x#2", smuggled], [b"x#3", good])
        silent.sendall(b"half")
    assert [answer[1] for answer in answers] == [b"malformed", b"kept", b"kept"]
    assert [answer[2] for answer in answers[1:]] == [b"1", b"0"]
    wait(lambda: database.lines, "the good one is written")
    assert database.lines == {
        f"latency,component=c,host=n1,operation=a\\,b\\=c\\ d,pattern=p ms=1.0 {now}"
    }
    assert collector.seen("refused")[0]["samples"] == 1


def test_what_the_database_rejects_is_told_and_in_nobodys_way(
    collector: Component, database: Database, port: int
) -> None:
    now = time.time_ns()
    ask(port, [b"x#1", encode("n1", [Sample(now, "poison", "c", "o", 1)])])
    collector.wait_seen("rejected")
    ask(port, [b"x#2", encode("n1", [Sample(now, "p", "c", "o", 1)])])
    wait(lambda: len(database.lines) == 1, "what comes after it is written")


# The agent


@pytest.fixture
def intake(port: int) -> str:
    return f"distlab-test-{os.getpid()}-{port}"


@pytest.fixture
def agent(tmp_path: Path, port: int, intake: str) -> Iterator[Component]:
    options = ("agent", "--collector", f"127.0.0.1:{port}")
    component = Component(tmp_path / "agent", *options, DISTLAB_METRICS=intake)
    yield component
    assert component.end() == 0


def test_a_sample_takes_one_line_and_arrives(
    agent: Component, collector: Component, database: Database, intake: str
) -> None:
    samples = Samples(f"\0{intake}")
    for _ in range(5):  # fewer than any system's queue (net.unix.max_dgram_qlen)
        samples.add("tcp_echo", "client", "echo", 0.0015)
    samples.close()
    assert samples.dropped == 0
    wait(lambda: len(database.lines) == 5, lambda: len(database.lines))
    assert all("operation=echo,pattern=tcp_echo ms=1.5 " in text for text in database.lines)
    assert agent.seen("send")
    assert collector.seen("recv")


def test_a_killed_agent_hands_on_what_it_had_spooled(
    tmp_path: Path, agent: Component, database: Database, port: int, intake: str
) -> None:
    samples = Samples(f"\0{intake}")
    samples.add("p", "c", "o", 1)
    samples.close()
    spool = tmp_path / "agent" / "spool"
    wait(lambda: any(path.stat().st_size for path in spool.iterdir()), "it is spooled")
    agent.end(signal.SIGKILL)
    agent.start()
    options = ("--port", str(port), "--store", database.address)
    component = Component(tmp_path / "collector", "collector", *options)
    wait(lambda: len(database.lines) == 1, "the collector has it")
    assert component.end() == 0


def test_garbage_at_the_agents_socket_is_told(agent: Component, intake: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        for data in (b"", b"\xff", b"[]", b"[" * 5000, b'["x","p","c","o",1,0]'):
            sock.sendto(data, f"\0{intake}")
    wait(lambda: len(agent.seen("malformed")) == 5, agent.log.read_text)


def test_where_no_agent_is_a_sample_is_counted_and_costs_nothing(intake: str) -> None:
    samples = Samples(f"\0{intake}")
    for _ in range(1000):
        samples.add("p", "c", "o", 1)
    samples.tell_dropped("p", "c")
    assert samples.dropped == 1000
    samples.close()


def test_what_an_agent_cannot_take_is_counted_and_told(intake: str) -> None:
    samples = Samples(f"\0{intake}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(f"\0{intake}")
        for _ in range(2000):
            samples.add("p", "c", "o", 1)
        dropped = samples.dropped
        assert dropped > 0
        taken = 0
        while taken + dropped < 2000:
            sock.recv(4096)
            taken += 1
        samples.tell_dropped("p", "c")
        assert json.loads(sock.recv(4096))[3:] == [None, None, dropped]
        assert samples.dropped == 0
    samples.close()


def test_the_agents_stamps_go_on_where_they_were(tmp_path: Path) -> None:
    ahead = time.time_ns() + 3600 * 10**9
    with Spool(tmp_path / "spool", 1 << 20) as spool:
        spool.append([encode("n1", [Sample(ahead, "p", "c", "o", 1)])])
    record = Record("agent")
    name = f"\0distlab-test-{os.getpid()}"

    async def main() -> int:
        spool = Spool(tmp_path / "spool", 1 << 20)
        nobody = Address("127.0.0.1", free_port())
        async with Agent(nobody, spool, record.events, name):
            samples = Samples(name)
            samples.add("p", "c", "o", 1)
            samples.close()
            await until(lambda: len(spool) == 2)
            return int(json.loads(spool.after(1, 1)[0][1])["samples"][0][0])

    assert run(main()) == ahead + 1

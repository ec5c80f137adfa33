"""The echo: its lines, its claims over histories that hold and that break them, and its clients."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.claims import Event, Finding
from apps.kit.faults import Kill
from apps.kit.outcome import Rejected
from apps.tcp_echo.__main__ import cli
from apps.tcp_echo.claims import (
    heard_and_not_answered,
    no_bytes_cross,
    replies_match,
    serves_again,
)
from apps.tcp_echo.client import parse
from apps.tcp_echo.server import complain, sessions
from tests.loopback import LOOPBACK, PATIENCE, free_port

ROOT = Path(__file__).parents[2]

# The lines


def answer(line: bytes, limit: int = 65536) -> bytes:
    reply = asyncio.run(as_coroutine(line, limit))
    assert reply is not None
    return reply


async def as_coroutine(line: bytes, limit: int) -> bytes | None:
    return await sessions(limit)("n2:1")(line)


@given(st.text())
def test_a_text_comes_back_with_a_time(text: str) -> None:
    try:
        line = text.encode()
    except UnicodeEncodeError:
        return
    reply = parse(answer(line))
    assert reply.text == text
    assert dt.datetime.fromisoformat(reply.stamp).utcoffset() == dt.timedelta(0)


@given(st.binary())
def test_whatever_comes_is_echoed_or_complained_of(line: bytes) -> None:
    try:
        reply = parse(answer(line))
    except Rejected as error:
        assert "not UTF-8 at byte" in str(error)  # noqa: PT017
        with pytest.raises(UnicodeDecodeError):
            line.decode()
    else:
        assert reply.text.encode() == line


def test_a_line_that_is_too_long_with_its_time_is_complained_of() -> None:
    assert len(answer(b"x" * 72, limit=100)) == 100
    assert (
        answer(b"x" * 73, limit=100) == b"error: too long to echo: 101 bytes with its time, of 100"
    )


def test_no_echo_looks_like_a_complaint() -> None:
    with pytest.raises(Rejected, match=r"^why$"):
        parse(complain("why"))
    assert parse(answer(complain("why"))).text == "error: why"


# The claims


def event(name: str, **fields: Any) -> Event:
    return {"event": name, "node": "n2", "t": 0.0, **fields}


def call(op: str, text: str, reply: str | None, node: str = "n2") -> list[Event]:
    """Give a call: answered with `reply`, or of unknown outcome."""
    invoked = event("invoke", op=op, value=text, node=node)
    if reply is None:
        return [invoked, event("unknown", op=op, value=text, node=node)]
    return [invoked, event("ok", op=op, value=reply, node=node)]


FINE = [*call("a", "x", "x"), *call("b", "y", "y", "n3"), *call("c", "z", None)]


@pytest.mark.parametrize(
    ("history", "holds", "detail"),
    [
        (FINE, True, "2 of 3 calls answered, each with its own text"),
        ([*FINE, event("invoke", op="d", value="w")], True, "1 callers ended without an outcome"),
        ([*FINE, event("recv", id="1"), event("ready")], True, "2 of 3"),
        (call("a", "x", "other"), False, "a reply of another text"),
        ([event("ok", op="a", value="x")], False, "an outcome without a call of its own"),
        ([*FINE, event("fail", op="a")], False, "an outcome without a call of its own"),
        ([*FINE, *call("a", "x", "x")[1:]], False, "an outcome without a call of its own"),
        (call("a", "x", None), None, "no call was answered"),
        ([], None, "no call was answered"),
    ],
)
def test_replies_match(history: list[Event], holds: bool | None, detail: str) -> None:
    judged(replies_match(iter(history)), holds, detail)


@pytest.mark.parametrize(
    ("history", "holds", "detail"),
    [
        (FINE, True, "3 distinct texts from 2 hosts at once"),
        ([*call("a", "x", "y", "n2"), *call("b", "y", "y", "n3")], False, "n2 got another's"),
        (
            [*call("a", "x", None, "n2"), *call("b", "y", "x", "n3")],
            False,
            "n3 got another's bytes",
        ),
        ([*call("a", "x", None), *call("b", "y", "x")], False, "n2 got another's bytes"),
        (call("a", "x", "of nobody"), False, "n2 got another's bytes"),
        ([*call("a", "x", "x"), *call("b", "x", "x", "n3")], None, "two calls asked the same text"),
        (call("a", "x", "x"), None, "fewer than two hosts were answered"),
        ([], None, "fewer than two hosts were answered"),
    ],
)
def test_no_bytes_cross(history: list[Event], holds: bool | None, detail: str) -> None:
    judged(no_bytes_cross(iter(history)), holds, detail)


KILL = Kill("n1", "tcp_echo_server").as_json()
KILLED = [event("ready", t=1.0), event("ok", op="a", t=2.0), event("inject", t=3.0, fault=KILL)]
AFTER = [event("unknown", op="b", t=3.1), event("ready", t=4.0), event("ok", op="c", t=5.0)]


@pytest.mark.parametrize(
    ("history", "holds", "detail"),
    [
        (KILLED + AFTER, True, "back after 1.0 s; 1 calls failed, 1 then went well"),
        (KILLED, False, "did not come back"),
        (KILLED + AFTER + [event("inject", t=6.0, fault=KILL)], False, "did not come back"),
        (KILLED + AFTER[:2], None, "nobody asked after it came back"),
        (KILLED[:2] + AFTER, None, "was not killed"),
    ],
)
def test_serves_again(history: list[Event], holds: bool | None, detail: str) -> None:
    judged(serves_again(iter(history)), holds, detail)


def message(name: str, component: str, id_: str, t: float = 0.0) -> Event:
    return event(name, component=component, id=id_, t=t)


HEARD = [message("send", "client", "c>s#1"), message("recv", "server", "c>s#1")]
ANSWER = [message("send", "server", "s>c#1"), message("recv", "client", "s>c#1")]


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        ([], None),
        (HEARD + ANSWER, None),
        (HEARD[:1], None),
        (HEARD, True),
        (HEARD + ANSWER[:1], True),
        ([*HEARD, *ANSWER, message("send", "client", "c>s#2")], None),
    ],
)
def test_heard_and_not_answered(history: list[Event], holds: bool | None) -> None:
    finding = heard_and_not_answered(iter(history))
    assert finding.holds is holds
    assert list(finding.witness) == (HEARD if holds else [])


CALLS = st.lists(st.tuples(st.sampled_from(["n2", "n3"]), st.booleans()), min_size=4, max_size=20)


@st.composite
def good(draw: st.DrawFn) -> list[Event]:
    """Give a history of calls on two hosts, of which the first two are answered."""
    calls = [("n2", True), ("n3", True), *draw(CALLS)]
    return [
        one
        for number, (node, answered) in enumerate(calls)
        for one in call(f"o{number}", f"t{number}", f"t{number}" if answered else None, node)
    ]


@given(good(), st.data())
def test_a_good_history_holds_and_whatever_is_changed_in_it_is_found(
    history: list[Event], data: st.DataObject
) -> None:
    assert replies_match(history).holds
    assert no_bytes_cross(history).holds
    oks = [place for place, one in enumerate(history) if one["event"] == "ok"]
    place, other = data.draw(st.permutations(oks))[:2]
    changed = list(history)
    match data.draw(st.sampled_from(["swap", "damage", "twice", "unasked"])):
        case "swap":
            changed[place] = {**history[place], "value": history[other]["value"]}
            assert no_bytes_cross(changed).holds is False
        case "damage":
            changed[place] = {**history[place], "value": "damaged"}
            assert no_bytes_cross(changed).holds is False
        case "twice":
            changed.append(history[place])
        case _:
            del changed[place - 1]
    finding = replies_match(changed)
    assert finding.holds is False
    assert history[place]["op"] in {one["op"] for one in finding.witness}


def judged(finding: Finding, holds: bool | None, detail: str) -> None:
    assert finding.holds is holds
    assert detail in finding.detail
    assert finding.witness or holds is not False or "come back" in detail


# Server and clients, as processes


class Server:
    """The server as a process; its events go to a file."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._log = directory / "events.jsonl"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        command = [sys.executable, "-m", "apps.tcp_echo", "server", "--port", str(self.port)]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log)
        self.wait_seen("ready")

    def tell(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> int:
        """Signal it, and wait for its end."""
        assert self._process
        self.tell(number)
        return self._process.wait(PATIENCE)

    def events(self) -> list[Event]:
        """Give what it wrote since it was started."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def wait_seen(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while f'"event":"{name}"' not in self._log.read_text():
            assert time.monotonic() < deadline, f"no {name} in {self._log.read_text()}"
            time.sleep(0.01)

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield str(server)
    assert server.end(signal.SIGTERM) == 0
    server.wait_seen("stopped")


def client(*arguments: str, typed: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["client", *arguments], input=typed)


def test_texts_are_echoed_to_a_person_and_to_a_program(served: str) -> None:
    result = client(served, "hello", "wörld")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first.startswith("hello   (server time 2")
    assert second.startswith("wörld   (server time 2")
    result = client(served, "hello", "--json")
    named = [json.loads(line) for line in result.stdout.splitlines()]
    assert [e["event"] for e in named] == ["invoke", "send", "recv", "ok"]
    assert named[0]["op"] == named[3]["op"]
    assert named[3]["value"] == "hello"


def test_a_conversation_goes_on_after_a_complaint(served: str) -> None:
    result = client(served, typed=b"one\n\xff\nthree\n")
    assert result.exit_code == 0
    one, complaint, three = result.stdout.splitlines()
    assert one.startswith("one ")
    assert complaint == "rejected: not UTF-8 at byte 0 of the line"
    assert three.startswith("three ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\udcff", "rejected: not UTF-8 at byte 0 of the line\n"),
        ("a\nb", "rejected: this cannot be sent: a line cannot hold a line break\n"),
        ("x" * 65530, "rejected: too long to echo: 65558 bytes with its time, of 65536\n"),
        ("x" * 70000, "rejected: this cannot be sent: frame too long: the limit is 65536 bytes\n"),
    ],
)
def test_bad_input_is_rejected_and_says_why(served: str, text: str, said: str) -> None:
    result = client(served, text)
    assert (result.exit_code, result.stderr) == (4, said)


def test_where_nobody_listens_a_call_is_refused() -> None:
    port = free_port()
    result = client(f"127.0.0.1:{port}", "hello")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"refused: 127.0.0.1:{port}: ")


def test_where_nobody_answers_a_call_is_unknown() -> None:
    with socket.create_server(LOOPBACK) as deaf:
        port = deaf.getsockname()[1]
        result = client(f"127.0.0.1:{port}", "hello", "--timeout", "0.2")
    assert result.exit_code == 5
    assert result.stderr == "unknown: no answer in time; the request may have been applied\n"


def test_a_crowd_keeps_the_promises(served: str) -> None:
    options = ("--count", "200", "--callers", "8", "--json")
    nodes = [client(served, *options, "--node", node, "--seed", "7") for node in ("n2", "n3")]
    assert [result.exit_code for result in nodes] == [0, 0]
    history = [json.loads(line) for result in nodes for line in result.stdout.splitlines()]
    assert replies_match(history).holds
    assert no_bytes_cross(history).holds
    summaries = [event for event in history if event["event"] == "summary"]
    assert [(s["answered"], s["failed"]) for s in summaries] == [(200, 0)] * 2


def test_what_a_paused_server_hears_its_client_cannot_know(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        server.tell(signal.SIGSTOP)
        asked = client(str(server), "hello", "--timeout", "0.2", "--json", "--node", "n2")
        server.tell(signal.SIGCONT)
        server.wait_seen("recv")
    finally:
        server.end(signal.SIGKILL)
    assert asked.exit_code == 5
    history = [json.loads(line) for line in asked.stdout.splitlines()] + server.events()
    assert heard_and_not_answered(history).holds


def test_a_crowd_survives_kill_9_of_its_server(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    load = ("--count", "400", "--callers", "4", "--think", "0.005")
    command = [sys.executable, "-m", "apps.tcp_echo", "client", str(server), "--json", *load]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as crowd:
        try:
            server.wait_seen("send")
            server.end(signal.SIGKILL)
            server.start()
            out, _ = crowd.communicate(timeout=3 * PATIENCE)
        finally:
            crowd.kill()
            server.end(signal.SIGKILL)
    assert crowd.returncode == 0
    history = [json.loads(line) for line in out.splitlines()]
    assert replies_match(history).holds
    summary = history[-1]
    assert summary["event"] == "summary"
    assert summary["answered"] + summary["failed"] == 400
    assert summary["answered"] > 100

"""Bare sockets: how a stream is cut, the server among awkward peers, and what wrong ones lose."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.address import Address
from apps.kit.claims import Event
from apps.kit.retry import Deadline
from apps.posix_sockets.__main__ import cli
from apps.posix_sockets.claims import LOSES, all_connected, echoes_match, peers_are_borne
from apps.posix_sockets.peers import PEERS, read
from apps.posix_sockets.right.accepting import Acceptor
from apps.posix_sockets.right.client import connect
from apps.posix_sockets.right.opening import listen_tcp, listen_unix
from apps.posix_sockets.wire import BadMessage, Decoder, Message, read_datagram
from apps.posix_sockets.wrong import NAMES, wrong
from tests.loopback import PATIENCE, Record, free_port

ROOT = Path(__file__).parents[2]
MESSAGES = st.lists(st.builds(Message, st.integers(0, (1 << 32) - 1), st.binary(max_size=50)))

# The messages


@given(MESSAGES, st.lists(st.integers(1, 40), min_size=1))
def test_however_a_stream_is_cut_its_messages_are_the_same(
    sent: list[Message], cuts: list[int]
) -> None:
    stream = b"".join(message.encode() for message in sent)
    decoder, got, at = Decoder(), list[Message](), 0
    while at < len(stream):
        for cut in cuts:
            got += decoder.feed(stream[at : at + cut])
            at += cut
    assert got == sent
    assert decoder.held == 0


def test_a_text_that_is_too_long_is_refused_at_its_header() -> None:
    with pytest.raises(BadMessage, match="11 bytes; the longest is 10"):
        Decoder(10).feed(Message(1, bytes(11)).encode()[:8])


@given(st.binary(max_size=60))
def test_a_datagram_is_one_message_or_none(data: bytes) -> None:
    try:
        message = read_datagram(data)
    except BadMessage:
        return
    assert message.encode() == data


# The sockets


def test_a_socket_left_by_a_killed_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listen_unix(path).close()  # as a kill leaves it: the file is there, and nobody listens
    with listen_unix(path), pytest.raises(FileExistsError, match="another server"):
        listen_unix(path)


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="no socket"):
        listen_unix(path)
    assert path.read_text() == "precious"


def test_without_descriptors_who_connects_is_turned_away() -> None:
    address = Address("127.0.0.1", free_port())
    acceptor = Acceptor(listen_tcp(address))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as opened:
        opened.callback(acceptor.close)
        waiting = [opened.enter_context(socket.create_connection(address)) for _ in range(3)]
        lowest = os.dup(0)  # no descriptor below is free, so with this limit there is none
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            accepted = list(acceptor.accept())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert accepted == []
        assert acceptor.turned_away == len(waiting)
        for sock in waiting:
            assert sock.recv(1) == b""
        late = opened.enter_context(socket.create_connection(address))
        for sock in acceptor.accept():
            opened.enter_context(sock).sendall(b"!")
        assert late.recv(1) == b"!"


# The server, live


class Live:
    """A server as a unit runs it."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.target = f"127.0.0.1:{self.port}"
        self.path = directory / "socket"
        self._options = options
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "apps.posix_sockets", "server", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *self._options],
            cwd=ROOT,
            env=os.environ | {"STATE_DIRECTORY": str(self.directory)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert '"ready"' in self.process.stdout.readline()
        self._drained = threading.Thread(target=self.process.stdout.read)
        self._drained.start()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        self._drained.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    server = Live(tmp_path)
    yield server
    server.end()


def ask(*arguments: object, given: str | None = None) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=given)


def told(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]


def test_one_service_over_tcp_udp_and_a_path(live: Live) -> None:
    for arguments in ((live.target,), (live.target, "--udp"), (live.path,)):
        result = ask("client", *arguments, "hello", "wörld")
        assert result.exit_code == 0, result.output
        assert [line.split()[0] for line in result.output.splitlines()] == ["hello", "wörld"]


def test_a_conversation(live: Live) -> None:
    result = ask("client", live.target, given="one\n\ntwo\n")
    assert [line.split("   ")[0] for line in result.output.splitlines()] == ["one", "", "two"]


@pytest.mark.parametrize("name", PEERS)
def test_awkward_peers_are_borne(live: Live, name: str) -> None:
    for server in (live.target, live.path):
        result = ask("peer", server, name, "--json")
        assert result.exit_code == 0, result.output
        assert peers_are_borne(told(result), {name}).holds
    assert ask("client", live.target, "well?").exit_code == 0


def test_a_thousand_connections_at_once(live: Live) -> None:
    result = ask("many", live.target, "--connections", 1000, "--json")
    assert all_connected(told(result)).holds, result.output


def test_a_load_is_summed_up_and_matches(live: Live) -> None:
    for udp in ((), ("--udp",)):
        result = ask("client", live.target, *udp, "--count", 100, "--callers", 4, "--json")
        events = told(result)
        assert echoes_match(events).holds
        assert events[-1]["answered"] == 100


def test_silence_and_a_full_house_are_told_so(tmp_path: Path) -> None:
    server = Live(tmp_path, "--idle", "0.3", "--connections", "1")
    target = Address.parse(server.target)
    with connect(target, Deadline(PATIENCE)) as silent:
        with connect(target, Deadline(PATIENCE)) as second:
            assert b"busy: 1 are connected" in read(second, Deadline(PATIENCE))[0].text
        assert b"no whole message for 0.3 s" in read(silent, Deadline(PATIENCE))[0].text
    assert server.end() == 0


def test_it_ends_in_good_order_and_starts_again_at_once(tmp_path: Path) -> None:
    server = Live(tmp_path)
    target = Address.parse(server.target)
    with connect(target, Deadline(PATIENCE)) as sock:
        sock.sendall(Message(1, b"hello").encode())
        assert read(sock, Deadline(PATIENCE), 1) == [Message(1, b"hello")]
        assert server.end() == 0
        assert read(sock, Deadline(PATIENCE)) == []  # the server closed first: TIME_WAIT is its
    assert not server.path.exists()
    server.start()
    assert ask("client", server.target, "again").exit_code == 0
    server.end(signal.SIGKILL)
    server.start()  # its Unix-domain socket was left behind
    assert ask("client", server.path, "again").exit_code == 0
    assert server.end() == 0


def test_a_server_that_cannot_listen_says_so(live: Live) -> None:
    result = ask("server", "--port", live.port)
    assert result.exit_code == 1
    assert "Address already in use" in result.output


# What is known of a call


def test_nobody_there_is_refused(tmp_path: Path) -> None:
    target = f"127.0.0.1:{free_port()}"
    for arguments in ((target,), (target, "--udp"), (tmp_path / "none",)):
        result = ask("client", *arguments, "hello")
        assert result.exit_code == 3, result.output


def test_no_answer_is_unknown(live: Live) -> None:
    live.process.send_signal(signal.SIGSTOP)
    try:
        for arguments in ((live.target,), (live.target, "--udp"), (live.path,)):
            result = ask("client", *arguments, "--timeout", 0.3, "hello")
            assert result.exit_code == 5, result.output
    finally:
        live.process.send_signal(signal.SIGCONT)


def test_what_cannot_be_sent_or_is_too_long_is_rejected(live: Live) -> None:
    assert ask("client", live.target, "--udp", "x" * 2000).exit_code == 4
    result = ask("client", live.target, "x" * 70_000)
    assert result.exit_code == 4
    assert "the longest is 65536" in result.output


def test_bad_arguments_are_usage_errors() -> None:
    assert ask("client", "n1:70000", "hello").exit_code == 2
    assert ask("peer", "n1", "friendly").exit_code == 2


# The wrong ones


@pytest.mark.parametrize("name", NAMES)
def test_what_a_wrong_one_loses_is_shown(name: str) -> None:
    at = Address("127.0.0.1", free_port())
    server, client = Record(), Record("meet", "n2")
    serving = threading.Thread(target=wrong(name).serve, args=(at, server.events))
    serving.start()
    wrong(name).provoke(at, client.events)
    serving.join(PATIENCE)
    history = [*server.seen(), *client.seen()]
    for other, (_, judge) in LOSES.items():
        assert judge(history).holds is (True if other == name else None)


def test_a_wrong_one_whose_port_is_taken_says_so(live: Live) -> None:
    result = ask("wrong", "one_recv", live.target)
    assert result.exit_code == 3
    assert "Address already in use" in result.output


def test_claims_catch_what_is_not_so() -> None:
    def event(name: str, **fields: Any) -> Event:
        whose = {"event": name, "pattern": "posix_sockets", "component": "client", "node": "n2"}
        return {**whose, "t": 1.0, "op": "a", **fields}

    asked = event("invoke", f="echo", value="a")
    assert echoes_match([asked, event("ok", f="echo", value="b")]).holds is False
    assert echoes_match([asked]).holds is None
    be = event("invoke", f="peer", value="reset")
    assert peers_are_borne([be, event("unknown", f="peer", error="no")], {"reset"}).holds is False
    assert peers_are_borne([], {"reset"}).holds is None
    opened = event("invoke", f="many", value=3)
    assert all_connected([opened, event("ok", f="many", value=2)]).holds is False

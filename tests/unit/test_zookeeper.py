"""zookeeper: what a server is told, when it is ready, what clients know, what the claims see."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.address import Address
from apps.kit.claims import Event
from apps.kit.outcome import Refused
from apps.kit.zookeeper import Session
from apps.zookeeper import claims, server
from apps.zookeeper.__main__ import cli
from apps.zookeeper.server import Configuration, ZooKeeper
from tests.loopback import Record, free_port, run

SERVING = "Zookeeper version: 3.8.0\nOutstanding: 0\nMode: follower\nNode count: 5\n"
ALONE = "This ZooKeeper instance is not currently serving requests\n"


def configuration(count: int = 3, name: str = "n1", port: int = 2181) -> Configuration:
    members = [(f"n{i}", Address(f"10.0.0.{i}", port)) for i in range(1, count + 1)]
    return Configuration(name, Address("127.0.0.1", port), members, 2888, 3888, 500, 96, 60)


def test_every_server_is_told_of_all() -> None:
    told = configuration(name="n2")
    assert told.number == 2
    lines = told.text().splitlines()
    assert lines[-3:] == [f"server.{i}=10.0.0.{i}:2888:3888" for i in (1, 2, 3)]
    assert {"clientPortAddress=127.0.0.1", "admin.enableServer=false"} <= set(lines)


@pytest.mark.parametrize("count", [2, 4])
def test_an_even_ensemble_is_refused(count: int) -> None:
    with pytest.raises(OSError, match=f"of {count} bears no more failures than one of {count - 1}"):
        configuration(count).text()


def test_a_stranger_is_refused() -> None:
    with pytest.raises(OSError, match="n9 is no member of the ensemble: it is n1, n2, n3"):
        _ = configuration(name="n9").number


class Words:
    """A server of four-letter words: what ZooKeeper would say is set by the test."""

    said = ALONE

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(4) == b"srvr"
        writer.write(self.said.encode())
        writer.close()


def test_it_is_ready_with_a_mode_and_stays_so_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words, record, port = Words(), Record(), free_port()
    zookeeper = ZooKeeper(configuration(port=port), record.events)
    assert zookeeper.command()[-1] == "./zoo.cfg"
    assert (tmp_path / "myid").read_text() == "1\n"

    async def play() -> None:
        async with await asyncio.start_server(words, "127.0.0.1", port):
            assert not await zookeeper.answers()
            words.said = SERVING
            assert await zookeeper.answers()
            words.said = ALONE
            assert await zookeeper.answers()
            words.said = ""
            assert not await zookeeper.answers()

    run(play())
    assert [event["mode"] for event in record.seen("mode")] == ["looking", "follower", "looking"]


def test_who_waited_for_a_quorum_long_enough_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server, "_PATIENCE", 0.0)
    port = free_port()
    zookeeper = ZooKeeper(configuration(port=port), Record().events)
    zookeeper.command()

    async def play() -> None:
        async with await asyncio.start_server(Words(), "127.0.0.1", port):
            assert await zookeeper.answers()

    run(play())


def test_stack_traces_are_not_told() -> None:
    record = Record()
    zookeeper = ZooKeeper(configuration(), record.events)
    for line in ("WARN Learner - lost", "java.io.EOFException", "\tat java.io.x", "\t... 3 more"):
        zookeeper.heard(line)
    assert [e["line"] for e in record.seen()] == ["WARN Learner - lost", "java.io.EOFException"]


def test_nobody_there_is_refused() -> None:
    servers = [Address("127.0.0.1", free_port())]
    with (
        pytest.raises(Refused, match="no server with a quorum answered"),
        Session(servers, Record().events, timeout=0.3, session=1.0),
    ):
        pass


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["client", "a:b", "ls", "/"], "needs a port"),
        (["client", ",", "ls", "/"], "names no host"),
        (["load", "a", "--writes", "2"], "is not in the range"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(words: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert said in done.output


# The claims.


class Told:
    """A history, made operation by operation."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __iter__(self) -> Iterator[Event]:
        return iter(sorted(self.events, key=lambda event: event["t"]))

    def op(
        self, f: str, start: float, end: float | None, value: Any = None, session: str = "s"
    ) -> None:
        fixed = {"pattern": "zookeeper", "component": "load", "node": "n4", "f": f, "key": "/r"}
        fixed |= {"op": f"o{len(self.events)}", "session": session}
        self.events.append({**fixed, "event": "invoke", "t": start, "value": None})
        if end is not None:
            self.events.append({**fixed, "event": "ok", "t": end, "value": value})


def test_acknowledged_nodes_have_to_be_there() -> None:
    told = Told()
    assert claims.acknowledged_nodes_are_there(told, []).holds is None
    told.op("add", 0, 1, "/log/entry-0")
    told.op("add", 1, None)
    assert claims.acknowledged_nodes_are_there(told, ["entry-0", "entry-1"]).holds
    lost = claims.acknowledged_nodes_are_there(told, ["entry-1"])
    assert lost.holds is False
    assert len(lost.witness) == 2


def test_two_writes_cannot_make_one_version() -> None:
    told = Told()
    assert claims.writes_are_linearizable(told).holds is None
    told.op("write", 0, 3, 1)
    told.op("write", 1, 2, 2)
    assert claims.writes_are_linearizable(told).holds
    told.op("write", 1, 4, 2)
    assert claims.writes_are_linearizable(told).holds is False


def test_a_later_write_has_a_later_version() -> None:
    told = Told()
    told.op("write", 0, 1, 7)
    told.op("write", 2, 3, 6)
    found = claims.writes_are_linearizable(told)
    assert (found.holds, "version 7 was acknowledged before 6" in found.detail) == (False, True)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=8))
def test_writes_that_took_effect_at_a_moment_of_theirs_are_linearizable(
    spans: list[tuple[float, float]],
) -> None:
    told = Told()
    moments = sorted((sum(span) / 2, min(span), max(span)) for span in spans)
    for version, (_, start, end) in enumerate(moments, 1):
        told.op("write", start, end, version)
    assert claims.writes_are_linearizable(told).holds


def test_a_session_looks_forward_at_every_server() -> None:
    told = Told()
    told.op("write", 0, 1, 3)
    told.op("read", 2, 3, 2, session="another")
    assert claims.sessions_look_forward(told).holds
    told.op("read", 4, 5, 2)
    assert claims.sessions_look_forward(told).holds is False


def test_a_stale_read_is_found() -> None:
    told = Told()
    told.op("write", 0, 1, 3)
    told.op("read", 0.5, 2, 2)
    assert claims.reads_are_stale(told).holds is None
    told.op("read", 1.5, 2, 2)
    found = claims.reads_are_stale(told)
    assert (found.holds, len(found.witness)) == (True, 4)


def test_a_lost_session_is_found_after_the_moment_alone() -> None:
    told = [{"event": "session", "state": s, "t": t} for t, s in ((1, "lost"), (3, "connected"))]
    assert claims.no_session_is_lost(told, since=2).holds
    assert claims.no_session_is_lost(told, since=4).holds is None
    assert claims.no_session_is_lost(told, since=0).holds is False


def test_the_longest_silence_is_between_writes() -> None:
    told = Told()
    for end in (1.0, 4.0, 5.0):
        told.op("write", 0, end, int(end))
    assert claims.longest_silence(told) == 3.0

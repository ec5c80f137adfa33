"""corba: the book's rules, what the claims catch, and a ledger on loopback found by its name."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omniORB import CORBA

from apps.corba import claims
from apps.corba.core import LARGEST, Book, Declined, Entry, Overdrawn
from apps.corba.orb import failure
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Deadline
from lab import interfaces
from tests.conftest import eventually
from tests.loopback import PATIENCE, free_port

ENTRIES = st.lists(
    st.builds(Entry, st.sampled_from(["a", "b", "c"]), st.integers(-50, 50)), max_size=6
)


def book(accounts: int = 10) -> Book:
    return Book(accounts=accounts, remembered=3)


@given(st.lists(ENTRIES))
def test_a_batch_is_written_whole_or_not_at_all(batches: list[list[Entry]]) -> None:
    kept = book()
    expected: dict[str, int] = {}
    for batch in batches:
        after = dict(expected)
        good = True
        for entry in batch:
            after[entry.account] = after.get(entry.account, 0) + entry.amount
            good &= bool(entry.amount) and after[entry.account] >= 0
        try:
            written = kept.post(batch)
            assert good
            assert [w.entry for w in written] == batch
            expected = after
        except (Overdrawn, Declined):
            assert not good
        assert {account: kept.balance(account) for account in expected} == expected


def test_what_cannot_be_written_is_declined() -> None:
    kept = book(accounts=1)
    kept.post([Entry("a", LARGEST)])
    for entry in (Entry("", 1), Entry("a", 0), Entry("a", 1), Entry("b", 1), Entry("a", -(10**16))):
        with pytest.raises(Declined):
            kept.post([entry])
    with pytest.raises(Overdrawn, match="b holds 0, and 1 were to go out"):
        kept.post([Entry("b", -1)])
    assert kept.written == 1


def test_the_oldest_entries_are_forgotten_and_no_balance() -> None:
    kept = book()
    for amount in range(1, 6):
        kept.post([Entry("a", amount)])
    assert [entry.amount for entry in kept.recent("a", 10)] == [3, 4, 5]
    assert kept.recent("a", 0) == kept.recent("nobody", 5) == []
    assert kept.balance("a") == 15


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (CORBA.TRANSIENT(0, CORBA.COMPLETED_NO), Refused),
        (CORBA.OBJECT_NOT_EXIST(0, CORBA.COMPLETED_NO), Refused),
        (CORBA.MARSHAL(0, CORBA.COMPLETED_NO), Rejected),
        (CORBA.COMM_FAILURE(0, CORBA.COMPLETED_MAYBE), Unknown),
        (CORBA.TIMEOUT(0, CORBA.COMPLETED_MAYBE), Unknown),
        (CORBA.MARSHAL(0, CORBA.COMPLETED_YES), Unknown),
    ],
)
def test_the_completion_status_says_what_is_known(error: Any, known: type[CallFailed]) -> None:
    assert type(failure(error)) is known


def event(event: str, t: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {"event": event, "t": t, "node": "n2", "component": "client"} | fields


def posted(op: str, outcome: str, *numbers: int) -> list[dict[str, Any]]:
    """A call, its outcome, and its executions."""
    done = [
        event("executed", call=op, book="b", entries=[[number, "a", 1, number]])
        for number in numbers
    ]
    return [
        event("invoke", op=op, f="post", value=1),
        *done,
        event(outcome, op=op, f="post", value=1),
    ]


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        (posted("x", "ok", 1), True),
        ([*posted("x", "ok", 1), *posted("y", "unknown", 2), *posted("z", "unknown")], True),
        ([*posted("x", "ok", 1), *posted("y", "fail")], True),
        (posted("x", "ok", 1, 2), False),
        ([*posted("x", "ok", 1), *posted("y", "unknown", 2, 3)], False),
        (posted("x", "fail", 1), False),
        (posted("x", "ok"), False),
        ([*posted("x", "ok"), event("left_out", events=1)], None),
        (posted("x", "fail"), None),
    ],
)
def test_calls_are_held_against_the_servants_log(history: list[Any], holds: bool | None) -> None:
    assert claims.posted_as_told(history).holds is holds


def test_a_book_that_does_not_add_up_is_caught() -> None:
    good = [*posted("x", "ok", 1), *posted("y", "ok", 2)]
    assert claims.book_adds_up(good).holds is True
    assert claims.book_adds_up([]).holds is None
    for entry in ([2, "a", 1, 3], [3, "a", 1, 2], [2, "b", -1, -1]):
        bad = [*posted("x", "ok", 1), event("executed", call="y", book="b", entries=[entry])]
        assert claims.book_adds_up(bad).holds is False


def test_a_name_that_is_not_bound_again_is_caught() -> None:
    begins = event("begins", component="naming")
    assert claims.names_are_bound_again([begins, event("bound")]).holds is True
    assert claims.names_are_bound_again([event("bound"), begins]).holds is False
    assert claims.names_are_bound_again([event("bound")]).holds is None


def test_a_watcher_told_wrongly_is_caught() -> None:
    written = [*posted("x", "ok", 1, 2)]

    def told(*numbers: int) -> list[Any]:
        return [*written, *(event("told", by="n1-b:w1", number=number) for number in numbers)]

    assert claims.watchers_are_told_in_order(told(1, 2)).holds is True
    assert claims.watchers_are_told_in_order(told(2)).holds is True
    assert claims.watchers_are_told_in_order(told()).holds is None
    for numbers in ((2, 1), (1, 1), (3,)):
        assert claims.watchers_are_told_in_order(told(*numbers)).holds is False


class Running:
    """A component or client in a process of its own, for an ORB is its process'.

    It writes into a file, for a pipe that nobody reads stops who writes.
    """

    def __init__(self, log: Path, *arguments: object) -> None:
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "apps.corba", *map(str, arguments)],
                cwd=interfaces.ROOT,
                stdout=out,
                stderr=subprocess.DEVNULL,
            )
        self._log = log.open()
        self._line = ""

    def seen(self, event: str) -> dict[str, Any]:
        """Wait for the next event of this name; give it."""
        deadline = Deadline(PATIENCE)
        while True:
            self._line += self._log.readline()
            if self._line.endswith("\n"):
                told: dict[str, Any] = json.loads(self._line)
                self._line = ""
                if told["event"] == event:
                    return told
            else:
                assert not deadline.passed, f"there is no event {event}"
                time.sleep(0.005)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        self._log.close()


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start components and clients, and wait for the event that says they are ready."""
    interfaces.generate()
    started: list[Running] = []

    def begin(*arguments: object, ready: str = "ready") -> Running:
        running = Running(tmp_path / f"{len(started)}.log", *arguments)
        started.append(running)
        running.seen(ready)
        return running

    yield begin
    for running in reversed(started):
        running.end()


def client(naming: int, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "apps.corba", "client", f"127.0.0.1:{naming}"]
    return subprocess.run(
        [*command, *map(str, words)],
        cwd=interfaces.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * PATIENCE,
    )


@pytest.fixture
def naming(start: Start) -> int:
    port = free_port()
    start("naming", "--port", port)
    return port


@pytest.fixture
def server(start: Start, naming: int) -> Running:
    return start("server", "--port", free_port(), "--name-service", f"127.0.0.1:{naming}")


def test_a_client_finds_the_ledger_by_its_name(naming: int, server: Running) -> None:
    assert client(naming, "post", "Ådne", 100, "løn").stdout == "Ådne: 100\n"
    assert (
        client(naming, "move", "Ådne", "b", 30).stdout == "moved; 3 entries were written so far\n"
    )
    assert client(naming, "recent", "Ådne").stdout == "+100  løn\n-30  to b\n"
    assert client(naming, "remark", "well", "done").returncode == 0
    assert server.seen("remark")["text"] == "well done"
    overdrawn = client(naming, "post", "Ådne", -100)
    assert overdrawn.returncode == 4
    assert overdrawn.stderr == "rejected: Ådne holds 70, and 100 were to go out\n"
    assert client(naming, "post", "a" * 65, 1).returncode == 4
    assert client(naming, "sing").returncode == client(naming, "post", "a", "x").returncode == 2


def test_messages_are_joined_by_the_id_in_the_service_context(naming: int, server: Running) -> None:
    asked = client(naming, "post", "a", 1, "--json", "--node", "n7")
    events = {e["event"]: e for e in map(json.loads, asked.stdout.splitlines())}
    sent, received = events["send"]["id"], events["recv"]["id"]
    assert received == f"{sent}/answer"
    came = server.seen("recv")
    assert (came["id"], came["peer"]) == (sent, "n7")
    assert server.seen("executed")["call"] == events["invoke"]["op"]
    assert server.seen("send")["id"] == received


def test_a_watcher_is_called_back_in_order(start: Start, naming: int, server: Running) -> None:
    watching = start("watch", f"127.0.0.1:{naming}", "--json", ready="ok")
    assert client(naming, "--count", 200, "--callers", 4).returncode == 0
    server.seen("watched")
    numbers = [watching.seen("told")["number"] for _ in range(100)]
    assert numbers == list(range(1, 101))
    watching.process.terminate()
    assert server.seen("dropped")["why"] == "it asked for that"


def test_without_its_name_the_ledger_is_not_found(naming: int) -> None:
    lost = client(naming, "balance", "a", "--timeout", 0.5)
    assert lost.returncode == 3
    assert "has no Ledger.Book yet" in lost.stderr


def test_a_new_naming_service_is_told_the_name(start: Start) -> None:
    port = free_port()
    own = start("server", "--port", free_port(), "--name-service", f"127.0.0.1:{port}")
    assert client(port, "balance", "a", "--timeout", 0.3).returncode == 3
    start("naming", "--port", port)
    own.seen("bound")
    assert client(port, "balance", "a").stdout == "a: 0\n"


@pytest.mark.parametrize("garbage", [b"\0" * 20, b"GIOP\1\2\1\0\xff\xff\xff\x7f", os.urandom(5000)])
def test_garbage_harms_nobody(start: Start, naming: int, garbage: bytes) -> None:
    own = free_port()
    start("server", "--port", own, "--name-service", f"127.0.0.1:{naming}")
    for port in (naming, own):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(garbage)
    assert client(naming, "balance", "a").stdout == "a: 0\n"


def test_silent_peers_do_not_stop_it(start: Start, naming: int) -> None:
    """More connections with half a message than there are threads: each ends after its patience.

    So may a client's whose request has waited behind them as long: its outcome is unknown then.
    """
    port = free_port()
    start("server", "--port", port, "--name-service", f"127.0.0.1:{naming}", "--idle", 1)
    with contextlib.ExitStack() as open_ones:
        for _ in range(40):
            half = open_ones.enter_context(socket.create_connection(("127.0.0.1", port)))
            half.sendall(b"GIOP\1\2\1\0\0\1\0\0")
        eventually(lambda: client(naming, "balance", "a").stdout == "a: 0\n", "answered")


def test_the_naming_service_ends_if_its_port_is_taken(naming: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "apps.corba", "naming", "--port", str(naming)],
        cwd=interfaces.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1


def test_the_program_is_the_packages_own() -> None:
    from apps.corba.naming import PROGRAM

    assert Path(PROGRAM).is_file()

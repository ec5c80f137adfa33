"""Pipelines and pools: who dies is noticed, the work is redone, and the file is repaired."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.concurrency.claims import (
    kept_once,
    lost_work_is_done,
    squares_are_right,
    stored_work_survives,
    threads_die_together,
)
from apps.concurrency.core import Pipeline, Rules
from apps.concurrency.pool import Crasher, PoolRound, PoolRules, ThreadPool
from apps.concurrency.results import Results, Round, forget_old, next_round, read, write_whole
from apps.concurrency.rounds import Rounds, Threads, work
from apps.concurrency.supervisor import Crew, Supervisor
from apps.kit.effects import Emit, Send
from apps.kit.outcome import Rejected
from lab.catalogue import ROOT
from tests.loopback import Record, run, until

MODULE = [sys.executable, "-m", "apps.concurrency"]
SQUARES = [(number, number * number) for number in range(1, 21)]


def command(*words: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MODULE, *words], cwd=ROOT, input=said, capture_output=True, text=True, check=False
    )


def events_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


# The filters


def test_the_filters_make_a_pipeline_in_a_shell(tmp_path: Path) -> None:
    file = tmp_path / "squares.txt"
    program = " ".join(MODULE)
    script = f"{program} generate -10 10 | {program} square | {program} store {file}"
    done = subprocess.run(script, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "ready"
    assert done.stdout.splitlines()[-1] == "end"
    assert read(file) == ([(n, n * n) for n in range(-10, 11)], True)


@pytest.mark.parametrize(
    ("stage", "said", "status", "why"),
    [
        ("square", "1\n2\n", 5, "unknown: the stage before ended without saying so"),
        ("square", "", 5, "unknown: the stage before"),
        ("square", "1\nnut\nend\n", 4, "rejected: 'nut' is no integer"),
        ("square", "1\n1.5\n", 4, "rejected: '1.5' is no integer"),
        ("square", "\nend\n", 4, "rejected: '' is no integer"),
        ("square", "9" * 1001 + "\nend\n", 4, "rejected: '999"),
        ("square", "9" * 100_000, 4, "rejected: a line of more than"),
        ("store", "1 1\n2\nend\n", 4, "rejected: '2' is no number and its square"),
        ("store", "1 1\n", 5, "unknown: the stage before"),
    ],
)
def test_what_is_no_line_or_no_end_is_told(
    tmp_path: Path, stage: str, said: str, status: int, why: str
) -> None:
    file = [str(tmp_path / "squares.txt")] if stage == "store" else []
    done = command(stage, *file, said=said)
    assert done.returncode == status
    assert done.stderr.startswith(why)


def test_big_numbers_are_squared() -> None:
    number = "7" * 1000
    done = command("square", said=f"{number}\n-3\nend\n")
    assert done.stdout.splitlines() == [f"{number} {int(number) ** 2}", "-3 9", "end"]


def test_a_number_is_kept_once_however_often_it_comes(tmp_path: Path) -> None:
    file = str(tmp_path / "squares.txt")
    assert command("store", file, said="1 1\n2 4\n1 1\nend\n").returncode == 0
    assert command("store", file, said="2 4\n3 9\nend\n").returncode == 0
    assert read(Path(file)) == ([(1, 1), (2, 4), (3, 9)], True)


# The file


@given(cut=st.integers(0, 200), more=st.integers(0, 20))
def test_half_a_line_is_repaired(tmp_path_factory: Any, cut: int, more: int) -> None:
    file = tmp_path_factory.mktemp("results") / "squares.txt"
    write_whole(file, SQUARES)
    data = file.read_bytes()[:cut]
    file.write_bytes(data)
    with Results(file) as results:
        assert [*results.numbers] == [n for n, _ in SQUARES][: len(results.numbers)]
        results.keep(SQUARES[:more])
        results.keep(SQUARES)
        results.close_with_end()
        results.close_with_end()
    assert read(file) == (SQUARES, True)


def test_a_file_of_somebody_else_is_refused_and_left(tmp_path: Path) -> None:
    file = tmp_path / "squares.txt"
    file.write_text("dear diary\n")
    with pytest.raises(Rejected, match="line 1 is b'dear diary'"):
        Results(file)
    with pytest.raises(Rejected, match="is no file"):
        Results(Path("/dev/zero"))
    with pytest.raises(Rejected, match="No such file"):
        Results(tmp_path / "nowhere" / "squares.txt")
    assert file.read_text() == "dear diary\n"


def test_rounds_follow_each_other_by_their_files(tmp_path: Path) -> None:
    first = next_round(tmp_path, 10)
    assert (first.first, first.last) == (1, 10)
    with Results(first.path) as results:
        results.keep(SQUARES[:4])
        assert next_round(tmp_path, 99) == first
        results.close_with_end()
    assert next_round(tmp_path, 5)[:2] == (11, 15)
    write_whole(next_round(tmp_path, 5).path, [])
    forget_old(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["squares-11-15.txt"]


# The pipeline


def crew(**changes: Any) -> Crew:
    return Crew(**{"workers": 3, "delay": 0.02, "patience": 5.0, **changes})


def pids(record: Record, stage: str) -> list[int]:
    return [event["pid"] for event in record.seen("started") if event["stage"] == stage]


@pytest.mark.parametrize("stage", ["square", "store", "generate"])
def test_a_stage_that_is_killed_costs_nothing(tmp_path: Path, stage: str) -> None:
    record = Record()
    round_ = Round(1, 60, tmp_path / "squares.txt")

    async def main() -> None:
        supervisor = Supervisor(record.events, round_, crew())
        task = asyncio.create_task(work(record.events, round_, supervisor))
        await until(lambda: record.seen("progress"))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids(record, stage)[-1], signal.SIGKILL)
        assert await task

    run(main())
    pairs, closed = read(round_.path)
    assert sorted(pairs) == [(n, n * n) for n in range(1, 61)]
    assert closed
    assert kept_once(record.seen()).holds
    assert squares_are_right(record.seen()).holds
    if stage != "generate":
        assert record.seen("lost")[0]["why"] == "killed by SIGKILL"
        assert lost_work_is_done(record.seen()).holds


def test_a_stage_that_is_stuck_is_killed(tmp_path: Path) -> None:
    record = Record()
    round_ = Round(1, 60, tmp_path / "squares.txt")

    async def main() -> None:
        supervisor = Supervisor(record.events, round_, crew(patience=0.5))
        task = asyncio.create_task(work(record.events, round_, supervisor))
        await until(lambda: record.seen("progress"))
        os.kill(pids(record, "square")[0], signal.SIGSTOP)
        assert await task

    run(main())
    assert record.seen("redone")
    assert sorted(read(round_.path)[0]) == [(n, n * n) for n in range(1, 61)]


def test_what_was_drained_goes_on_where_it_stopped(tmp_path: Path) -> None:
    record = Record()
    round_ = Round(1, 60, tmp_path / "squares.txt")

    async def main() -> None:
        supervisor = Supervisor(record.events, round_, crew())
        task = asyncio.create_task(work(record.events, round_, supervisor))
        await until(lambda: record.seen("progress"))
        supervisor.drain()
        assert not await task
        assert not record.seen("lost")
        kept, closed = read(round_.path)
        assert 0 < len(kept) < 60
        assert not closed
        assert await work(record.events, round_, Supervisor(record.events, round_, crew()))
        assert record.seen("begun")[-1]["found"] == len(kept)

    run(main())
    assert stored_work_survives([{**e, "component": "pipeline"} for e in record.seen()]).holds


def test_a_disk_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    record = Record()
    (tmp_path / "squares.txt").mkdir()
    round_ = Round(1, 3, tmp_path / "squares.txt")
    with pytest.raises(Rejected, match="processes died"):
        run(work(record.events, round_, Supervisor(record.events, round_, crew())))
    assert {event["why"] for event in record.seen("lost")} == {"ended with status 4"}
    assert record.seen("fail")


def test_a_number_at_which_all_die_is_given_up_and_the_rest_is_done() -> None:
    core = Pipeline(Rules(window=2, attempts=3))
    told = [*core.storage_joined([])]
    for number in (1, 2):
        told += core.offered(number)
    for life in range(3):
        told += core.joined(f"w{life}")
        told += core.left(f"w{life}", "killed")
    assert core.given_up == [1]
    assert [e.fields["number"] for e in told if isinstance(e, Emit) and e.event == "gave_up"] == [1]
    told = [*core.joined("w9")]
    assert [e for e in told if isinstance(e, Send)] == [Send("w9", {"number": 2})]
    told = [*core.squared("w9", 2, 4), *core.acknowledged(2), *core.all_offered()]
    assert core.complete


def test_what_nobody_was_handed_is_dropped() -> None:
    core = Pipeline(Rules())
    dropped = Emit("dropped", {"worker": "w1", "number": 3})
    assert [*core.joined("w1"), *core.squared("w1", 3, 9)] == [dropped]


# The pool


def pool(record: Record, work_: Callable[[int], int], **rules: Any) -> ThreadPool:
    return ThreadPool(record.events, range(1, 21), PoolRules(**rules), work_)


@pytest.mark.parametrize("consumers", [1, 4])
@pytest.mark.parametrize("capacity", [1, 8])
def test_a_pool_squares_all(consumers: int, capacity: int) -> None:
    assert (
        sorted(pool(Record(), Crasher(), consumers=consumers, capacity=capacity).run()) == SQUARES
    )


@pytest.mark.parametrize("consumers", [1, 4])
def test_what_a_crashed_consumer_held_is_redone(consumers: int) -> None:
    record = Record()
    crashing = pool(record, Crasher(0, (1, 7, 20)), consumers=consumers, capacity=1)
    assert sorted(crashing.run()) == SQUARES
    assert [event["numbers"] for event in record.seen("lost")] == [[1], [7], [20]]
    assert len(record.seen("redone")) == 3


def test_a_number_at_which_all_crash_is_reported(tmp_path: Path) -> None:
    record = Record()
    round_ = Round(1, 20, tmp_path / "squares.txt")
    crashing = pool(record, Crasher(0, (5,), always=True), attempts=2)
    with pytest.raises(Rejected, match=r"\[5\]"):
        run(work(record.events, round_, Threads(PoolRound(record.events, round_, crashing))))
    assert record.seen("gave_up")[0]["number"] == 5
    assert kept_once(record.seen()).holds
    assert sorted(read(round_.path)[0]) == [pair for pair in SQUARES if pair[0] != 5]


def test_a_pool_that_is_drained_keeps_nothing_and_begins_anew(tmp_path: Path) -> None:
    record = Record()
    round_ = Round(1, 20, tmp_path / "squares.txt")
    drained = pool(record, Crasher())
    drained.drain()
    assert not PoolRound(record.events, round_, drained).work()
    assert not round_.path.exists()


# The units


def test_a_unit_goes_round_after_round_and_stops_well(tmp_path: Path) -> None:
    record = Record("pool")

    def begin(round_: Round) -> Threads:
        numbers = range(round_.first, round_.last + 1)
        threads = ThreadPool(record.events, numbers, PoolRules(), Crasher(0.001))
        return Threads(PoolRound(record.events, round_, threads))

    async def main() -> None:
        async with Rounds(record.events, tmp_path, begin, count=20, rest=0.0, keep=2):
            await until(lambda: len(record.seen("finished")) >= 4)

    run(main())
    assert len([*tmp_path.glob("squares-*.txt")]) <= 3
    ends = record.seen("finished")
    assert [end["first"] for end in ends] == [1 + 20 * place for place in range(len(ends))]


def test_sighup_ends_the_rest(tmp_path: Path) -> None:
    record = Record("pool")

    class Working:
        given_up: ClassVar[list[int]] = []

        def __init__(self, round_: Round) -> None:
            self.path = round_.path

        async def run(self) -> bool:
            self.path.write_text("end\n")
            return True

        def drain(self) -> None:
            pass

    def finished(rounds: int) -> bool:
        return len(record.seen("finished")) == rounds

    async def main() -> None:
        async with Rounds(record.events, tmp_path, Working, count=20, rest=3600.0, keep=9):
            for rounds in (1, 2, 3):
                await until(partial(finished, rounds))
                os.kill(os.getpid(), signal.SIGHUP)

    run(main())


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    words = [*MODULE, "pipeline", "--count", "100000", "--delay", "0"]
    state = {"STATE_DIRECTORY": str(tmp_path)}
    process = subprocess.Popen(
        words, cwd=ROOT, env=os.environ | state, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_unit_that_is_told_to_end_drains_by_sentinel(
    unit: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert unit.stdout is not None
    said: list[dict[str, Any]] = []
    while len([event for event in said if event.get("stage") == "square"]) < 4:
        said.append(json.loads(unit.stdout.readline()))
    unit.send_signal(signal.SIGTERM)
    rest, _ = unit.communicate(timeout=30)
    said += [json.loads(line) for line in rest.splitlines()]
    assert unit.returncode == 0
    names = [event["event"] for event in said]
    assert names[-1] == "stopped"
    assert "broken_off" in names
    assert "lost" not in names
    (file,) = tmp_path.iterdir()
    pairs, closed = read(file)
    assert not closed
    assert all(square == number**2 for number, square in pairs)


# The clients


def test_a_person_sees_squares() -> None:
    done = command("process-pipeline", "--first", "-2", "--count", "4")
    assert done.stdout.splitlines() == ["-2² = 4", "-1² = 1", "0² = 0", "1² = 1"]
    done = command("thread-pool", "--count", "2", "--crash-at", "2")
    assert done.stdout.splitlines() == ["1² = 1", "2² = 4"]


def test_what_cannot_be_is_told() -> None:
    assert command("thread-pool", "--count", "3", "--crash-at", "2", "--always").returncode == 4
    assert command("process-pipeline", "--delay", "9").returncode == 2
    assert command("process-pipeline", "--workers", "0").returncode == 2


def test_threads_are_compared_with_processes() -> None:
    done = command("compare", "--tasks", "2", "--workers", "2", "--seconds", "0.01", "--json")
    measured = [event for event in events_of(done) if event["event"] == "measured"]
    assert [(event["work"], event["way"]) for event in measured] == [
        (kind, way)
        for kind in ("computing", "waiting")
        for way in ("one by one", "threads", "processes")
    ]


# The claims


FIXED = {"pattern": "concurrency", "component": "pipeline", "node": "n1", "t": 0.0}
WORK = {**FIXED, "first": 1, "last": 3}
END = {**WORK, "event": "finished", "output": [[1, 1], [3, 9], [2, 4]], "given_up": []}


@pytest.mark.parametrize(
    ("output", "given_up", "holds"),
    [
        ([[1, 1], [3, 9], [2, 4]], [], True),
        ([[1, 1], [3, 9]], [], False),
        ([[1, 1], [3, 9]], [2], True),
        ([[1, 1], [3, 9], [2, 4], [2, 4]], [], False),
        ([[1, 1], [3, 9], [2, 4], [4, 16]], [], False),
    ],
)
def test_each_number_is_kept_once(
    output: list[list[int]], given_up: list[int], holds: bool
) -> None:
    assert kept_once([END, {**END, "output": output, "given_up": given_up}]).holds is holds


def test_a_wrong_square_is_found() -> None:
    assert squares_are_right([END]).holds
    assert squares_are_right([{**END, "output": [[2, 5]]}]).holds is False
    assert squares_are_right([]).holds is None


def test_lost_work_that_was_not_done_is_found() -> None:
    lost = {**FIXED, "event": "lost", "stage": "worker", "why": "killed", "numbers": [2, 3]}
    assert lost_work_is_done([lost, END]).holds
    assert lost_work_is_done([lost, {**END, "output": [[1, 1]]}]).holds is False
    assert lost_work_is_done([lost]).holds is None


def test_a_round_that_begins_again_is_judged() -> None:
    told = {**WORK, "event": "progress", "done": 2}
    again = {**WORK, "event": "begun", "found": 2}
    assert stored_work_survives([told, again]).holds
    assert stored_work_survives([told, {**again, "found": 1}]).holds is False
    assert stored_work_survives([told, END, again]).holds is None
    threads = [{**event, "component": "pool"} for event in (told, {**again, "found": 0})]
    assert threads_die_together(threads).holds
    assert threads_die_together([told, again]).holds is None

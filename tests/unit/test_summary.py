"""Measuring clients: the summary event, and `--brief`, which leaves only that."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from click.testing import CliRunner

from apps.kit.cli import Pattern
from apps.kit.events import Events
from apps.kit.outcome import Refused
from apps.kit.summary import Load, crowd, summarise


def written(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("latencies", "p50", "p99"),
    [([], 0.0, 0.0), ([0.004], 4.0, 4.0), ([0.001] * 98 + [0.009] * 2, 1.0, 9.0)],
)
def test_the_summary_gives_rate_and_quantiles(
    latencies: list[float], p50: float, p99: float
) -> None:
    out = io.StringIO()
    summarise(Events("p", "client", "n1", out=out), latencies, 3, 2.0)
    (summary,) = written(out)
    assert summary["event"] == "summary"
    assert (summary["answered"], summary["failed"]) == (len(latencies), 3)
    assert (summary["rate"], summary["p50_ms"], summary["p99_ms"]) == (
        round(len(latencies) / 2, 1),
        p50,
        p99,
    )


def test_a_crowd_makes_every_call_once_and_counts_the_failures() -> None:
    out = io.StringIO()
    events = Events("p", "client", "n1", out=out)
    asked = 0

    @contextlib.asynccontextmanager
    async def connect(rng: random.Random) -> AsyncIterator[random.Random]:
        yield rng

    async def ask(connection: random.Random, rng: random.Random) -> None:
        nonlocal asked
        asked += 1
        assert connection is rng
        await asyncio.sleep(0)
        if asked % 10 == 0:
            raise Refused("the tenth")

    asyncio.run(crowd(events, connect, ask, Load(95, callers=4)))
    (summary,) = written(out)
    assert asked == 95
    assert summary["answered"] + summary["failed"] == 95
    assert summary["failed"] >= 9


def test_a_crowd_goes_on_for_its_time_whatever_fails_and_rests_no_longer() -> None:
    out = io.StringIO()
    asked = 0

    @contextlib.asynccontextmanager
    async def connect(rng: random.Random) -> AsyncIterator[random.Random]:
        yield rng

    async def ask(*_: random.Random) -> None:
        nonlocal asked
        asked += 1
        raise Refused("nobody is there")

    load = Load(callers=2, think=0.01, seconds=0.1)
    asyncio.run(crowd(Events("p", "client", "n1", out=out), connect, ask, load))
    (summary,) = written(out)
    assert (summary["answered"], summary["failed"]) == (0, asked)
    assert 2 < asked <= 22
    asyncio.run(crowd(Events("p", "client", "n1", out=out), connect, ask, Load(seconds=0)))
    assert summary["failed"] == asked, "no call begins after the end"


def test_sigterm_ends_a_load_between_two_calls() -> None:
    out = io.StringIO()
    asked = 0

    @contextlib.asynccontextmanager
    async def connect(rng: random.Random) -> AsyncIterator[random.Random]:
        yield rng

    async def ask(*_: random.Random) -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)

    load = Load(think=0.001)
    asyncio.run(crowd(Events("p", "client", "n1", out=out), connect, ask, load))
    (summary,) = written(out)
    assert (summary["answered"], asked) == (3, 3)


def test_operations_of_two_runs_have_different_ids() -> None:
    runs = [Events("p", "client", "n1", out=io.StringIO()) for _ in range(2)]
    assert len({run.operation() for run in runs for _ in range(3)}) == 6


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--json"], ["invoke", "send", "summary"]),
        (["--json", "--brief"], ["summary"]),
        ([], []),
    ],
)
def test_brief_leaves_the_summary_alone(flags: list[str], names: list[str]) -> None:
    cli = Pattern("p", "A pattern.")

    @cli.client
    def client(events: Events) -> None:
        """Do three things."""
        events.emit("invoke", op="1")
        events.send("1", "n2")
        events.emit("summary", rate=1)

    result = CliRunner().invoke(cli, ["client", *flags])
    assert result.exit_code == 0
    assert [json.loads(line)["event"] for line in result.output.splitlines()] == names


def test_brief_without_json_says_what_to_do() -> None:
    cli = Pattern("p", "A pattern.")

    @cli.client
    def client(events: Events) -> None:
        """Do nothing."""

    result = CliRunner().invoke(cli, ["client", "--brief"])
    assert result.exit_code == 2
    assert "it goes with --json" in result.output

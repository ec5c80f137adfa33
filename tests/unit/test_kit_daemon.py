"""Somebody else's daemon as a component: real processes, small ones."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from apps.kit.daemon import Daemon
from apps.kit.events import Events

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
SERVES = "import os, time; print('begun', flush=True); open('up', 'w'); time.sleep(60)"


class Script(Daemon):
    name = "script"
    begin = 5.0

    def __init__(self, events: Events, script: str, place: Path) -> None:
        super().__init__(events)
        self._script = script
        self._place = place

    def command(self) -> Sequence[str]:
        return ["/usr/bin/env", "-C", str(self._place), sys.executable, "-c", self._script]

    async def answers(self) -> bool:
        return (self._place / "up").exists()


@pytest.fixture
def told() -> io.StringIO:
    return io.StringIO()


def events(told: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told.getvalue().splitlines()]


def daemon(told: io.StringIO, script: str, place: Path) -> Script:
    return Script(Events("test", "broker", "n1", out=told), script, place)


async def until_asked_to_end() -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    async with asyncio.timeout(10):
        await asked.wait()


def test_it_serves_and_ends_with_its_parent(told: io.StringIO, tmp_path: Path) -> None:
    async def play() -> int | None:
        async with daemon(told, SERVES, tmp_path) as serving:
            process = serving._process
            assert process.returncode is None
        return process.returncode

    assert asyncio.run(play()) == -signal.SIGTERM
    assert [event.get("line") for event in events(told)] == ["begun"]


def test_who_hears_no_sigterm_is_killed(told: io.StringIO, tmp_path: Path) -> None:
    async def play() -> int | None:
        async with daemon(told, f"{DEAF}; {SERVES}", tmp_path) as it:
            it.end = 0.2
            process = it._process
        return process.returncode

    assert asyncio.run(play()) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("script", "why"),
    [("print('no such file'); raise SystemExit(7)", "status 7"), (SERVES.replace("up", "x"), "no")],
)
def test_what_does_not_begin_is_an_error(
    told: io.StringIO, tmp_path: Path, script: str, why: str
) -> None:
    async def play() -> None:
        begun = daemon(told, script, tmp_path)
        begun.begin = 1.0
        async with begun:
            pass

    with pytest.raises(OSError, match=why):
        asyncio.run(play())
    assert events(told)[0]["event"] == "said"


def test_an_end_of_its_own_ends_the_parent(told: io.StringIO, tmp_path: Path) -> None:
    async def play() -> None:
        async with daemon(told, SERVES, tmp_path) as serving:
            serving._process.kill()
            await until_asked_to_end()

    asyncio.run(play())
    assert events(told)[-1]["error"] == "script ended with status -9"


def test_silence_ends_the_parent(
    told: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.kit.daemon.LOOK", 0.05)

    async def play() -> None:
        async with daemon(told, SERVES, tmp_path):
            (tmp_path / "up").unlink()
            await until_asked_to_end()

    asyncio.run(play())
    assert events(told)[-1]["error"] == "script answers no longer"


def test_a_line_without_an_end_is_borne(told: io.StringIO, tmp_path: Path) -> None:
    floods = f"import sys; sys.stdout.write('x' * 200_000 + '\\nlast'); {SERVES}"

    async def play() -> None:
        async with daemon(told, floods, tmp_path):
            pass

    asyncio.run(play())
    lines = [event["line"] for event in events(told)]
    assert len("".join(lines)) == 200_000 + len("lastbegun")
    assert lines[-1] == "lastbegun"

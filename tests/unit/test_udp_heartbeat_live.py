"""Monitor, senders and clients over real sockets on loopback."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.store import Store
from apps.udp_heartbeat.__main__ import cli
from apps.udp_heartbeat.client import MonitorClient, ago, cells, table
from apps.udp_heartbeat.core import Monitor
from apps.udp_heartbeat.detectors import PhiRules
from apps.udp_heartbeat.heart import Heart
from apps.udp_heartbeat.monitor import monitor
from apps.udp_heartbeat.sender import Sender, resolved
from apps.udp_heartbeat.tracking import Rules
from tests.loopback import free_port

QUICK = Rules(timeout=0.6, phi=PhiRules(interval=0.05, pause=0.4, ceiling=2.0), dead_after=0.3)


def events(component: str, node: str, out: io.StringIO | None = None) -> Events:
    return Events("udp_heartbeat", component, node, out=out or io.StringIO())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Address:
    """An address whose port is free for TCP and UDP."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return Address("127.0.0.1", free_port())


def sender(name: str, target: Address, directory: Path) -> Sender:
    store = Store(directory / f"{name}.json")
    targets = resolved([target])
    heart = Heart(name, list(targets), QUICK.phi.interval, store.values)
    return Sender(heart, "127.0.0.1", targets, events=events("sender", name), store=store)


async def states(client: MonitorClient) -> dict[str, tuple[int, str, str]]:
    rows = await client.status()
    return {r["node"]: (r["incarnation"], r["fixed"]["state"], r["phi"]["state"]) for r in rows}


async def until(client: MonitorClient, expected: dict[str, tuple[int, str, str]]) -> None:
    async with asyncio.timeout(20):
        while await states(client) != expected:  # noqa: ASYNC110  nothing here can be awaited
            await asyncio.sleep(0.02)


async def live(here: Address, tmp_path: Path, broadcast: str) -> str:
    out = io.StringIO()
    target = Address(broadcast, here.port) if broadcast else here
    async with AsyncExitStack() as stack:
        core = Monitor(QUICK)
        await stack.enter_async_context(monitor(core, here, broadcast, events("monitor", "h", out)))
        client = await stack.enter_async_context(MonitorClient(here, events("status", "c"), 10.0))
        await stack.enter_async_context(sender("a", target, tmp_path))
        async with sender("b", target, tmp_path):
            await until(client, {"a": (1, "alive", "alive"), "b": (1, "alive", "alive")})
        await until(client, {"a": (1, "alive", "alive"), "b": (1, "dead", "dead")})
        await stack.enter_async_context(sender("b", target, tmp_path))
        await until(client, {"a": (1, "alive", "alive"), "b": (2, "alive", "alive")})
    return out.getvalue()


@pytest.mark.parametrize("broadcast", ["", "127.255.255.255"])
def test_a_sender_that_stops_is_called_dead_and_taken_back(
    here: Address, tmp_path: Path, broadcast: str
) -> None:
    said = [json.loads(line) for line in asyncio.run(live(here, tmp_path, broadcast)).splitlines()]
    turns = [(e["peer"], e["detector"], e["state"]) for e in said if e["event"] == "transition"]
    for detector in ("fixed", "phi"):
        story = [state for *who, state in turns if who == ["b", detector]]
        assert story == ["alive", "suspected", "dead", "alive"]
    received = [e["id"] for e in said if e["event"] == "recv" and e.get("kind") == "heartbeat"]
    assert received[0].startswith("a.1:")


def test_garbage_is_borne_and_watchers_are_told(here: Address, tmp_path: Path) -> None:
    out = io.StringIO()

    async def play() -> list[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            core = Monitor(QUICK)
            await stack.enter_async_context(monitor(core, here, "", events("monitor", "h", out)))
            client = MonitorClient(here, events("watch", "c"), 10.0)
            await stack.enter_async_context(client)
            watched = asyncio.create_task(collect(client))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rogue:
                for data in (b"", b"\0", b"[]", b'{"id": 1}', b"[" * 60_000, b'{"id":"x","m":{}}'):
                    rogue.sendto(data, here)
            await until(client, {})
            await stack.enter_async_context(sender("a", here, tmp_path))
            async with asyncio.timeout(20):
                return await watched

    async def collect(client: MonitorClient) -> list[dict[str, Any]]:
        return [turn async for turn in client.transitions(2)]

    turns = asyncio.run(play())
    assert [(turn["peer"], turn["detector"]) for turn in turns] == [("a", "fixed"), ("a", "phi")]
    said = [json.loads(line)["event"] for line in out.getvalue().splitlines()]
    assert said.count("malformed") == 5


def test_status_shows_a_table(here: Address, tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, list(words))
        return result.exit_code, result.output

    async def play() -> list[tuple[int, str]]:
        async with AsyncExitStack() as stack:
            core = Monitor(QUICK)
            await stack.enter_async_context(monitor(core, here, "", events("monitor", "h")))
            empty = await asyncio.to_thread(run, "status", str(here))
            watch = ("watch", str(here), "--count", "1", "--json")
            watched = asyncio.create_task(asyncio.to_thread(run, *watch))
            client = await stack.enter_async_context(MonitorClient(here, events("s", "c"), 10.0))
            lives = 0
            while not watched.done():  # it may begin to watch a little late
                lives += 1
                async with sender("a", here, tmp_path):
                    await until(client, {"a": (lives, "alive", "alive")})
                await until(client, {"a": (lives, "dead", "dead")})
            return [empty, await watched, await asyncio.to_thread(run, "status", str(here))]

    empty, watched, shown = asyncio.run(play())
    assert empty == (0, f"{here} has heard nobody yet\n")
    assert json.loads(watched[1].splitlines()[-1])["value"]["peer"] == "a"
    headings, row = shown[1].splitlines()
    assert headings.split()[0] == "sender"
    assert row.startswith("a  ")
    assert run("status", str(here), "--timeout", "0.5")[0] == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sender"], "nobody is told"),
        (["sender", "--monitor", "no.such.host.invalid"], "cannot be found"),
        (["sender", "--broadcast", "1.2.3.4:99999"], "needs a port"),
        (["monitor", "--timeout", "0"], "0.001"),
        (["status"], "MONITOR"),
    ],
)
def test_a_wrong_command_line_is_told_what_is_wrong(words: list[str], says: str) -> None:
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert says in result.output


def test_durations_and_tables_are_for_people() -> None:
    assert [ago(s) for s in (0.4, 59, 61, 3600, 90_061, 864_000)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "1 h",
        "1 d 1 h",
        "10 d",
    ]
    assert table([("a", "bb"), ("cc", "d")]) == ["a   bb", "cc  d"]
    judgement = {"state": "alive", "for": 3.0, "horizon": 1.5, "phi": 0.25}
    numbers = {"incarnation": 1, "seq": 2, "heard": 2, "missed": 0}
    row = {"node": "n1", **numbers, "silence": 0.1, "fixed": judgement, "phi": judgement}
    assert cells(row)[-3:] == ("alive 3 s", "alive 3 s", "0.2 (suspects after 1.5 s)")

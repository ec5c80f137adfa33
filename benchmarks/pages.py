"""How large a run's page is, how long it takes to build, and how soon Chromium has drawn it."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Tell
from benchmarks.stand import Stand
from lab.evidence import report
from lab.evidence.screenshots import LAPTOP, chromium, drawn

EVENTS = 100_000
_PATTERN, _SERVER = "tcp_echo", "hub"
_CLIENTS = ("n1", "n2", "n3", "n4", "n5")
_CUT_OFF = ("n4", "n5")
_BEGAN = 1_800_000_000.0
_LEAST_PER_CALL = 5  # those that are cut off have three, the others six


def pages(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:  # noqa: ARG001  needs no lab
    """Build the page of a generated run, and open it."""
    with tempfile.TemporaryDirectory() as directory:
        run = busy_run(Path(directory) / "20270115T080000Z-busy", EVENTS)
        tell(f"building the page of {EVENTS:,} events, {runs} times")
        built = tuple(_seconds_to_build(run) for _ in range(runs))
        size = report.build(run).stat().st_size
        what = f"report, {EVENTS:,} events"
        yield Figure("report", f"{what}, built", "s", built)
        yield Figure("report", f"{what}, size", "MB", (size / 1e6,), note=_weighed(size))
        tell(f"opening it in Chromium, {runs} times")
        opened = tuple(_seconds_to_draw(run / report.PAGE) for _ in range(runs))
        yield Figure("report", f"{what}, drawn", "s", opened, 2, note="headless, drawn without GPU")


def busy_run(path: Path, events: int) -> Path:
    """Store a generated run of so many events: calls of five clients, a partition and a kill."""
    home = path / _PATTERN
    (home / "journals").mkdir(parents=True)
    history = sorted(_history(events), key=lambda event: float(event["t"]))
    (home / "history.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in history))
    manifest = {
        "what": "busy",
        "seed": 1,
        "command": "fab run-demo --seed 1",
        "patterns": [_PATTERN],
        "hosts": {host: f"198.18.0.{10 + i}" for i, host in enumerate((_SERVER, *_CLIENTS))},
        "state": "finished",
        "seconds": 60.0,
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "verdicts.json").write_text("[]")
    return path


def _history(events: int) -> Iterator[dict[str, Any]]:
    rng = random.Random(1)
    calls = events // _LEAST_PER_CALL
    length = 60.0
    faults = list(_faults(length))
    yield from faults
    written = len(faults)
    for number in range(calls):
        client = _CLIENTS[number % len(_CLIENTS)]
        at = _BEGAN + number / calls * length
        cut = client in _CUT_OFF and 20 < at - _BEGAN < 30
        for event in _call(rng, number, client, at, cut=cut):
            if written == events:
                return
            written += 1
            yield event


def _faults(length: float) -> Iterator[dict[str, Any]]:
    lab = {"pattern": _PATTERN, "component": "lab", "node": "lab"}
    hosts = [*_CUT_OFF, _SERVER, *_CLIENTS[:3]]
    cut = {"fault": "partition", "shape": "halves", "hosts": hosts}
    kill = {"fault": "kill", "host": _SERVER, "component": f"{_PATTERN}_server"}
    began, ended = _BEGAN + length / 3, _BEGAN + length / 2
    yield {"event": "inject", **lab, "t": began, "id": "f1", "fault": cut, "hosts": hosts}
    yield {"event": "heal", **lab, "t": ended, "id": "f1"}
    killed = _BEGAN + length * 0.75
    yield {"event": "inject", **lab, "t": killed, "id": "f2", "fault": kill, "hosts": [_SERVER]}


def _call(
    rng: random.Random, number: int, client: str, at: float, *, cut: bool
) -> Iterator[dict[str, Any]]:
    """Give a call's events; of one that is cut off, all until it is given up."""
    there, work, back = (rng.lognormvariate(-7.5, 0.6) for _ in range(3))
    own = {"pattern": _PATTERN, "component": "client", "node": client}
    server = {"pattern": _PATTERN, "component": "server", "node": _SERVER}
    address = f"198.18.0.{11 + _CLIENTS.index(client)}:{40000 + number % 50}"
    served = "198.18.0.10:8080"
    ask, answer = f"{address}>{served}#{number}", f"{served}>{address}#{number}"
    call = {"op": f"{client}-5f21c0aa:{number}", "f": "echo", "value": f"text {number}"}
    size = rng.randrange(20, 200)
    yield {"event": "invoke", **own, "t": round(at, 6), **call}
    yield _message("send", own, at + 2e-5, id=ask, peer=served, bytes=size)
    if cut:
        yield {"event": "unknown", **own, "t": round(at + 1, 6), **call, "error": "no answer"}
        return
    arrived, answered = at + there, at + there + work
    yield _message("recv", server, arrived, id=ask, peer=address, bytes=size)
    yield _message("send", server, answered, id=answer, peer=address, bytes=size)
    yield _message("recv", own, answered + back, id=answer, peer=served, bytes=size)
    yield {"event": "ok", **own, "t": round(answered + back + 1e-5, 6), **call}


def _message(event: str, own: dict[str, str], t: float, /, **fields: Any) -> dict[str, Any]:
    return {"event": event, **own, "t": round(t, 6), **fields}


def _seconds_to_build(run: Path) -> float:
    began = time.perf_counter()
    report.build(run)
    return time.perf_counter() - began


def _seconds_to_draw(page: Path) -> float:
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": LAPTOP[0], "height": LAPTOP[1]})
        began = time.perf_counter()
        tab.goto(page.as_uri())
        drawn(tab)
        return time.perf_counter() - began


def _weighed(size: int) -> str:
    return f"{size / EVENTS:.1f} bytes an event, the page's own scripts and styles among them"

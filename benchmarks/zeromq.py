"""How fast ZeroMQ's patterns go between hosts, beside bare pyzmq between the same two.

Ours run as deployed: sandboxed, bounded, watched by monitors, and with messages as events in the
journal. Beside them runs what libzmq's own perf programs do, written with pyzmq (`zmq_floors.py`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Peer, Tell, Traffic, compared
from benchmarks.stand import Stand
from benchmarks.tools import Serving
from lab.errors import LabError
from lab.evidence.client import events_in
from lab.evidence.stage import PYTHON
from lab.hosts.remote import Remote

SIZE = 64
"""Bytes of a request or an update, there as here; a task has about half of it."""
REQUESTS = 5_000
UPDATES = 50_000
TASKS = 20_000
_OURS = f"{PYTHON} -m apps.zeromq"
_FLOOR = "bare pyzmq"
_THERE = "/tmp/distlab-zmq-floors"  # noqa: S108  on hosts that nobody else uses
_PORT = 11113
_PATIENCE = 120


def zeromq(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure requests, updates and tasks, each beside bare sockets."""
    stand.deployed(tell)
    with Remote(stand.inventory("local")) as remote:
        yield from measured(remote, runs, tell)


def measured(remote: Remote, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure on hosts that are deployed to."""
    yield from _requests(remote, runs, tell)
    yield _updates(remote, runs, tell)
    yield _tasks(remote, runs, tell)


def _requests(remote: Remote, runs: int, tell: Tell) -> Iterator[Figure]:
    server, client = _first(remote, "server"), _first(remote, "client")
    tell(f"REQ/REP from {client} to {server}, and bare, {runs} times each")
    ours, floor = [], []
    command = f"{_OURS} request {server} --count {REQUESTS} --json --brief"
    for _ in range(runs):
        ours.append(_traffic(_summary(remote.must(client, command, _PATIENCE))))
        floor.append(_traffic(_bare(remote, ("rep", server), ("req", client), REQUESTS)))
    note = f"one caller, {client} to {server}, round trips"
    yield from compared("zeromq", "REQ/REP", ours, (_FLOOR, floor), note)


def _updates(remote: Remote, runs: int, tell: Tell) -> Figure:
    publisher, subscriber = _clients(remote)
    tell(f"PUB/SUB from {publisher} to {subscriber}, and bare, {runs} times each")
    address = remote.inventory.hosts[publisher].address
    publish = f"--listen {address} --count {UPDATES} --size {SIZE} --wait --json --brief"
    ours, floor = [], []
    for _ in range(runs):
        sending = remote.start(publisher, f"{_OURS} broadcast {publish}", _PATIENCE)
        hearing = remote.must(subscriber, f"{_OURS} join {publisher} --json --brief", _PATIENCE)
        sending.wait()
        ours.append(_summary(hearing)["rate"])
        floor.append(_bare(remote, ("pub", publisher), ("sub", subscriber), UPDATES)["rate"])
    return Figure(
        "zeromq",
        "PUB/SUB, updates",
        "/s",
        tuple(ours),
        peer=Peer(_FLOOR, tuple(floor)),
        note=f"{SIZE} bytes, {publisher} to {subscriber}; the publisher waits for room",
    )


def _tasks(remote: Remote, runs: int, tell: Tell) -> Figure:
    sink, worker = _first(remote, "sink"), _first(remote, "worker")
    ventilator = _clients(remote)[0]
    workers = len(remote.inventory.groups["zeromq_worker"])
    tell(f"PUSH/PULL from {ventilator} by {workers} workers to {sink}, and bare, {runs} times each")
    address = remote.inventory.hosts[ventilator].address
    how = f"--listen {address} --count {TASKS} --workers {workers} --waiting 1000 --json --brief"
    ours, floor = [], []
    for _ in range(runs):
        said = remote.must(ventilator, f"{_OURS} ventilate {sink} {how}", _PATIENCE)
        ours.append(_summary(said)["rate"])
        floor.append(_bare(remote, ("push", ventilator), ("pull", worker), TASKS)["rate"])
    return Figure(
        "zeromq",
        "PUSH/PULL, tasks",
        "/s",
        tuple(ours),
        peer=Peer(f"{_FLOOR}, one hop", tuple(floor)),
        note=f"{ventilator} by {workers} workers to {sink}, until the sink has told the total",
    )


def _bare(
    remote: Remote, serve: tuple[str, str], call: tuple[str, str], count: int
) -> Mapping[str, Any]:
    """Have bare sockets do the same between two hosts; each is a kind and a host."""
    (bound, server), (kind, client) = serve, call
    where = f"{remote.inventory.hosts[server].address} {_PORT} {count} {SIZE}"
    for host in (server, client):
        remote.must(host, f"mkdir -p {_THERE}")
        program = Path(__file__).with_name("zmq_floors.py").read_bytes()
        remote.connection(host).put(io.BytesIO(program), f"{_THERE}/zmq_floors.py")
    line = f"echo $$ > {_THERE}/pid; exec {PYTHON} {_THERE}/zmq_floors.py serve {bound} {where}"
    started = remote.start(server, line, 300)
    serving = Serving(remote, started, _PORT, tcp=True, pid=f"{_THERE}/pid")
    try:
        said = remote.must(client, f"{PYTHON} {_THERE}/zmq_floors.py call {kind} {where}", 120)
    finally:
        serving.stop()
    found: Mapping[str, Any] = json.loads(said)
    return found


def _first(remote: Remote, component: str) -> str:
    return remote.inventory.groups[f"zeromq_{component}"][0]


def _clients(remote: Remote) -> tuple[str, str]:
    hosts = remote.inventory.groups["zeromq_client"]
    if len(hosts) < 2:
        raise LabError("updates take two hosts with clients", "name two in group zeromq_client")
    return hosts[0], hosts[1]


def _summary(said: str) -> Mapping[str, Any]:
    (summary,) = [event for event in events_in(said) if event["event"] == "summary"]
    return summary


def _traffic(summary: Mapping[str, Any]) -> Traffic:
    return Traffic(summary["rate"], summary["p50_ms"], summary["p99_ms"])

"""Calls a second, and how long one takes: every style of remote call, each by its own client.

Server and client are two hosts, the same callers and about the same bytes everywhere, servers as
deployed: sandboxed, and with every message an event in the journal. Beside each stands what it is
built on, with nothing around it: bare sockets, or a bare WSGI application in gunicorn.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Tell, Traffic, compared
from benchmarks.stand import Stand
from benchmarks.tools import Serving
from lab.catalogue import Pattern, patterns
from lab.evidence.client import events_in
from lab.evidence.stage import PYTHON
from lab.hosts.remote import Remote
from lab.status import option

CALLERS = 8
SECONDS = 5
_THERE = "/tmp/distlab-floors"  # noqa: S108  on hosts that nobody else uses
_PORT = 11112
_FLOORS = {"tcp": "bare sockets in threads", "http": "bare WSGI in gunicorn"}


@dataclass(frozen=True)
class Style:
    """A pattern that answers calls, and how its client makes the same call again and again."""

    pattern: str
    words: str
    """The client's command; {at} is the host and the port of what it calls."""
    call: str
    """What is called, in words."""
    floor: str = "tcp"
    asks: str = "server"
    """The component whose address the client takes."""
    before: str = ""
    """A command of the client that makes what is asked for."""


STYLES = (
    Style("tcp_squares", "client {at}", "the square of a number"),
    Style(
        "rest_api",
        "client http://{at} get 1",
        "one item read",
        floor="http",
        before='client http://{at} create \'{{"name": "nut", "quantity": 7}}\'',
    ),
    Style("json_rpc", "client http://{at} sum 17 25", "the sum of two numbers", floor="http"),
    Style("soap", "client http://{at} add 17 25", "the sum of two numbers", floor="http"),
    Style("corba", "client {at}", "an entry posted to a ledger", asks="naming"),
    Style("ice", "client {at}", "a greeting"),
    Style("upcall", "roundtrip {at}", "an event published, and its upcall answered"),
)
"""One line for each; a pattern that is not in the catalogue is left out."""


def calls(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure each style between two hosts, and its floor between the same two."""
    stand.deployed(tell)
    known = {pattern.name: pattern for pattern in patterns()}
    with Remote(stand.inventory("local")) as remote:
        for style in STYLES:
            if style.pattern in known and style.pattern in remote.inventory.groups:
                yield from _style(remote, style, known[style.pattern], runs, tell)


def _style(
    remote: Remote, style: Style, pattern: Pattern, runs: int, tell: Tell
) -> Iterator[Figure]:
    server, client = pair(remote.inventory.groups, style.pattern)
    asked = remote.inventory.groups[f"{style.pattern}_{style.asks}"][0]
    port = option(remote.inventory, asked, pattern, f"{style.pattern}_{style.asks}_port")
    tell(f"{style.pattern} from {client} to {server}, and its floor, {runs} times each")
    at = f"{asked}:{port}"
    if style.before:
        remote.must(client, f"{PYTHON} -m apps.{style.pattern} {style.before.format(at=at)}")
    load = f"--for {SECONDS} --callers {CALLERS} --json --brief"
    command = f"{PYTHON} -m apps.{style.pattern} {style.words.format(at=at)} {load}"
    ours, floor = [], []
    for _ in range(runs):
        said = remote.must(client, command, SECONDS + 60)
        (summary,) = [event for event in events_in(said) if event["event"] == "summary"]
        ours.append(_traffic(summary))
        floor.append(_floor(remote, server, client, style.floor))
    note = f"{style.call}; {CALLERS} callers, {client} to {server}"
    yield from compared("calls", style.pattern, ours, (_FLOORS[style.floor], floor), note)


def pair(groups: Mapping[str, Any], pattern: str) -> tuple[str, str]:
    """Give the server's host and another one that has the client."""
    server = groups[f"{pattern}_server"][0]
    return server, next(host for host in groups[f"{pattern}_client"] if host != server)


def _floor(remote: Remote, server: str, client: str, kind: str) -> Traffic:
    where = f"{kind} {remote.inventory.hosts[server].address} {_PORT}"
    with _served(remote, server, f"floors.py serve {where}"):
        command = f"{PYTHON} floors.py call {where} {CALLERS} {SECONDS}"
        _put(remote, client)
        return _traffic(json.loads(remote.must(client, f"cd {_THERE}; {command}", SECONDS + 30)))


@contextmanager
def _served(remote: Remote, host: str, command: str) -> Iterator[None]:
    _put(remote, host)
    line = f"cd {_THERE}; echo $$ > pid; exec {PYTHON} {command}"
    serving = Serving(remote, remote.start(host, line, 300), _PORT, tcp=True, pid=f"{_THERE}/pid")
    try:
        yield
    finally:
        serving.stop()


def _put(remote: Remote, host: str) -> None:
    remote.must(host, f"mkdir -p {_THERE}")
    program = Path(__file__).with_name("floors.py").read_bytes()
    remote.connection(host).put(io.BytesIO(program), f"{_THERE}/floors.py")


def _traffic(summary: Mapping[str, Any]) -> Traffic:
    return Traffic(summary["rate"], summary["p50_ms"], summary["p99_ms"])

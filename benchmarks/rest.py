"""How fast rest_api answers in the lab, beside the same app on this machine's loopback.

In the lab wrk runs on one host and the unit on another: the bridge, the firewall, the sandbox, the
journal. Without it wrk and the same command with the same options run here, with nothing between.
Both read one item, over as many connections.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.commands import end, timed
from benchmarks.figures import Figure, Tell, Traffic, compared
from benchmarks.stand import Stand
from benchmarks.tools import Tools, must_match
from lab.catalogue import Component
from lab.errors import LabError
from lab.hosts.remote import Remote

_WRK = "wrk --threads 1 --connections 8 --duration 5s --latency"
_PATIENCE = 10.0
_SERVER = Component("rest_api", "server")
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def rest(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure reads of an item with wrk, across two hosts and on the loopback."""
    stand.deployed(tell)
    with Remote(stand.inventory("local")) as remote:
        tools = Tools(remote, "wrk")
        server, client = tools.pair(_SERVER.group, "rest_api_client")
        options = _options(remote, server)
        address = (
            str(remote.inventory.hosts[server].address),
            int(options["REST_API_SERVER_PORT"]),
        )
        tell(f"rest_api on {server}, wrk on {client}, {runs} times")
        with _item(*address) as url:
            ours = [traffic(tools.must(client, f"{_WRK} {url}", 30)) for _ in range(runs)]
        there = remote.must(server, "/opt/distlab/bin/python --version").split()[1]
    tell(f"the same app and wrk without the lab, {runs} times")
    with _here(options) as here, _item(*here) as url:
        theirs = [traffic(timed([*_WRK.split(), url], stand.tree).output) for _ in range(runs)]
    note = (
        f"reads of one item over 8 connections; Python {there} there, {sys.version.split()[0]} here"
    )
    peer = ("the same app on loopback, no lab", theirs)
    yield from compared("rest", "rest_api", ours, peer, note)


def _options(remote: Remote, host: str) -> dict[str, str]:
    """The options of the deployed unit."""
    text = remote.must(
        host, f"sudo -n cat /etc/distlab/{_SERVER.unit.removesuffix('.service')}.env"
    )
    pairs = (line.partition("=") for line in text.splitlines() if line.startswith("REST_API_"))
    return {name: value.strip('"') for name, _, value in pairs}


@contextmanager
def _here(options: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Run the app on the loopback, with the unit's options; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
    own = {"REST_API_SERVER_LISTEN": host, "REST_API_SERVER_PORT": str(port)}
    with tempfile.TemporaryDirectory() as state:
        process = subprocess.Popen(
            [sys.executable, "-m", "apps.rest_api", "server"],
            cwd=Path(__file__).parent.parent,
            env=os.environ | options | own | {"STATE_DIRECTORY": state},
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            _wait_until_healthy(host, port)
            yield host, port
        finally:
            end(process)


def _wait_until_healthy(host: str, port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            _ask(host, port, "GET", "/health")
        except OSError:
            if time.monotonic() > deadline:
                raise LabError(f"rest_api does not answer on {host}:{port}") from None
            time.sleep(0.05)
        else:
            return


@contextmanager
def _item(host: str, port: int) -> Iterator[str]:
    """Have an item on a server; its URL."""
    path = _ask(host, port, "POST", "/items", {"name": "nut", "quantity": 7})
    try:
        yield f"http://{host}:{port}{path}"
    finally:
        _ask(host, port, "DELETE", path)


def _ask(host: str, port: int, method: str, path: str, body: object = None) -> str:
    """Ask; give the location that the answer names. LabError unless all is well."""
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
    try:
        sent = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if sent else {"If-Match": "*"}
        connection.request(method, path, sent, headers)
        answer = connection.getresponse()
        said = answer.read()
    finally:
        connection.close()
    if answer.status >= 300:
        raise LabError(f"{method} {path} on {host}:{port}: {answer.status} {said[:200]!r}")
    return answer.getheader("Location", "")


def traffic(said: str) -> Traffic:
    """Read wrk's report; LabError if the server complained."""
    if "Non-2xx" in said or "Socket errors" in said:
        raise LabError(f"the server did not answer all requests:\n{said}")
    (rate,) = must_match(r"Requests/sec: +([\d.]+)", said)
    cuts = (must_match(rf"{cut}% +([\d.]+)(us|ms|s)\b", said) for cut in (50, 99))
    p50, p99 = (float(value) * _MILLISECONDS[unit] for value, unit in cuts)
    return Traffic(float(rate), p50, p99)

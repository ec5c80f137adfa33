"""The life of a service, as its manager sees it: a real process, a real notification socket."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.kit.lifecycle import notify, watchdog_interval
from tests.loopback import PATIENCE, free_port

ROOT = Path(__file__).parents[2]
SERVICE = """
import asyncio, sys, time
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.tcp import FramedServer, Limits

def session(peer):
    async def answer(line):
        if line == b"hang the loop":
            time.sleep(600)
        if line == b"never":
            await asyncio.sleep(600)
        if line == b"slow":
            await asyncio.to_thread(sys.stdin.readline)
        return line
    return answer

events = Events("p", "server", "n1")
here, limits = Address("127.0.0.1", int(sys.argv[1])), Limits(drain=float(sys.argv[2]))
run_service(events, FramedServer(here, session, events, limits=limits))
"""


class Unit:
    """A process, and what it tells its manager."""

    def __init__(self, directory: str, *, drain: float) -> None:
        self.port = free_port()
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.settimeout(PATIENCE)
        self._told.bind(f"{directory}/notify")
        watched = {"NOTIFY_SOCKET": f"{directory}/notify", "WATCHDOG_USEC": "60000"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(self.port), str(drain)],
            env=os.environ | watched,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._told.close()
        self.process.kill()
        self.process.communicate()

    def told(self) -> str:
        return self._told.recv(1000).decode()

    def wait_told(self, what: str) -> None:
        while self.told() != what:
            continue

    def silent(self, seconds: float) -> bool:
        """Forget what was told until now; then tell whether nothing comes for so long."""
        self._told.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self._told.recv(1000):
                continue
        self._told.settimeout(seconds)
        try:
            self._told.recv(1000)
        except TimeoutError:
            return True
        return False

    def wait_event(self, name: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == name:
                return event
        raise AssertionError(f"it ended without {name}")

    def wait_closed(self) -> None:
        """Wait until it accepts no connection any more."""
        until = time.monotonic() + PATIENCE
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < until:
                self.connect().close()
            raise AssertionError("it goes on accepting connections")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


@contextlib.contextmanager
def unit(*, drain: float = 3.0) -> Iterator[Unit]:
    with (
        tempfile.TemporaryDirectory() as directory,
        contextlib.closing(Unit(directory, drain=drain)) as running,
    ):
        assert running.told() == "READY=1", "this comes before any sign of life"
        yield running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ready_watched_stopped(number: signal.Signals) -> None:
    with unit() as service:
        with service.connect() as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"hello\n"
            for _ in range(3):
                assert service.told() == "WATCHDOG=1"
            service.process.send_signal(number)
            service.wait_told("STOPPING=1")
            assert client.recv(100) == b"", "an idle connection is closed"
        assert service.process.wait(PATIENCE) == 0
        assert service.process.stderr is not None
        assert service.process.stderr.read() == ""
        assert service.wait_event("stopped")


def test_a_call_under_way_is_answered_before_it_ends() -> None:
    with unit(drain=PATIENCE) as service, service.connect() as client:
        assert service.process.stdin is not None
        client.sendall(b"slow\n")
        service.wait_event("recv")
        service.process.send_signal(signal.SIGTERM)
        service.wait_told("STOPPING=1")
        service.wait_closed()
        service.process.stdin.write("\n")
        service.process.stdin.flush()
        assert client.recv(100) == b"slow\n"
        assert client.recv(100) == b""
        assert service.process.wait(PATIENCE) == 0


def test_a_call_that_never_ends_does_not_keep_it() -> None:
    with unit(drain=0.1) as service, service.connect() as client:
        client.sendall(b"never\n")
        service.wait_event("recv")
        service.process.send_signal(signal.SIGTERM)
        assert client.recv(100) == b""
        assert service.process.wait(PATIENCE) == 0


def test_a_loop_that_hangs_gives_no_sign_of_life() -> None:
    with unit() as service, service.connect() as client:
        service.wait_told("WATCHDOG=1")
        client.sendall(b"hang the loop\n")
        service.wait_event("recv")
        assert service.silent(0.3), "fifteen signs of life were due"


def test_what_cannot_serve_says_why_and_fails() -> None:
    with unit() as service:
        second = subprocess.run(
            [sys.executable, "-c", SERVICE, str(service.port), "1"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert second.returncode == 1
    (said,) = second.stderr.splitlines()
    assert said.startswith("cannot serve: ")
    assert str(service.port) in said
    assert "address already in use" in said
    (event,) = [json.loads(line) for line in second.stdout.splitlines()]
    assert (event["event"], event["error"]) == ("failed", said)


@pytest.mark.parametrize(
    ("allowed", "interval"), [(None, None), ("", None), ("0", None), ("3000000", 1.0)]
)
def test_three_signs_of_life_are_due_in_the_time_allowed(
    monkeypatch: pytest.MonkeyPatch, allowed: str | None, interval: float | None
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if allowed is not None:
        monkeypatch.setenv("WATCHDOG_USEC", allowed)
    assert watchdog_interval() == interval


def test_an_abstract_socket_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind("")  # the kernel gives it an abstract name
        name = told.getsockname()
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name[1:].decode())
        notify("READY=1")
        assert told.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/notify")
    notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")

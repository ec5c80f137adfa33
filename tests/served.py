"""A pattern's server as it runs under systemd, in a process of its own on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from apps.kit.address import Address
from tests.loopback import free_port

ROOT = Path(__file__).parents[1]


class Unit:
    """A server process with a state directory and a notification socket, as systemd gives it."""

    def __init__(self, pattern: str, directory: Path, *options: object) -> None:
        self._pattern = pattern
        self.directory = directory
        self._log = directory / "log"
        self.address = Address("127.0.0.1", free_port())
        self._options = [str(option) for option in options]
        self._states: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(directory / "notify"))
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def _listen(self) -> None:
        """Take what it tells the service manager; a full socket would hold it up."""
        while state := self._manager.recv(1000):
            self._states.put(state.decode())

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def start(self) -> None:
        """Start it, and wait until it says READY."""
        words = ["server", "--port", str(self.address.port), *self._options]
        environment = {
            **os.environ,
            "STATE_DIRECTORY": str(self.directory),
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            "WATCHDOG_USEC": "600000",
        }
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"apps.{self._pattern}", *words],
                cwd=ROOT,
                env=environment,
                stdout=log,
                start_new_session=True,
            )
        self.notified("READY=1")

    def notified(self, state: str) -> None:
        """Wait until it says this to the service manager."""
        while self._states.get(timeout=30) != state:
            pass

    def kill(self) -> None:
        """SIGKILL all its processes, as systemd does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> list[dict[str, Any]]:
        """End it; give its events."""
        self.process.terminate()
        self.process.wait(timeout=30)
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._manager.shutdown(socket.SHUT_RD)
        self._reader.join()
        self._manager.close()


@contextlib.contextmanager
def units(pattern: str, directory: Path) -> Iterator[Callable[..., Unit]]:
    """Give a way to start the pattern's server with some options; in the end all are ended."""
    with contextlib.ExitStack() as started:

        def start(*options: object) -> Unit:
            unit = Unit(pattern, directory, *options)
            started.callback(unit.close)
            unit.start()
            return unit

        yield start


def peers_that_sent(address: Address, sent: Iterable[bytes]) -> list[socket.socket]:
    """Connect once for each of these bytes, send them, and leave it at that."""
    peers = []
    for data in sent:
        peer = socket.create_connection(address, timeout=30)
        peer.sendall(data)
        peers.append(peer)
    return peers


def read_all(peer: socket.socket) -> bytes:
    data = b""
    with peer, contextlib.suppress(ConnectionError):
        while chunk := peer.recv(65536):
            data += chunk
    return data

"""Samples: how long an operation took, handed to the host's metrics agent in one line.

    sample(events, "echo", seconds)

It is one datagram to an abstract Unix socket (unix(7)): no address to configure, no library, no
connection. It never waits. A sample that cannot be handed over at once is dropped and counted, and
the count goes with the next one that can be; unlike UDP, this socket tells its sender so. Where no
agent listens, as where the pattern `metrics` is not deployed, it is asked once a second.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import socket
import threading
import time

from apps.kit.events import Events

INTAKE = "\0" + os.environ.get("DISTLAB_METRICS", "distlab-metrics")
"""The agent's socket; tests name another one."""
DATAGRAM_MOST = 2048
"""Bytes."""
REST = 1.0
"""Seconds after which an agent that was not there is tried again."""
_LAST_TRIES, _BETWEEN = 25, 0.02
"""How often a process that ends tries to tell what it dropped, and the seconds between."""


class Samples:
    """The samples of one process, on their way to the agent. Every thread may use it."""

    def __init__(self, intake: str = INTAKE) -> None:
        """Nothing is opened before there is somebody to hand a sample to."""
        self._intake = intake
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._resting = 0.0
        self.dropped = 0
        """Samples that were not handed over, since the agent was last told."""

    def add(self, pattern: str, component: str, operation: str, seconds: float) -> None:
        """Hand a sample over, or count it as dropped; at once either way."""
        with self._lock:
            if time.monotonic() < self._resting:
                self.dropped += 1
                return
            ms = round(seconds * 1e3, 6)
            record = [time.time_ns(), pattern, component, operation, ms, self.dropped]
            self.dropped = 0 if self._send(record) else self.dropped + 1

    def tell_dropped(self, pattern: str, component: str) -> None:
        """Tell how many were dropped, if any; this may wait for a moment: it is said at the end."""
        with self._lock:
            for _ in range(_LAST_TRIES):
                record = [time.time_ns(), pattern, component, None, None, self.dropped]
                if not self.dropped or time.monotonic() < self._resting:
                    return
                if self._send(record):
                    self.dropped = 0
                else:
                    time.sleep(_BETWEEN)

    def close(self) -> None:
        """Close the socket, if it is open."""
        with self._lock:
            self._close()

    def _send(self, record: list[object]) -> bool:
        data = json.dumps(record, separators=(",", ":"), default=str).encode(errors="replace")
        if self._socket is None:
            kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._socket = socket.socket(socket.AF_UNIX, kind)
        try:
            self._socket.sendto(data[:DATAGRAM_MOST], self._intake)
        except BlockingIOError:  # the agent is behind
            return False
        except OSError as error:
            if error.errno not in {errno.EINTR, errno.ENOBUFS}:  # nobody is there
                self._resting = time.monotonic() + REST
                self._close()
            return False
        return True

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_samples = Samples()
_known: set[tuple[str, str]] = set()


def sample(events: Events, operation: str, seconds: float) -> None:
    """Publish how long an operation of this pattern took."""
    if (key := (events.pattern, events.component)) not in _known:
        _known.add(key)
        atexit.register(_samples.tell_dropped, *key)
    _samples.add(events.pattern, events.component, operation, seconds)


atexit.register(_samples.close)

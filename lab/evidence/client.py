"""A demo's clients: commands on hosts, whose events are evidence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apps.kit.claims import Event
from apps.kit.demo import HostLost, Running
from lab.hosts.remote import SIGNALLED, Lost, Output, Started

_POLL = 0.05
_FIRST = 20.0
"""Seconds in which a client should be heard."""
_REST = 2.0
"""Seconds that the others have from then on."""


@dataclass(frozen=True)
class Ended:
    """A client that ended; see `apps.kit.demo.Finished`."""

    host: str
    exit_status: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[Event]:
        """The events among what it printed."""
        return events_in(self.stdout)


class Client:
    """A client that runs; see `apps.kit.demo.Running`."""

    def __init__(self, started: Started, seen: Callable[[Ended], None]) -> None:
        """`seen` is told when it has ended, or was lost."""
        self._started = started
        self._seen = seen

    @property
    def heard(self) -> bool:
        """See `apps.kit.demo.Running.heard`."""
        return self._started.heard

    def wait(self) -> Ended:
        """See `apps.kit.demo.Running.wait`."""
        return self._ended(self._started.wait)

    def stop(self) -> Ended:
        """See `apps.kit.demo.Running.stop`."""
        return self._ended(self._started.stop)

    def _ended(self, end: Callable[[], Output]) -> Ended:
        try:
            output = end()
        except Lost as lost:
            self._seen(Ended(self._started.host, SIGNALLED, lost.said, ""))
            raise HostLost(str(lost)) from lost
        ended = Ended(output.host, output.exit_status, output.stdout, output.stderr)
        self._seen(ended)
        return ended


def until_heard(clients: Sequence[Running]) -> None:
    """Wait for the first of them to be heard, and for the others not much longer."""
    latest = time.monotonic() + _FIRST
    while (heard := sum(client.heard for client in clients)) < len(clients):
        now = time.monotonic()
        latest = min(latest, now + _REST) if heard else latest
        if now >= latest:
            return
        time.sleep(_POLL)


def events_in(text: str) -> list[Event]:
    """Give the events among the lines of a text."""
    found: list[Event] = []
    for line in text.splitlines():
        if line.startswith('{"event":'):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # a line cut short by a killed process is no event
    return found

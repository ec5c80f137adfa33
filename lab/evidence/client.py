"""A demo's clients: commands on hosts, whose events are evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from apps.kit.claims import Event
from apps.kit.demo import HostLost
from lab.hosts.remote import SIGNALLED, Lost, Output, Started


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

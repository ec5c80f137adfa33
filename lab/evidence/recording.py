"""What the hosts' journals say of some units since a moment, read bit by bit.

The moment is a cursor of each host's own journal and no time, so clocks do not matter. Each
reading fetches what is new, so a condition may be polled on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from apps.kit.claims import Event
from lab.errors import LabError
from lab.hosts.remote import Remote
from lab.logs import journalctl, parse


class Tail:
    """One host's journal, from now on."""

    def __init__(self, remote: Remote, host: str, units: Sequence[str]) -> None:
        """Remember where the journal ends now."""
        self.lines: list[str] = []
        """The entries as journald gave them, one JSON object each."""
        self.events: list[Event] = []
        self._remote = remote
        self._host = host
        self._units = units
        said = remote.must(host, "sudo -n journalctl --quiet --lines=0 --show-cursor")
        self._cursor = said.rpartition("-- cursor: ")[2].strip()

    def read(self) -> None:
        """Fetch what is new; LabError if the host cannot be asked."""
        # What a unit wrote before this moment is on its way to the journal: --sync waits for it.
        # Not --after-cursor: where the cursor is at an entry of no unit of ours, as in the
        # beginning, it skips the first one of ours as well (systemd 252).
        since = journalctl(self._units, f"--cursor={self._cursor}")
        said = self._remote.must(self._host, f"sudo -n journalctl --sync && {since}")
        fresh = said.splitlines()
        if fresh and json.loads(fresh[0])["__CURSOR"] == self._cursor:
            del fresh[0]
        if fresh:
            self._cursor = json.loads(fresh[-1])["__CURSOR"]
        self.lines += fresh
        parsed = (parse(self._host, line) for line in fresh)
        self.events += [e for line in parsed if line is not None and (e := line.event) is not None]


class Recording:
    """The journals of many hosts."""

    def __init__(self, remote: Remote, units: Mapping[str, Sequence[str]]) -> None:
        """Begin now; `units` are those to listen to, by host. LabError if one cannot be asked."""
        self._remote = remote
        tails = remote.each(units, lambda host: Tail(remote, host, units[host]))
        self._tails: dict[str, Tail] = {}
        for host, tail in tails.items():
            if isinstance(tail, LabError):
                raise tail
            self._tails[host] = tail

    @property
    def events(self) -> list[Event]:
        """The events read so far, host by host."""
        return [event for tail in self._tails.values() for event in tail.events]

    @property
    def lines(self) -> dict[str, list[str]]:
        """The entries read so far, by host."""
        return {host: tail.lines for host, tail in self._tails.items()}

    def read(self) -> dict[str, LabError]:
        """Fetch what is new; give the hosts that cannot be asked, and why."""
        answers = self._remote.each(self._tails, lambda host: self._tails[host].read())
        return {host: error for host, error in answers.items() if isinstance(error, LabError)}

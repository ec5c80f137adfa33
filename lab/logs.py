"""The journals of all hosts as one: merged by time, filtered, followed."""

from __future__ import annotations

import json
import queue
import shlex
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lab.catalogue import Component
from lab.errors import LabError
from lab.faults.onhost.clock import MARK
from lab.hosts.remote import Remote

FOLLOWED_FOR = 7 * 24 * 3600
"""Seconds after which a follower on a host ends by itself, should nobody end it."""


@dataclass(frozen=True)
class Line:
    """One entry of a host's journal."""

    at: float
    """Unix seconds, by the host's clock."""
    host: str
    unit: str
    text: str
    clock_is_wrong: bool = False
    """Whether a fault had turned the clock of who wrote it."""

    @property
    def event(self) -> dict[str, Any] | None:
        """The event that the line holds, if it is one.

        Its `t` is of the host's clock: where the component's own was wrong it is journald's, and
        what the component said stands in `t_said`.
        """
        if not self.text.startswith("{"):
            return None
        try:
            event = json.loads(self.text)
        except ValueError:
            return None
        if not isinstance(event, dict) or "event" not in event:
            return None
        wrong = self.clock_is_wrong and "t" in event
        return {**event, "t": self.at, "t_said": event["t"]} if wrong else event

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return {"t": self.at, "host": self.host, "unit": self.unit, "message": self.text}

    def __str__(self) -> str:
        clock = datetime.fromtimestamp(self.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
        return f"{clock} {self.host:<4} {self.unit.removesuffix('.service'):<24} {self.short}"

    @property
    def short(self) -> str:
        """The text, an event without what the line says already."""
        event = self.event
        if event is None:
            return self.text
        told = {"event", "pattern", "component", "node", "t"}
        rest = " ".join(f"{key}={value}" for key, value in event.items() if key not in told)
        return f"{event['event']} {rest}".rstrip()


def journalctl(units: Sequence[str], *more: str) -> str:
    """Give the command that prints these units' entries, one JSON object a line.

    The unit manager's own entries of the units are among them: why one failed to start.
    """
    # Without --all, a message of more than 4096 bytes is given as null.
    words = ["sudo", "-n", "journalctl", "--quiet", "--no-pager", "--all", "--output=json"]
    words += ["--output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT,SYSLOG_IDENTIFIER", *more]
    return shlex.join(words + [word for unit in units for word in ("--unit", unit)])


def parse(host: str, line: str) -> Line | None:
    """Read one line of journalctl's JSON; None if it holds no message of a unit."""
    try:
        entry = json.loads(line)
        text = entry["MESSAGE"]
        at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError):
        return None
    if isinstance(text, list):  # journald gives bytes that are no UTF-8 as numbers
        text = bytes(text).decode(errors="replace")
    unit = entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or ""
    wrong = str(entry.get("SYSLOG_IDENTIFIER")).endswith(MARK)
    return Line(at, host, str(unit), str(text), clock_is_wrong=wrong)


def read(
    remote: Remote, wanted: Sequence[tuple[str, Component]], since: str
) -> tuple[list[Line], list[LabError]]:
    """Give the entries since a time (as journalctl reads it), merged by time; and lost hosts."""
    units = by_host(wanted)
    answers = remote.each(
        units, lambda host: remote.must(host, journalctl(units[host], f"--since={since}"))
    )
    lost = [answer for answer in answers.values() if isinstance(answer, LabError)]
    lines = [
        line
        for host, answer in answers.items()
        if not isinstance(answer, LabError)
        for text in answer.splitlines()
        if (line := parse(host, text)) is not None
    ]
    return sorted(lines, key=lambda line: line.at), lost


def follow(
    remote: Remote, wanted: Sequence[tuple[str, Component]], since: str
) -> Iterator[Line | LabError]:
    """Yield entries as they come, until the caller stops; a host that is lost yields its error."""
    arrived: queue.Queue[Line | LabError] = queue.Queue(maxsize=10_000)
    units = by_host(wanted)
    followers = [
        threading.Thread(
            target=_follow_one, args=(remote, host, units[host], since, arrived), daemon=True
        )
        for host in units
    ]
    for follower in followers:
        follower.start()
    while any(follower.is_alive() for follower in followers) or not arrived.empty():
        try:
            yield arrived.get(timeout=0.5)
        except queue.Empty:
            continue


def _follow_one(
    remote: Remote,
    host: str,
    units: Sequence[str],
    since: str,
    arrived: queue.Queue[Line | LabError],
) -> None:
    command = journalctl(units, "--follow", f"--since={since}")
    try:
        transport = remote.connection(host).transport
        channel = transport.open_session()
        # A terminal of its own, without colours: when the connection goes, the follower on the
        # host gets SIGHUP.
        channel.get_pty(term="dumb", width=65535)
        channel.exec_command(f"timeout {FOLLOWED_FOR} {command}")
        with channel.makefile("r") as stream:
            for text in stream:
                line = parse(host, text)
                if line is not None:
                    arrived.put(line)
    except LabError as error:
        arrived.put(error)
    except (OSError, EOFError) as error:
        arrived.put(LabError(f"lost {host} while following its journal: {error}"))


def by_host(wanted: Sequence[tuple[str, Component]]) -> dict[str, list[str]]:
    """Give the units of each host."""
    units: dict[str, list[str]] = {}
    for host, component in wanted:
        units.setdefault(host, []).append(component.unit)
    return units

"""Verdicts, exit statuses, journal lines and events: what a run makes of what it saw."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest

from apps.kit.claims import Finding
from lab.evidence import client
from lab.evidence.client import events_in, until_heard
from lab.evidence.runs import HELD, UNCLEAR, VIOLATED, exit_status
from lab.evidence.verdict import Verdict
from lab.faults.onhost.clock import MARK
from lab.logs import journalctl, parse


def verdict(kind: str, *, holds: bool | None) -> Verdict:
    return Verdict.of("tcp_echo", "a claim", kind, Finding(holds, "because"))


@pytest.mark.parametrize(
    ("kind", "holds", "word"),
    [
        ("promised", True, "holds"),
        ("promised", False, "violated"),
        ("promised", None, "unknown"),
        ("limit", True, "shown"),
        ("limit", False, "unknown"),
        ("limit", None, "unknown"),
    ],
)
def test_a_finding_becomes_a_verdict(kind: str, *, holds: bool | None, word: str) -> None:
    assert verdict(kind, holds=holds).verdict == word


def test_exit_status_is_the_worst_promise() -> None:
    held = verdict("promised", holds=True)
    unclear = verdict("promised", holds=None)
    violated = verdict("promised", holds=False)
    shown = verdict("limit", holds=True)
    not_shown = verdict("limit", holds=False)
    assert exit_status([held, shown, not_shown]) == HELD
    assert exit_status([held, unclear]) == UNCLEAR
    assert exit_status([held, unclear, violated]) == VIOLATED
    assert exit_status([]) == UNCLEAR, "a run that claims nothing has shown nothing"
    assert exit_status([shown]) == UNCLEAR


def test_a_verdict_for_programs_has_what_they_need() -> None:
    told = verdict("promised", holds=True).as_json()
    assert {"pattern", "claim", "kind", "verdict"} <= set(told)
    json.dumps(told)


def test_a_journal_line_is_read() -> None:
    entry = {
        "__REALTIME_TIMESTAMP": "1795228555942989",
        "_SYSTEMD_UNIT": "lab-tcp-echo-server.service",
        "MESSAGE": '{"event":"ready","pattern":"tcp_echo","component":"server","t":1.5,"pid":7}',
    }
    line = parse("n1", json.dumps(entry))
    assert line is not None
    assert line.event is not None
    assert line.event["pid"] == 7
    assert line.short == "ready pid=7"
    assert line.as_json()["host"] == "n1"


def test_a_managers_line_about_a_unit_is_the_units() -> None:
    entry = {"__REALTIME_TIMESTAMP": "1", "UNIT": "lab-x.service", "_SYSTEMD_UNIT": "init.scope"}
    line = parse("n1", json.dumps(entry | {"MESSAGE": "Failed to start"}))
    assert line is not None
    assert (line.unit, line.event) == ("lab-x.service", None)


def test_bytes_in_a_journal_are_read() -> None:
    line = parse("n1", json.dumps({"__REALTIME_TIMESTAMP": "1", "MESSAGE": [104, 105, 255]}))
    assert line is not None
    assert line.text == "hi�"


def test_event_of_a_wrong_clock_has_the_host_s_time() -> None:
    """What the component took the time to be stands beside it."""
    entry = {"__REALTIME_TIMESTAMP": "2500000", "MESSAGE": '{"event": "ready", "t": 3602.5}'}
    right, wrong = (
        parse("n1", json.dumps({**entry, "SYSLOG_IDENTIFIER": f"lab-x{mark}"}))
        for mark in ("", MARK)
    )
    assert right is not None
    assert wrong is not None
    assert right.event == {"event": "ready", "t": 3602.5}
    assert wrong.event == {"event": "ready", "t": 2.5, "t_said": 3602.5}


@pytest.mark.parametrize("text", ["", "garbage", "[]", "{}", '{"MESSAGE":null}', '"x"'])
def test_what_is_no_journal_line_is_none(text: str) -> None:
    assert parse("n1", text) is None


def test_journalctl_asks_for_every_unit_and_quotes() -> None:
    command = journalctl(["a.service", "b.service"], "--since=2026-11-21 12:00")
    assert command.endswith("'--since=2026-11-21 12:00' --unit a.service --unit b.service")


def test_events_are_found_among_other_lines() -> None:
    text = 'hello\n{"event":"ok","t":1}\n{"event":"cut sho\n{"no":"event"}\n'
    assert events_in(text) == [{"event": "ok", "t": 1}]


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Speaks:
    """A client that is heard from a time on."""

    def __init__(self, clock: Clock, since: float) -> None:
        self._clock = clock
        self._since = since

    @property
    def heard(self) -> bool:
        return self._clock.now >= self._since


@pytest.mark.parametrize(
    ("since", "waited"),
    [
        ((), 0.0),
        ((0.0, 0.0), 0.0),
        ((1.0, 2.0), 2.0),
        ((5.0, 3600.0), 5.0 + client._REST),
        ((3600.0,), client._FIRST),
    ],
)
def test_clients_are_waited_for_until_they_are_heard(
    monkeypatch: pytest.MonkeyPatch, since: tuple[float, ...], waited: float
) -> None:
    clock = Clock(monkeypatch)
    speakers: list[Any] = [Speaks(clock, moment) for moment in since]
    for order in itertools.permutations(speakers):
        clock.now = 0.0
        until_heard(order)
        assert waited <= clock.now < waited + 3 * client._POLL

"""What the pattern `metrics` has of the others: how long their operations took, from InfluxDB.

The database is asked on its own host, over SSH, so that it need not be reached from here. A run
keeps the samples of its own window: its page is built of them when the lab is gone.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from apps.metrics.core import NUMBERED
from lab.catalogue import Pattern
from lab.errors import LabError
from lab.evidence.client import events_in
from lab.hosts.remote import Output, Remote
from lab.hosts.state import write_atomically
from lab.status import option

FILE = "samples.json"
STORE = "metrics_store"
_PYTHON = "/opt/distlab/bin/python"
_QUANTILES = {"p50": 50, "p90": 90, "p99": 99}
_TAGS = ("pattern", "component", "operation", "host")
_POINTS = 2000
"""Samples of each series that a run keeps, besides the quantiles of all of them."""
_LATE = 1.0
"""Seconds that the clocks of hosts may differ from ours."""
_NOT_THERE = {3, 126, 127}
"""Exit statuses where nobody listens, or nothing is deployed on the host."""


@dataclass(frozen=True)
class Row:
    """The samples of one operation on one host, in milliseconds."""

    pattern: str
    component: str
    operation: str
    host: str
    count: int
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def read(cls, record: Any) -> Self | None:
        """Give the row that a record tells; None if it tells none."""
        try:
            fields: dict[str, Any] = {tag: str(record[tag]) for tag in _TAGS}
            fields |= {name: float(record[name]) for name in (*_QUANTILES, "max")}
            if not all(0 <= fields[name] < math.inf for name in (*_QUANTILES, "max")):
                return None
            return cls(count=int(record["count"]), **fields)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    @property
    def name(self) -> str:
        """What it is called in a picture of one pattern."""
        return f"{self.component} {self.operation}, {self.host}"


def quantiles(remote: Remote, patterns: Sequence[str], since: float) -> tuple[list[Row], int]:
    """Give the rows of the last `since` seconds, and how many samples were dropped in them.

    LabError if the database is not there.
    """
    window = f"time > now() - {round(since * 1e3)}ms"
    rows = _rows(_must(remote, _select(_measures(), "latency", window, patterns, _TAGS)))
    dropped = _must(remote, _select("sum(count)", "dropped", window, patterns))
    return rows, sum(int(value) for one in dropped for _, value in one["values"])


def keep(remote: Remote, pattern: str, window: tuple[float, float], home: Path) -> None:
    """Write a pattern's samples of a window (seconds since 1970) into a directory of a run.

    Nothing is written where no database is, or it has none.
    """
    since, until = (round(t * 1e9) for t in (window[0], window[1] + _LATE))
    where = f"time >= {since} AND time <= {until}"
    done = _asked(remote, _select(_measures(), "latency", where, [pattern], _TAGS))
    if done is None or done.exit_status in _NOT_THERE:
        return
    if not (rows := _rows(_series(done))):
        return
    asked = f"{_select('ms', 'latency', where, [pattern], _TAGS)} LIMIT {_POINTS}"
    points = {_key(one["tags"]): one["values"] for one in _must(remote, asked)}
    records = [asdict(row) for row in rows]
    for record in records:
        record["points"] = points.get(_key(record), [])
    write_atomically(home / FILE, json.dumps({"unit": "ms", "series": records}) + "\n")


def kept(home: Path) -> list[Row]:
    """Give the rows that a run has kept of a pattern, as far as they can be read."""
    path = home / FILE
    if path.is_symlink() or not path.is_file():
        return []
    try:
        series = json.loads(path.read_bytes())["series"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    found = map(Row.read, series if isinstance(series, list) else ())
    return [row for row in found if row is not None]


def _measures() -> str:
    cuts = (f"percentile(ms, {part}) AS {name}" for name, part in _QUANTILES.items())
    return ", ".join(["count(ms) AS count", *cuts, "max(ms) AS max"])


def _select(
    what: str, measurement: str, window: str, patterns: Sequence[str], by: Sequence[str] = ()
) -> str:
    """Give the InfluxQL; the patterns' names are identifiers, so nothing is to be quoted."""
    chosen = " OR ".join(f"pattern = '{name}'" for name in patterns)
    where = f"{window} AND component != '{NUMBERED}'" + (f" AND ({chosen})" if chosen else "")
    groups = f"GROUP BY {', '.join(by)}" if by else ""
    return f"SELECT {what} FROM {measurement} WHERE {where} {groups}".strip()  # noqa: S608


def _rows(series: Sequence[Mapping[str, Any]]) -> list[Row]:
    records = (dict(zip(s["columns"], s["values"][0], strict=True)) | s["tags"] for s in series)
    rows = [row for row in map(Row.read, records) if row is not None]
    return sorted(rows, key=lambda row: (row.pattern, row.component, row.operation, row.host))


def _must(remote: Remote, asked: str) -> list[dict[str, Any]]:
    done = _asked(remote, asked)
    if done is None:
        raise LabError(
            f"{remote.inventory.path} places no {STORE}", "add metrics to its placement.yml"
        )
    if done.exit_status in _NOT_THERE:
        raise LabError(
            f"InfluxDB does not answer on {done.host}: {done.stderr.strip()}",
            "deploy it: fab deploy --only metrics",
        )
    return _series(done)


def _asked(remote: Remote, asked: str) -> Output | None:
    """Ask the database; None if the inventory has none."""
    hosts = remote.inventory.groups.get(STORE, ())
    if not hosts:
        return None
    host = hosts[0]
    port = option(remote.inventory, host, Pattern("metrics"), f"{STORE}_port")
    target = f"{remote.inventory.hosts[host].address}:{port}"
    words = [_PYTHON, "-m", "apps.metrics", "query", target, asked, "--json"]
    return remote.run(host, shlex.join(words))


def _series(done: Output) -> list[dict[str, Any]]:
    answers = [event for event in events_in(done.stdout) if event["event"] == "answer"]
    if done.exit_status or not answers:
        raise LabError(
            f"InfluxDB on {done.host} gave no answer: {done.stderr.strip()}",
            "see why: fab logs --only metrics",
        )
    series: list[dict[str, Any]] = answers[0]["series"]
    return series


def _key(tags: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(tags.get(tag)) for tag in _TAGS)

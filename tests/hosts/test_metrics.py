"""metrics on the lab: Debian's influx and curl count what was published; abuse is survived."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.catalogue import ROOT
from lab.hosts.inventory import Inventory
from tests.conftest import eventually

testinfra_hosts = ["ansible://metrics_store"]
CLIENT = "/opt/distlab/bin/python -m apps.metrics"
FAB = Path(sys.executable).with_name("fab")
SAMPLES = 2000


@pytest.fixture
def store(inventory: Inventory) -> str:
    """The host of InfluxDB."""
    return inventory.groups["metrics_store"][0]


@pytest.fixture
def collector(inventory: Inventory) -> str:
    """The host of the collector."""
    return inventory.groups["metrics_collector"][0]


def published(host: Any, collector: str, *options: str) -> str:
    """Publish; give the source that the samples are stored under."""
    words = " ".join(options)
    said = host.check_output(f"{CLIENT} publish %s --count {SAMPLES} {words} --json", collector)
    summary = json.loads(said.splitlines()[-1])
    assert (summary["sent"], summary["lost"]) == (SAMPLES, 0)
    return str(summary["source"])


def by_influx(host: Any, store: str, asked: str) -> list[list[Any]]:
    """Ask with Debian's influx."""
    words = "influx -host %s -database distlab -format json -precision ns -execute %s"
    results = json.loads(host.check_output(words, store, asked))["results"][0]
    return [row for series in results.get("series", ()) for row in series["values"]]


def by_curl(host: Any, store: str, asked: str) -> list[list[Any]]:
    """Ask with curl."""
    words = "curl -sS -G http://%s:8086/query --data-urlencode db=distlab --data-urlencode q=%s"
    results = json.loads(host.check_output(words, store, asked))["results"][0]
    return [row for series in results.get("series", ()) for row in series["values"]]


@pytest.mark.parametrize("options", [(), ("--twice",)])
def test_influx_and_curl_count_what_was_published(
    host: Any, store: str, collector: str, options: tuple[str, ...]
) -> None:
    source = published(host, collector, *options)
    asked = f"SELECT count(*) FROM latency WHERE operation = '{source}'"

    def all_there() -> bool:
        return [row[1] for row in by_influx(host, store, asked)] == [SAMPLES]

    eventually(all_there, "influx counts all of them")
    assert [row[1] for row in by_curl(host, store, asked)] == [SAMPLES]


@pytest.mark.parametrize("name", ["a,b=c d", "x ms=9", "näme", "quote\"'", "#hash"])
def test_a_name_is_what_it_was(host: Any, store: str, name: str) -> None:
    unique = f"{name} {uuid.uuid4().hex[:8]}"
    assert host.run(f"{CLIENT} sample %s 1.5", unique).rc == 0
    escaped = unique.replace("'", "\\'")
    asked = f"SELECT operation, ms FROM latency WHERE operation = '{escaped}'"

    def there() -> bool:
        return [row[1:] for row in by_influx(host, store, asked)] == [[unique, 1.5]]

    eventually(there, f"{unique} is stored as it is")


@pytest.mark.parametrize("name", ["'a\nlatency,host=x ms=9'", "'back\\slash'", "''"])
def test_a_name_that_no_line_holds_is_refused_at_the_agent(host: Any, name: str) -> None:
    def told() -> int:
        with host.sudo():
            journal = str(host.check_output("journalctl -o cat -u lab-metrics-agent.service"))
        return journal.count("malformed")

    before = told()
    assert host.run(f"{CLIENT} sample {name} 1").rc == 0
    eventually(lambda: told() > before, "the agent tells of it")


def test_garbage_on_both_ports_changes_nothing(host: Any, store: str, collector: str) -> None:
    for there, port in ((store, 8086), (collector, 5600)):
        garbage = "head -c 200000 /dev/urandom"
        host.run(f"{garbage} | timeout 5 nc -N %s {port} > /dev/null", there)
        host.run(f"printf 'half' | timeout 5 nc -N %s {port} > /dev/null", there)
    published(host, collector)


def test_a_wrong_query_is_rejected(host: Any, store: str) -> None:
    done = host.run(f"{CLIENT} query %s 'SELECT nonsense'", store)
    assert done.rc == 4
    assert done.stderr.startswith("rejected: ")


def test_without_a_database_a_query_is_refused(host: Any, collector: str) -> None:
    assert host.run(f"{CLIENT} query %s:1 'SHOW DATABASES'", collector).rc == 3


def test_fab_metrics_tells_of_other_patterns(host: Any, inventory: Inventory) -> None:
    (server, *_) = inventory.groups["tcp_echo_server"]
    host.check_output("/opt/distlab/bin/python -m apps.tcp_echo client %s --count 20", server)
    command = [str(FAB), "metrics", "--inventory", str(inventory.path), "--only", "tcp_echo"]

    def told() -> bool:
        run = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=True)
        series = json.loads(run([*command, "--json", "--since", "2min"]).stdout)["series"]
        return any(row["operation"] == "echo" and row["count"] >= 20 for row in series)

    eventually(told, "its latencies are there")

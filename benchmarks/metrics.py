"""How many samples a second the collector takes, beside InfluxDB itself between the same hosts.

Both end on a disk, synced: the collector's spool there, InfluxDB's log here. Batches are as long,
over one connection; curl sends lines that were written before, from files in memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from apps.metrics.core import BATCH_MOST
from benchmarks.figures import Figure, Peer, Tell
from benchmarks.stand import Stand
from lab.errors import LabError
from lab.evidence.client import events_in
from lab.evidence.stage import PYTHON
from lab.hosts.remote import Remote

_COUNT = 100_000
_DATABASE = "bench"
_PLACE = "/dev/shm/distlab-benchmarks"  # noqa: S108  on hosts that nobody else uses


def metrics(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure the collector and InfluxDB, by turns."""
    stand.deployed(tell)
    inventory = stand.inventory("local")
    (client, *_), (collector, *_), (store, *_) = (
        inventory.groups[f"metrics_{name}"] for name in ("client", "collector", "store")
    )
    tell(f"metrics from {client} to {collector}, and curl to InfluxDB on {store}, {runs} times")
    with Remote(inventory) as remote:
        url = f"http://{inventory.hosts[store].address}:8086"
        _prepare(remote, client, url)
        try:
            ours, theirs = [], []
            for _ in range(runs):
                ours.append(_published(remote, client, collector))
                theirs.append(_written(remote, client, url))
        finally:
            _clear(remote, client, url)
    yield Figure(
        "metrics",
        "samples collected, rate",
        "/s",
        tuple(ours),
        peer=Peer("InfluxDB's own HTTP, by curl", tuple(theirs)),
        note=f"{_COUNT:,} samples, {BATCH_MOST} together, until all are on a disk, synced: the"
        " collector's, which writes them to InfluxDB afterwards, and InfluxDB's",
    )


def _published(remote: Remote, client: str, collector: str) -> float:
    """Publish to the collector, with eight batches under way; samples a second."""
    words = f"publish {collector} --count {_COUNT} --batch {BATCH_MOST} --json --brief"
    said = remote.must(client, f"{PYTHON} -m apps.metrics {words}", 120)
    (summary,) = [event for event in events_in(said) if event["event"] == "summary"]
    if summary["kept"] != _COUNT:
        raise LabError(f"of {_COUNT} samples {summary['kept']} were kept", "look at fab logs")
    return float(summary["rate"])


def _written(remote: Remote, client: str, url: str) -> float:
    """Have curl write the same number of lines to InfluxDB; lines a second."""
    began = time.perf_counter()
    said = remote.must(client, f"curl -sS -K {_PLACE}/all", 120)
    took = time.perf_counter() - began
    if said:
        raise LabError(f"InfluxDB at {url} complains: {said[:200]}", "look at fab logs")
    return _COUNT / took


def _prepare(remote: Remote, client: str, url: str) -> None:
    """Write the lines into files, a configuration of curl that sends them, and a database."""
    tags = "latency,component=bench,host=n,operation=o,pattern=p"
    written = f'printf "{tags} ms=%d.5 {time.time():.0f}%09d\\n", i, i'
    lines = f"BEGIN {{ for (i = 0; i < {_COUNT}; i++) {written} }}"
    one = f'data-binary = \\"@%s\\"\\nurl = \\"{url}/write?db={_DATABASE}\\"\\nnext\\n'
    steps = (
        f"mkdir -p {_PLACE} && cd {_PLACE}",
        f"awk '{lines}' | split --lines={BATCH_MOST} --suffix-length=4 - part-",
        f'for part in {_PLACE}/part-*; do printf "{one}" "$part"; done | head -n -1 > all',
        f"curl -sS -X POST {url}/query --data-urlencode 'q=CREATE DATABASE {_DATABASE}'",
    )
    remote.must(client, " && ".join(steps), 120)


def _clear(remote: Remote, client: str, url: str) -> None:
    drop = f"curl -sS -X POST {url}/query --data-urlencode 'q=DROP DATABASE {_DATABASE}'"
    remote.must(client, f"rm -rf {_PLACE}; {drop}", 60)

"""Samples under way while everything between a pattern and its database breaks, one after another.

InfluxDB is stopped, the collector loses its power, its network is cut and its disk fills up, while
publishers go on. What was acknowledged must be in the database in the end, each sample once.
"""

from __future__ import annotations

from collections.abc import Callable

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Running, Workload, answered, outlast
from apps.kit.faults import Disk, Kill, Partition
from apps.kit.retry import Deadline
from apps.metrics.claims import (
    all_arrived,
    counted_once,
    drops_are_counted,
    nothing_lost,
    refusal_is_told,
)
from apps.metrics.core import DROPPED, LATENCY
from apps.metrics.influx import select

STORE, COLLECTOR, AGENT = "metrics_store", "metrics_collector", "metrics_agent"
CLIENT = "metrics_client"
RATE = 300
"""Samples a second that each publisher makes."""
PATIENCE = 15.0
"""Seconds in which what is spooled must have arrived, now that all is well."""
OPERATION, FLOOD = "flood", 5000
"""Samples that one process makes at once: more than its agent's socket holds."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    store_away(lab)
    disk_full(lab)
    flood(lab)
    history = lab.history()
    lab.promised("no acknowledged sample is lost", nothing_lost(history))
    lab.promised("what comes again is counted once", counted_once(history))
    lab.promised("the database counts what was sent", all_arrived(history))


def play(lab: Lab, seconds: float) -> None:
    """Publish for so long whatever befalls the hosts; then all that was kept must be there."""
    outlast(lab, publishers(lab, "--for", seconds, "--rate", 200, "--timeout", 20))
    lab.calm()
    arrive(lab)
    history = lab.history()
    lab.promised("no acknowledged sample is lost", nothing_lost(history))
    lab.promised("what comes again is counted once", counted_once(history))


def store_away(lab: Lab) -> None:
    """Stop InfluxDB under load; meanwhile the collector loses its power, and is cut off."""
    store, collector = lab.hosts(STORE)[0], lab.hosts(COLLECTOR)[0]
    running = publishers(lab, "--for", 100, "--rate", RATE, "--twice")
    lab.wait_until(lambda: bool(lab.history(COLLECTOR, "written")), "samples are written")
    lab.say("InfluxDB is stopped under load")
    lab.stop(store, STORE)
    lab.say("the collector's disk forgets what was not synced, and it is killed")
    with lab.inject(Disk(collector, COLLECTOR, forgets=True)):
        answered(lab, COLLECTOR, 20)
        lab.inject(Kill(collector, COLLECTOR))
        answered(lab, COLLECTOR, 20)
    with lab.inject(Partition("isolate", (collector, *lab.hosts(CLIENT)))):
        lab.say("the publishers are cut off")
    lab.restart(store, STORE)
    for one in running:
        one.stop()
    arrive(lab)


def disk_full(lab: Lab) -> None:
    """Give the collector a disk that takes little more, while InfluxDB is away."""
    store, collector = lab.hosts(STORE)[0], lab.hosts(COLLECTOR)[0]
    lab.say("the collector's disk is full while InfluxDB is away: batches are refused, and kept")
    lab.stop(store, STORE)
    with lab.inject(Disk(collector, COLLECTOR, full=True, free=256 << 10)):
        running = publishers(lab, "--count", 4000, "--batch", 250)
        lab.wait_until(lambda: bool(lab.history(COLLECTOR, "full")), "the spool is full")
    lab.restart(store, STORE)
    for one in running:
        one.wait()
    arrive(lab)
    lab.promised("what finds no room is refused, and not lost", refusal_is_told(lab.history()))


def flood(lab: Lab) -> None:
    """Have one process sample faster than its agent reads."""
    host, store = lab.hosts(CLIENT)[0], lab.hosts(STORE)[0]
    asked = (
        select("count(ms)", LATENCY, operation=OPERATION, host=host),
        select("sum(count)", DROPPED, host=host),
    )
    lab.say(f"{FLOOD} samples at once on {host}: what its agent cannot take is counted")
    points, told = (total(lab, text) for text in asked)
    summary = lab.run(host, "metrics", "sample", OPERATION, 1, "--count", FLOOD).events[-1]
    found: list[Finding] = []

    def settled() -> bool:
        now = [total(lab, text) for text in asked]
        made = drops_are_counted(summary, now[0] - points, now[1] - told)
        found.append(made)
        return made.holds is True

    patiently(lab, settled, f"the samples of {host} are in {store}")
    lab.limit("a process that samples too fast drops some, and counts them", found[-1])


def total(lab: Lab, asked: str) -> int:
    """Ask the database for one number."""
    store = lab.hosts(STORE)[0]
    target = f"{store}:{lab.option(store, 'metrics_store_port')}"
    answer = lab.run(lab.hosts(CLIENT)[0], "metrics", "query", target, asked).events[-1]
    return sum(int(row[1]) for one in answer["series"] for row in one["values"])


def publishers(lab: Lab, *amount: object) -> list[Running]:
    """Let every client host publish straight to the collector."""
    host = lab.hosts(COLLECTOR)[0]
    target = f"{host}:{lab.option(host, 'metrics_collector_port')}"
    return [
        lab.start(client, "metrics", "publish", target, *amount) for client in lab.hosts(CLIENT)
    ]


def arrive(lab: Lab) -> None:
    """Wait until the database has what was acknowledged, and record what it has."""
    host, store = lab.hosts(CLIENT)[0], lab.hosts(STORE)[0]
    target = f"{store}:{lab.option(store, 'metrics_store_port')}"
    sources = sorted({e["source"] for e in lab.history() if e.get("f") == "publish"})

    def arrived() -> bool:
        lab.run(host, "metrics", "stored", target, *sources)
        return nothing_lost(lab.history()).holds is True

    if sources:
        patiently(lab, arrived, "the database was asked")


def patiently(lab: Lab, condition: Callable[[], bool], what: str) -> None:
    """Wait until it holds, or it is plain that it will not: then a claim says so."""
    deadline = Deadline(PATIENCE)
    lab.wait_until(lambda: condition() or deadline.passed, what, 4 * PATIENCE)


WORKLOAD = Workload(play, aims=(COLLECTOR, STORE), clients=(CLIENT,))

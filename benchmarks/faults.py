"""How long it takes to inject a fault and to heal it, and how much the link emulator carries.

From the call to its end: sent to all hosts, brought about, and measured there that it took.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from apps.kit.faults import Fault, Link, Partition
from benchmarks.figures import Figure, Peer, Tell
from benchmarks.sockets import SIZE, sockperf_datagrams
from benchmarks.stand import Stand
from benchmarks.tools import Tools
from lab.faults.control import Faults
from lab.hosts.remote import Remote

_DELAY = 0.05
_LONG = 600.0
"""Seconds after which a fault would heal itself: longer than any measurement."""


def faults(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure on six hosts, and on those of inventory/fifty."""
    for inventory in ("local", "fifty"):
        tell(f"booting the hosts of {inventory}")
        stand.fab("up", inventory)
        with Remote(stand.inventory(inventory)) as remote:
            yield from _latencies(remote, runs, tell)
            if inventory == "local":
                yield from _emulator(remote, runs, tell)
        stand.fab("down", inventory, "--wipe")


def _latencies(remote: Remote, runs: int, tell: Tell) -> Iterator[Figure]:
    tools, hosts = Faults(remote), tuple(remote.inventory.hosts)
    tools.heal()  # nothing; but then connections are open, and the tools on every host
    for what, fault in (
        ("a partition in halves", Partition("halves", hosts)),
        (f"{_DELAY * 1e3:g} ms on every link", Link(hosts, delay=_DELAY)),
        ("20% loss on one link", Link(hosts[:1], hosts[1:2], loss=0.2)),
    ):
        tell(f"{what}, {runs} times on {len(hosts)} hosts")
        injected, healed = zip(*(_once(tools, fault) for _ in range(runs)), strict=True)
        where = f"of {len(hosts)} hosts"
        yield Figure("faults", f"inject {what}, {where}", "s", injected)
        yield Figure("faults", f"heal {what}, {where}", "s", healed)


def _once(tools: Faults, fault: Fault) -> tuple[float, float]:
    began = time.perf_counter()
    injected = tools.inject(fault, _LONG)
    took = time.perf_counter()
    injected.heal()
    return took - began, time.perf_counter() - took


def _emulator(remote: Remote, runs: int, tell: Tell) -> Iterator[Figure]:
    """Send datagrams flat out, with a delay and without."""
    tools = Tools(remote, "sockperf")
    server, client = tools.pair("udp_oneway_receiver", "udp_oneway_sender")
    tell(f"datagrams from {client} to {server}, delayed and not, {runs} times")
    free = tuple(sockperf_datagrams(tools, server, client).rate for _ in range(runs))
    with Faults(remote).inject(Link((client,), (server,), delay=_DELAY), _LONG) as injected:
        delayed = tuple(sockperf_datagrams(tools, server, client).rate for _ in range(runs))
        engine, took = injected.measured[client]["engine"], injected.measured[client]["delay"]
    note = f"{SIZE} bytes each, sent flat out, what arrives; {took * 1e3:.2f} ms of 50 measured"
    yield Figure(
        "faults",
        f"datagrams through the {engine}",
        "/s",
        delayed,
        peer=Peer("sockperf, UDP, no fault", free),
        note=note,
    )

"""How the rate goes with the number of subscribers: over epgm one datagram for all, over TCP a copy
for each.

The same publisher and subscribers, by the same code and the same libzmq, on the same hosts; what
counts is the slowest subscriber. Without loss: what repairs cost is a matter of the loss.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, Peer, Tell
from benchmarks.stand import Stand
from lab.errors import LabError
from lab.evidence.client import events_in
from lab.evidence.stage import PYTHON
from lab.hosts.remote import Remote

CROWDS = (1, 2, 3, 5)
"""Subscribers, each on a host of its own."""
SIZE = 200
"""Bytes of a message."""
_COUNT = 20_000
_PORT = 5595
"""Not the units' own."""
_BANDWIDTH = 300_000
"""kbit/s, which bounds epgm: at 1 Gbit/s it overran a subscriber's buffer beyond repair."""
_SECONDS = 20
_CLIENT = f"{PYTHON} -m apps.zmq_multicast"


def multicast(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure epgm beside tcp for each size of the crowd."""
    stand.deployed(tell)
    with Remote(stand.inventory("local")) as remote:
        publisher = remote.inventory.groups["zmq_multicast_client"][0]
        others = [host for host in remote.inventory.hosts if host != publisher]
        for crowd in CROWDS:
            subscribers = others[:crowd]
            tell(f"epgm and tcp from {publisher} to {crowd}, {runs} times each")
            rates: dict[str, list[float]] = {"epgm": [], "tcp": []}
            for _ in range(runs):
                for transport, found in rates.items():
                    found.append(rate(remote, transport, publisher, subscribers))
            yield Figure(
                "multicast",
                f"zmq_multicast, epgm to {crowd}, rate",
                "/s",
                tuple(rates["epgm"]),
                peer=Peer("PUB/SUB over TCP", tuple(rates["tcp"])),
                note=f"{_COUNT:,} messages of {SIZE} bytes; the slowest subscriber counts; "
                f"epgm may send {_BANDWIDTH // 1000} Mbit/s"
                if crowd == CROWDS[0]
                else "",
            )


def rate(remote: Remote, transport: str, publisher: str, subscribers: Sequence[str]) -> float:
    """Give the messages a second at the slowest subscriber: those that it has, if it lacks any."""
    group = str(remote.inventory.hosts[publisher].address) if transport == "tcp" else "239.192.18.1"
    where = f"--transport {transport} --group {group} --port {_PORT} --bandwidth {_BANDWIDTH}"
    where += " --recovery 1 --json --brief"
    command = f"{_CLIENT} subscribe {where} --count {_COUNT} --for {_SECONDS}"
    started = [remote.start(host, command, _SECONDS + 30) for host in subscribers]
    if transport == "epgm":
        for host in subscribers:
            _await_port(remote, host)
    awaited = len(subscribers) if transport == "tcp" else 0
    made_up = f"--count {_COUNT} --size {SIZE} --subscribers {awaited} --stay 3"
    remote.must(publisher, f"{_CLIENT} publish {where} {made_up}", _SECONDS + 30)
    summaries = [events_in(running.wait().stdout)[-1] for running in started]
    return min(float(summary["rate"]) for summary in summaries)


def _await_port(remote: Remote, host: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while remote.run(host, f"grep -q ':{_PORT:04X} ' /proc/net/udp").exit_status:
        if time.monotonic() > deadline:
            raise LabError(f"nobody subscribes on {host}", "see fab logs")

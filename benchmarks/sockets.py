"""How fast two hosts talk: tcp_echo, tcp_squares and udp_oneway, with sockperf as the floor.

sockperf (C++, blocking sockets, no framing, no events) runs between the same two hosts. The
patterns' servers run as deployed: sandboxed, and with every message an event in the journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.figures import Figure, Tell, Traffic, compared
from benchmarks.stand import Stand
from benchmarks.tools import Tools, must_match
from lab.evidence.client import events_in
from lab.evidence.stage import PYTHON
from lab.hosts.remote import Remote

SIZE = 64
"""Bytes of a message, there as here."""
_CALLS = 20_000
_DATAGRAMS = 500_000
_PACE = 1_000
"""Datagrams a second where their delay is measured: without a queue."""
_SECONDS = 3
_PORT = 11111


def sockets(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure the three patterns, each beside sockperf between the same hosts."""
    stand.deployed(tell)
    with Remote(stand.inventory("local")) as remote:
        tools = Tools(remote, "sockperf")
        for pattern in ("tcp_echo", "tcp_squares"):
            yield from _calls(tools, pattern, runs, tell)
        yield from _datagrams(tools, runs, tell)


def _calls(tools: Tools, pattern: str, runs: int, tell: Tell) -> Iterator[Figure]:
    server, client = tools.pair(f"{pattern}_server", f"{pattern}_client")
    tell(f"{pattern} from {client} to {server}, and sockperf, {runs} times each")
    ours, floor = [], []
    for _ in range(runs):
        options = f"client {server} --count {_CALLS}"
        summary = _summary(tools.remote, client, pattern, options)
        ours.append(Traffic(summary["rate"], summary["p50_ms"], summary["p99_ms"]))
        said, _ = _sockperf(tools, server, client, "ping-pong --full-rtt --tcp")
        seconds, count = must_match(r"Valid Duration\] RunTime=([\d.]+) .*Received\w+=(\d+)", said)
        floor.append(Traffic(float(count) / float(seconds), *_percentiles(said)))
    note = f"one caller, {client} to {server}, round trips"
    yield from compared("sockets", pattern, ours, ("sockperf, TCP ping-pong", floor), note)


def _datagrams(tools: Tools, runs: int, tell: Tell) -> Iterator[Figure]:
    receiver, sender = tools.pair("udp_oneway_receiver", "udp_oneway_sender")
    tell(f"udp_oneway from {sender} to {receiver}, and sockperf, {runs} times each")
    ours, floor, sent, arrived = [], [], 0, 0
    for _ in range(runs):
        flat = f"send {receiver} --confirm --size {SIZE} --count {_DATAGRAMS}"
        burst = _summary(tools.remote, sender, "udp_oneway", flat)
        sent, arrived = sent + burst["sent"], arrived + burst["received"]
        paced = f"send {receiver} --confirm --size {SIZE} --count {_SECONDS * _PACE} --rate {_PACE}"
        calm = _summary(tools.remote, sender, "udp_oneway", paced)
        rate = burst["rate"] * burst["received"] / burst["sent"]
        ours.append(Traffic(rate, calm["p50_ms"], calm["p99_ms"]))
        floor.append(sockperf_datagrams(tools, receiver, sender))
    note = (
        f"{sender} to {receiver}, sent flat out, what arrived ({arrived / sent:.1%} of it); "
        f"one-way delay at {_PACE} a second"
    )
    yield from compared("sockets", "udp_oneway", ours, ("sockperf, UDP", floor), note)


def sockperf_datagrams(tools: Tools, receiver: str, sender: str) -> Traffic:
    """What arrives of a flat-out run, and one-way delays (half round trips) of a paced one."""
    said, heard = _sockperf(tools, receiver, sender, "throughput")
    (seconds,) = must_match(r"messages sent in ([\d.]+) sec", said)
    (count,) = must_match(r"Total (\d+) messages received", heard)
    paced, _ = _sockperf(tools, receiver, sender, f"under-load --mps {_PACE} --reply-every 1")
    return Traffic(int(count) / float(seconds), *_percentiles(paced))


def _sockperf(tools: Tools, server: str, client: str, mode: str) -> tuple[str, str]:
    """Run sockperf between two hosts; what the client said, and what the server did."""
    protocol = "--tcp" if "--tcp" in mode else ""
    where = f"--ip {tools.remote.inventory.hosts[server].address} --port {_PORT}"
    serving = tools.serve(server, f"sockperf server {protocol} {where}", _PORT, tcp=bool(protocol))
    try:
        command = f"sockperf {mode} {where} --time {_SECONDS} --msg-size {SIZE}"
        said = tools.must(client, command, _SECONDS + 30)
    finally:
        heard = serving.stop()
    return said, heard


def _percentiles(said: str) -> tuple[float, float]:
    """Give p50 and p99 in ms; sockperf tells microseconds."""
    p50, p99 = (must_match(rf"percentile {cut}\.000 = +([\d.]+)", said)[0] for cut in (50, 99))
    return float(p50) / 1e3, float(p99) / 1e3


def _summary(remote: Remote, host: str, pattern: str, command: str) -> Mapping[str, Any]:
    said = remote.must(host, f"{PYTHON} -m apps.{pattern} {command} --json --brief", 120)
    (summary,) = [event for event in events_in(said) if event["event"] == "summary"]
    return summary

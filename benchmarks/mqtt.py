"""Messages a second through Mosquitto, at each quality of service: our clients and Mosquitto's own.

The same broker, as deployed: it saves after every change. Publisher and subscriber are two other
hosts, one connection each, with twenty messages under way at most. What counts is what arrives:
from the first message to the last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Peer, Tell
from benchmarks.stand import Stand
from lab.catalogue import patterns
from lab.errors import LabError
from lab.evidence.client import events_in
from lab.evidence.stage import PYTHON
from lab.hosts.remote import Remote
from lab.status import option

SIZE = 64
"""Bytes of a message, there as here."""
COUNTS = {0: 5_000, 1: 1_000, 2: 1_000}
"""Messages at each QoS: those that are confirmed cost the broker a save or more."""
UNDER_WAY = 20
"""What Mosquitto's own publisher has by default."""
_OURS = f"{PYTHON} -m apps.mqtt"
_PATIENCE = 120
_THERE = "/tmp/distlab-mqtt"  # noqa: S108  on hosts that nobody else uses


def mqtt(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure each quality of service, by turns."""
    stand.deployed(tell)
    with Remote(stand.inventory("local")) as remote:
        for qos in (0, 1, 2):
            tell(f"QoS {qos}, by our clients and by Mosquitto's, {runs} times each")
            ours, theirs = [], []
            for _ in range(runs):
                ours.append(_ours(remote, qos))
                theirs.append(_theirs(remote, qos))
            publisher, broker, subscriber = _hosts(remote)
            yield Figure(
                "mqtt",
                f"QoS {qos}, messages",
                "/s",
                tuple(ours),
                peer=Peer("mosquitto_pub and mosquitto_sub", tuple(theirs)),
                note=f"{SIZE} bytes, {publisher} to {broker} to {subscriber}" if not qos else "",
            )


def _hosts(remote: Remote) -> tuple[str, str, str]:
    groups = remote.inventory.groups
    publisher, broker = groups["mqtt_client"][0], groups["mqtt_broker"][0]
    others = [host for host in groups["mqtt_subscriber"] if host not in {publisher, broker}]
    return publisher, broker, others[0]


def _port(remote: Remote, broker: str) -> int:
    (pattern,) = (pattern for pattern in patterns() if pattern.name == "mqtt")
    return int(option(remote.inventory, broker, pattern, "mqtt_broker_port"))


def _ours(remote: Remote, qos: int) -> float:
    publisher, broker, subscriber = _hosts(remote)
    at = f"{broker}:{_port(remote, broker)}"
    count = COUNTS[qos]
    listening = f"{_OURS} subscribe {at} bench/ours --count {count} --for {_PATIENCE} --json"
    started = remote.start(subscriber, f"{listening} > {_THERE}", _PATIENCE + 10)
    _until(remote, subscriber, f"grep -q subscribed {_THERE}")
    load = f"--count {count} --callers {UNDER_WAY} --size {SIZE} --json --brief"
    remote.must(publisher, f"{_OURS} publish {at} bench/ours --qos {qos} {load}", _PATIENCE)
    started.wait()
    said = remote.must(subscriber, f"tail -n 1 {_THERE}; rm {_THERE}")
    (summary,) = [event for event in events_in(said) if event["event"] == "summary"]
    if summary["received"] < count:
        raise LabError(f"only {summary['received']} of {count} messages arrived")
    return float(summary["rate"])


def _theirs(remote: Remote, qos: int) -> float:
    publisher, broker, subscriber = _hosts(remote)
    at, count = f"-h {broker} -p {_port(remote, broker)}", COUNTS[qos]
    # One message more, by which we see that it listens.
    listening = f"mosquitto_sub {at} -t bench/theirs -q 2 -C {count + 1} -W {_PATIENCE} -F %U"
    started = remote.start(subscriber, f"rm -f {_THERE}; {listening} > {_THERE}", _PATIENCE + 10)
    asked = f"{_OURS} publish {broker}:{_port(remote, broker)} bench/theirs ready --qos 1"
    _until(remote, publisher, f"test \"$({asked})\" = 'ok: success'")
    lines = f"yes {'x' * SIZE} | head -n {count}"
    remote.must(publisher, f"{lines} | mosquitto_pub {at} -t bench/theirs -q {qos} -l", _PATIENCE)
    started.wait()
    times = [float(line) for line in remote.must(subscriber, f"cat {_THERE}").split()][1:]
    if len(times) < count:
        raise LabError(f"only {len(times)} of {count} messages arrived")
    return (len(times) - 1) / (times[-1] - times[0])


def _until(remote: Remote, host: str, condition: str) -> None:
    deadline = time.monotonic() + 20
    while remote.run(host, condition).exit_status:
        if time.monotonic() > deadline:
            raise LabError(f"on {host} it is still not so: {condition}")
        threading.Event().wait(0.05)

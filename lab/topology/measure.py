"""Delay and bandwidth between hosts of a topology that is up, measured by what they do themselves.

Round trips are ping's. Bandwidth is that of one TCP connection: what arrives in some seconds after
the first, headers not counted, which are 4% of full frames.
"""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab.errors import LabError
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from lab.topology import validate
from lab.topology.model import milliseconds, rate
from lab.topology.paths import Paths

PORT = 9976
_SECONDS = 4.0
_WARM = 1.5
"""Seconds that a connection has to become as fast as it can."""
_PINGS = 20
_RECEIVE = """
import json, socket, sys, time
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
server.settimeout(10)
connection, _ = server.accept()
connection.settimeout(10)
began = first = last = None
got = 0
while piece := connection.recv(1 << 16):
    last = time.monotonic()
    began = began or last
    if last - began > float(sys.argv[3]):
        got += len(piece) if first else 0
        first = first or last
print(json.dumps({"bits": got * 8, "seconds": last - first if first else 0}))
"""
_SEND = """
import socket, sys, time
deadline = time.monotonic() + 5
while True:
    try:
        connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.05)
# Little is on its way when the time is over, so that the end arrives soon.
connection.setsockopt(socket.SOL_SOCKET, socket.TCP_NOTSENT_LOWAT, 1 << 17)
until, piece = time.monotonic() + float(sys.argv[3]), bytes(1 << 14)
while time.monotonic() < until:
    connection.sendall(piece)
"""


@dataclass(frozen=True)
class Measured:
    """What was measured between two hosts, and what the topology says."""

    a: str
    b: str
    round_trip: float
    """Seconds: the median."""
    wanted_round_trip: float
    bandwidth: float
    """Bits a second, as TCP's payload; 0 where the topology sets no limit."""
    wanted_bandwidth: float

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return dict(vars(self))

    def row(self) -> tuple[str, ...]:
        """Give it for people."""
        limited = bool(self.wanted_bandwidth)
        return (
            f"{self.a} {self.b}",
            f"{self.round_trip * 1e3:.2f}ms",
            milliseconds(self.wanted_round_trip),
            rate(round(self.bandwidth, -3)) if limited else "",
            rate(self.wanted_bandwidth) if limited else "",
        )


def measure(
    inventory: Inventory, pairs: int, tell: Callable[[str], None] = lambda _: None
) -> list[Measured]:
    """Measure between the pairs of hosts that are farthest from each other."""
    if inventory.topology is None:
        raise LabError(
            f"inventory {inventory.path} has no topology", "boot one: fab up --topology FILE"
        )
    paths = Paths(validate.load(inventory.topology))
    hosts = list(inventory.hosts)
    every = [(a, b) for place, a in enumerate(hosts) for b in hosts[place + 1 :]]

    def far(pair: tuple[str, str]) -> tuple[float, int]:
        path = paths.path(*pair)
        return path.quality.delay, len(path.links)

    farthest = sorted(every, key=far, reverse=True)[:pairs]
    with Remote(inventory) as remote:
        found = []
        for a, b in farthest:
            tell(f"{a} to {b}")
            found.append(_between(remote, paths, a, b))
    return found


def _between(remote: Remote, paths: Paths, a: str, b: str) -> Measured:
    there, back = paths.path(a, b).quality, paths.path(b, a).quality
    limit = there.bandwidth
    return Measured(
        a,
        b,
        round_trip=round_trip(remote, a, b),
        wanted_round_trip=there.delay + back.delay,
        bandwidth=bandwidth(remote, a, b) if limit else 0.0,
        wanted_bandwidth=limit,
    )


def round_trip(remote: Remote, a: str, b: str) -> float:
    """Give the median of some pings' round trips, in seconds; LabError if none is answered."""
    to = remote.inventory.hosts[b].address
    said = remote.run(a, f"ping -n -c {_PINGS} -i 0.1 -W 5 {to}").stdout
    times = [
        float(line.partition("time=")[2].split()[0]) for line in said.splitlines() if _TIME in line
    ]
    if not times:
        raise LabError(f"{b} answers none of {a}'s pings: {said.strip()}", "fab up, or fab heal")
    return statistics.median(times) / 1e3


_TIME = "time="


def bandwidth(remote: Remote, a: str, b: str, seconds: float = _SECONDS) -> float:
    """Give the bits a second that one TCP connection brings from one host to the other."""
    to = str(remote.inventory.hosts[b].address)
    receiving = remote.start(b, _python(_RECEIVE, to, PORT, _WARM), seconds + 30)
    remote.must(a, _python(_SEND, to, PORT, _WARM + seconds), seconds + 30)
    output = receiving.wait()
    if output.exit_status:
        raise LabError(f"on {b}: nothing was received: {output.stderr.strip()}")
    got = json.loads(output.stdout)
    return float(got["bits"]) / float(got["seconds"]) if got["seconds"] else 0.0


def _python(program: str, *arguments: object) -> str:
    return shlex.join(["python3", "-c", program, *map(str, arguments)])

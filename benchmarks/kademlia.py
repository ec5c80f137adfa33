"""How many hops a get takes in the hash table, and how long, by the number of nodes.

With the paper's k of 20 a node of fifty knows nearly all others, so it is done again with a k of 4,
where searches have to go from node to node, and may end beside a key's holders; how many find it is
counted. Asked is a node at a time, from this machine; each get hears all of the k nearest, not the
first that has the key alone.
"""

from __future__ import annotations

import json
import random
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks.figures import Figure, Tell
from benchmarks.stand import Stand
from lab.errors import LabError
from lab.evidence.stage import PYTHON
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote

COUNTS = (5, 20, 50)
KS = (20, 4)
KEYS = 40
GETS = 400
"""In each run, by random nodes, of random keys."""
_NODE, _UNIT = "kademlia_node", "lab-kademlia-node"
_PORT = 8468
_PATIENCE = 60


class _Get(NamedTuple):
    hops: int
    ms: float
    found: bool


def kademlia(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure on hosts of inventory/fifty."""
    tell("booting the hosts of fifty")
    stand.fab("up", "fifty")
    for k in KS:
        tell(f"deploying with a k of {k}")
        options = {"kademlia": {"vars": {f"{_NODE}_k": k}}}
        (stand.tree / "inventory" / "fifty" / "k.yml").write_text(json.dumps(options))
        stand.fab("deploy", "fifty", "--only", "kademlia")
        with Remote(stand.inventory("fifty")) as remote:
            for count in COUNTS:
                yield from _of(remote, count, k, runs, tell)
    stand.fab("down", "fifty", "--wipe")


def _of(remote: Remote, count: int, k: int, runs: int, tell: Tell) -> Iterator[Figure]:
    """Begin with so many new nodes, and get keys from them."""
    nodes = remote.inventory.groups[_NODE]
    tell(f"{count} nodes, k {k}: {runs} times {GETS} gets")
    _on_all(remote, nodes, f"systemctl stop {_UNIT}; sudo -n systemctl clean --what=state {_UNIT}")
    _on_all(remote, nodes[:count], f"systemctl start {_UNIT}")
    meet = f"{PYTHON} -m apps.kademlia meet {' '.join(nodes[:count])} --within {_PATIENCE}"
    remote.must(nodes[0], meet, 2 * _PATIENCE)
    taken = list(_gets(remote.inventory, nodes[:count], runs))
    found = tuple(100 * statistics.mean(get.found for get in run) for run in taken)
    yield Figure("kademlia", f"{count} nodes, k {k}: gets that find the key", "%", found)
    hops = tuple(statistics.mean(get.hops for get in run if get.found) for run in taken)
    yield Figure("kademlia", f"{count} nodes, k {k}: hops of a get", "", hops)
    for name, part in (("p50", 50), ("p99", 99)):
        figures = (statistics.quantiles([get.ms for get in run], n=100)[part - 1] for run in taken)
        yield Figure("kademlia", f"{count} nodes, k {k}: a get, {name}", "ms", tuple(figures))


def _gets(inventory: Inventory, nodes: Sequence[str], runs: int) -> Iterator[list[_Get]]:
    """Set some keys, and get them, one at a time by a random node; yield what each run took."""
    rng = random.Random(len(nodes))
    keys = [f"key {number}" for number in range(KEYS)]
    for key in keys:
        told, _ = _ask(inventory, rng.choice(nodes), {"f": "set", "key": key, "value": key})
        if "result" not in told:
            raise LabError(f"{key} could not be set: {told}")
    for _ in range(runs):
        yield [_get(inventory, rng.choice(nodes), rng.choice(keys)) for _ in range(GETS)]


def _get(inventory: Inventory, node: str, key: str) -> _Get:
    told, ms = _ask(inventory, node, {"f": "get", "key": key})
    if "result" not in told and told.get("known") != "rejected":
        raise LabError(f"{node} was asked for {key}, and answered: {told}")
    return _Get(told.get("result", {}).get("hops", 0), ms, "result" in told)


def _ask(inventory: Inventory, node: str, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Ask a node; give its answer, and the milliseconds from the question to it."""
    with socket.create_connection((str(inventory.hosts[node].address), _PORT), _PATIENCE) as asking:
        began = time.perf_counter()
        asking.sendall(json.dumps(body).encode() + b"\n")
        with asking.makefile("rb") as answers:
            told = json.loads(answers.readline())
        return told, (time.perf_counter() - began) * 1e3


def _on_all(remote: Remote, hosts: Sequence[str], command: str) -> None:
    """Run a command as root on all hosts at once; LabError if it fails on any."""

    def run(host: str) -> str:
        return remote.must(host, f"sudo -n {command}", _PATIENCE)

    for done in remote.each(hosts, run).values():
        if isinstance(done, LabError):
            raise done

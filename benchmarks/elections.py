"""How long nobody leads after a leader was killed, by the number of nodes.

On ZooKeeper it is measured where it counts: at what the leader writes, from the last write of the
killed leader to the first of the next, by one clock. Of the bully election, whose killed leader is
kept from coming back at once and leading again, it is from the kill to the next one's own word; the
hosts of a lab on one machine have one clock. Nodes beyond the number are stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from apps.kit.claims import Event
from apps.kit.faults import Kill
from benchmarks.figures import Figure, Tell
from benchmarks.stand import Stand
from lab.catalogue import Pattern
from lab.errors import LabError
from lab.evidence.client import events_in
from lab.evidence.recording import Recording
from lab.evidence.stage import PYTHON
from lab.faults.control import Faults
from lab.hosts.remote import Remote
from lab.status import option

COUNTS = (3, 5, 9)
_CROWD = """\
leader_election_node:
  hosts:
    n[1:9]:
bully_node:
  hosts:
    n[1:9]:
"""
"""On top of the shared placement, as inventory/fifty/crowd.yml."""
_NODE, _RESOURCE = "leader_election_node", "leader_election_resource"
_UNITS = {_NODE: "lab-leader-election-node.service", _RESOURCE: "lab-leader-election-resource"}
_BULLY = "lab-bully-node.service"
_PATIENCE = 60.0


def elections(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure each kind of election on hosts of inventory/fifty."""
    (stand.tree / "inventory" / "fifty" / "elections.yml").write_text(_CROWD)
    tell("booting the hosts of fifty")
    stand.fab("up", "fifty")
    stand.fab("deploy", "fifty", "--only", "zookeeper,leader_election,bully")
    with Remote(stand.inventory("fifty")) as remote:
        yield from _on_zookeeper(remote, runs, tell)
        yield from _by_bullying(remote, runs, tell)
    stand.fab("down", "fifty", "--wipe")


def _on_zookeeper(remote: Remote, runs: int, tell: Tell) -> Iterator[Figure]:
    nodes = remote.inventory.groups[_NODE]
    resource = remote.inventory.groups[_RESOURCE][0]
    writes = Recording(remote, {resource: [_UNITS[_RESOURCE]]})
    session = option(remote.inventory, nodes[0], Pattern("leader_election"), f"{_NODE}_session")
    for count in COUNTS:
        tell(f"leader_election of {count} nodes, whose leader is killed, {runs} times")
        for host in nodes:
            verb = "start" if host in nodes[:count] else "stop"
            remote.must(host, f"sudo -n systemctl {verb} {_UNITS[_NODE]}")
        took = []
        for _ in range(runs):
            _until(partial(_stand, remote, count), "all nodes stand for election")
            took.append(_succession(remote, writes))
        what = f"leader_election, {count} nodes: no leader after a kill"
        note = f"of which a session of {session:g} s has to end first" if count == COUNTS[0] else ""
        yield Figure("elections", what, "s", tuple(took), note=note)


def _by_bullying(remote: Remote, runs: int, tell: Tell) -> Iterator[Figure]:
    nodes = remote.inventory.groups["bully_node"]
    words = Recording(remote, {host: [_BULLY] for host in nodes})
    for count in COUNTS:
        tell(f"bully of {count} nodes, whose leader is killed, {runs} times")
        for host in nodes:
            verb = "start" if host in nodes[:count] else "stop"
            remote.must(host, f"sudo -n systemctl {verb} {_BULLY}")
        took = [_takeover(remote, words, *nodes[count - 2 : count]) for _ in range(runs)]
        yield Figure("elections", f"bully, {count} nodes: no leader after a kill", "s", tuple(took))


def _takeover(remote: Remote, words: Recording, heir: str, leader: str) -> float:
    """Kill the leader for good; give the seconds until its heir leads."""
    began = float(remote.must(leader, f"date +%s.%N; sudo -n systemctl restart {_BULLY}"))
    _until(partial(_led, words, leader, began), f"{leader} leads")
    kill = f"sudo -n systemctl kill --signal=KILL {_BULLY}; sudo -n systemctl stop {_BULLY}"
    killed = float(remote.must(leader, f"date +%s.%N; {kill}"))
    _until(partial(_led, words, heir, killed), f"{heir} leads")
    return _led(words, heir, killed) - killed


def _led(words: Recording, host: str, since: float) -> float:
    """Give when a node first led after a moment; 0 if it has not."""
    for lost in words.read().values():
        raise lost
    led = (e["t"] for e in words.events if e["event"] == "lead" and e["node"] == host)
    return float(min((t for t in led if t > since), default=0.0))


def _succession(remote: Remote, writes: Recording) -> float:
    """Kill the leader; give the seconds between its last write and the first of another."""
    _until(lambda: bool(_taken(writes)), "a leader writes")
    last = _taken(writes)[-1]
    Faults(remote).inject(Kill(last["holder"], _NODE), _PATIENCE)
    _until(lambda: _taken(writes)[-1]["fence"] > last["fence"], "another node leads")
    taken = _taken(writes)
    first = next(event for event in taken if event["fence"] > last["fence"])
    before = max(event["t"] for event in taken if event["fence"] == last["fence"])
    return float(first["t"] - before)


def _taken(writes: Recording) -> list[Event]:
    for lost in writes.read().values():
        raise lost
    return [event for event in writes.events if event["event"] == "accepted"]


def _stand(remote: Remote, count: int) -> bool:
    """Tell whether the ensemble knows so many candidates."""
    servers = ",".join(remote.inventory.groups["zookeeper_server"])
    asked = f"{PYTHON} -m apps.leader_election who {servers} --json"
    told: list[Any] = events_in(remote.must(remote.inventory.groups[_RESOURCE][0], asked))
    return any(len(e["candidates"]) == count for e in told if e["event"] == "candidates")


def _until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"after {_PATIENCE:g} s it is still not so that {what}")
        time.sleep(0.1)

"""How long a deploy takes with the number of hosts, and what Ansible's settings make of it.

Everything is deployed to inventory/fifty, cut to 6 and 20 hosts and whole. Its placement puts most
components on five hosts whatever their number, heartbeats and keys on each; so what grows is what
each host takes: its preparation, the code, and two units.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from benchmarks.figures import Figure, Tell
from benchmarks.stand import Stand

_SIZES = (6, 20, 50)
"""Hosts besides the hub; the last is that of the inventory itself."""
_SETTINGS = {
    "5 forks": {"ANSIBLE_FORKS": "5"},
    "50 forks": {"ANSIBLE_FORKS": "50"},
    "without pipelining": {"ANSIBLE_PIPELINING": "False"},
}
"""What is set otherwise than in ansible.cfg, for the most hosts."""
_CROWD = re.compile(r"n\[1:\d+\]")


def growing(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Deploy everything to more and more hosts: first, unchanged, and with other settings.

    What is deployed is looked at, and played with: a demo that fails ends the measurement.
    """
    for hosts in _SIZES:
        stand.fab("down", "fifty", "--wipe")
        _cut(stand, hosts)
        tell(f"deploying everything to {hosts} hosts and the hub")
        stand.fab("up", "fifty")
        first = stand.fab("deploy", "fifty").seconds
        yield Figure("growing", f"first deploy, {hosts} hosts", "s", (first,))
        yield from _unchanged(stand, runs, tell, f"{hosts} hosts", {})
        asked = tuple(stand.fab("status", "fifty").seconds for _ in range(runs))
        yield Figure("growing", f"status, {hosts} hosts", "s", asked)
        tell("playing the demo of kademlia, whose nodes are on all hosts")
        played = stand.fab("run-demo", "fifty", "--only", "kademlia").seconds
        yield Figure("growing", f"demo of kademlia, {hosts} hosts", "s", (played,))
    for what, settings in _SETTINGS.items():
        yield from _unchanged(stand, runs, tell, f"{_SIZES[-1]} hosts, {what}", settings)
    stopped = stand.fab("down", "fifty", "--wipe").seconds
    yield Figure("growing", f"down, {_SIZES[-1]} hosts", "s", (stopped,))


def _unchanged(
    stand: Stand, runs: int, tell: Tell, what: str, settings: dict[str, str]
) -> Iterator[Figure]:
    """Deploy what is there already."""
    tell(f"deploying unchanged, {what}, {runs} times")
    seconds = tuple(stand.fab("deploy", "fifty", **settings).seconds for _ in range(runs))
    yield Figure("growing", f"deploy, nothing changed, {what}", "s", seconds)


def _cut(stand: Stand, hosts: int) -> None:
    """Have so many hosts in the copy's inventory."""
    for path in (stand.tree / "inventory" / "fifty").glob("*.yml"):
        if not path.is_symlink():
            path.write_text(_CROWD.sub(f"n[1:{hosts}]", path.read_text()))

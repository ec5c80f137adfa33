"""How long it takes until hosts are there: the image, six hosts, fifty; beside Mininet.

Mininet's hosts are network namespaces with a shell each: no init, no services, no SSH, one file
system and one process table for all. It is the floor of what a network of hosts can cost here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.commands import as_root, timed
from benchmarks.figures import Figure, Peer, Tell
from benchmarks.stand import Stand
from lab.catalogue import ROOT


@dataclass(frozen=True)
class Size:
    """How many hosts: those of an inventory; to be up warm within `aim` seconds."""

    part: str
    inventory: str
    aim: float


def image(_stand: Stand, _runs: int, tell: Tell) -> Iterator[Figure]:
    """Build the hosts' image from nothing, once."""
    tell("building the hosts' image from nothing (a minute or two)")
    # In a mount namespace of its own, so that the images of this machine's labs are out of reach.
    private = ("unshare", "--mount", "--propagation=private")
    built = timed(as_root(*private, sys.executable, "-m", "benchmarks.cold_image"), ROOT)
    seconds = float(json.loads(built.output.splitlines()[-1])["seconds"])
    note = "with the download of its Debian packages"
    yield Figure("image", "image of the hosts, cold", "s", (seconds,), aim=120, note=note)


def six(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Boot six hosts, the first time and again."""
    yield from _boot(stand, runs, tell, Size("six", "local", 3))


def fifty(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Boot the hosts of inventory/fifty, the first time and again."""
    yield from _boot(stand, runs, tell, Size("fifty", "fifty", 12))


def _boot(stand: Stand, runs: int, tell: Tell, size: Size) -> Iterator[Figure]:
    hosts = len(stand.inventory(size.inventory).hosts)
    tell(f"booting {hosts} hosts for the first time")
    stand.fab("up", size.inventory)  # the image is there afterwards
    stand.fab("down", size.inventory, "--wipe")
    first = stand.up(size.inventory)
    warm = []
    for run in range(runs):
        stand.fab("down", size.inventory)
        tell(f"booting {hosts} warm hosts, {run + 1} of {runs}")
        warm.append(stand.up(size.inventory))
    stand.fab("down", size.inventory, "--wipe")
    tell(f"the same number of hosts with Mininet, {runs} times")
    peer = Peer(f"Mininet, {hosts} hosts", tuple(_mininet(hosts) for _ in range(runs)))
    new, again = f"up, {hosts} hosts, their disks new", f"up, {hosts} warm hosts"
    yield Figure(size.part, new, "s", (first,), peer=peer)
    yield Figure(size.part, again, "s", tuple(warm), aim=size.aim, peer=peer)


_MININET = """
mount -t tmpfs tmpfs /tmp
mount --bind --options ro /proc/sys /proc/sys
exec mn --switch lxbr --topo "single,$0" --controller none --test none
"""


def _mininet(hosts: int) -> float:
    """Build a Mininet network and take it down; the seconds until it stood.

    Mininet raises the machine's limits, and tidies up after an error with killall, pkill and
    rm /tmp/*.log. In namespaces of its own that meets nobody else, and ends with it.
    """
    private = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    mn = timed(as_root(*private, "sh", "-euc", _MININET, hosts), ROOT, until="*** Stopping")
    return mn.seconds

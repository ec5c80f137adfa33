"""Whether a topology can be what it says; the first thing that is wrong is told with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from lab.catalogue import components, patterns
from lab.errors import LabError
from lab.hosts.inventory import EMBEDDED_RANGE
from lab.topology import addresses, files
from lab.topology.files import Source
from lab.topology.model import HOST, MOST_LINKS, NODE_NAME, ROUTER, SWITCH, Topology
from lab.topology.paths import lans

HOST_MIB = 120
"""What a host takes with some ten units on it; a machine that only forwards takes far less."""
FORWARDER_MIB = 20
_MEMORY = Path("/proc/meminfo")


def load(path: Path) -> Topology:
    """Read a topology that is right; LabError with line and reason if it is not."""
    topology, source = files.read(path)
    check(topology, source)
    return topology


def check(topology: Topology, source: Source | None = None) -> None:
    """LabError if something is wrong."""
    source = source or Source(f"topology {topology.name}")
    _subnet(topology, source)
    _links(topology, source)
    _lans(topology, source)
    _connected(topology, source)
    _placement(topology, source)
    _room(topology, source)


def check_memory(topology: Topology, running: Collection[str] = ()) -> None:
    """LabError if this machine has not the memory for so many hosts, of which some run already."""
    found = re.search(r"MemAvailable:\s+(\d+)", _MEMORY.read_text()) if _MEMORY.exists() else None
    if found is None:
        return  # no Linux: it can be looked at here, and not be booted
    hosts = [node for node in topology.hosts if node not in running]
    forwarders = [node for node in topology.of(SWITCH, ROUTER) if node not in running]
    needed = HOST_MIB * len(hosts) + FORWARDER_MIB * len(forwarders)
    free = int(found[1]) // 1024
    if needed > free:
        raise LabError(
            f"{len(hosts)} hosts and {len(forwarders)} switches and routers of topology "
            f"{topology.name} take about {needed} MiB of memory, and this machine has {free} left",
            "take fewer hosts, or stop other labs: fab down",
        )


def _subnet(topology: Topology, source: Source) -> None:
    if not topology.subnet.subnet_of(EMBEDDED_RANGE):
        source.refuse(
            "subnet",
            f"the subnet {topology.subnet} is outside {EMBEDDED_RANGE}",
            f"choose a part of {EMBEDDED_RANGE} (RFC 2544), which no other network may hold",
        )


def _links(topology: Topology, source: Source) -> None:
    if not topology.hosts:
        source.refuse("hosts", "it has no hosts: nothing could run on it")
    if len(topology.links) > MOST_LINKS:
        source.refuse("links", f"it has {len(topology.links)} links; {MOST_LINKS} are the most")
    for place, link in enumerate(topology.links):
        for end in link.ends:
            if end not in topology.nodes:
                source.refuse(
                    f"links/{place}",
                    f"link {link}: there is no node {end}",
                    _meant(end, topology.nodes),
                )
    for node, kind in topology.nodes.items():
        count = len(topology.at[node])
        if not NODE_NAME.fullmatch(node):
            source.refuse(f"node/{node}", f"{node!r} can be no node's name")
        if count == 0:
            source.refuse(f"node/{node}", f"{kind} {node} has no link")
        if kind == HOST and count > 1:
            source.refuse(
                f"links/{topology.at[node][1][0]}",
                f"host {node} has {count} links, and a host has one",
                "make it a router, or put a switch before it",
            )


def _lans(topology: Topology, source: Source) -> None:
    """Within a LAN there is one way only: switches that make a cycle would flood it for ever."""
    for lan in lans(topology):
        reached: dict[str, str] = {}

        def root(node: str, above: dict[str, str] = reached) -> str:
            while node in above:
                node = above[node]
            return node

        for place in lan.links:
            link = topology.links[place]
            a, b = (root(end) for end in link.ends)
            if a == b:
                source.refuse(
                    f"links/{place}",
                    f"link {link} closes a cycle in the LAN of {lan.name}: "
                    "its switches would pass frames round for ever",
                    "take the link away, or make one of the switches in the cycle a router",
                )
            reached[a] = b


def _connected(topology: Topology, source: Source) -> None:
    first = topology.hosts[0]
    reached = [first]
    for node in reached:
        if node == first or topology.nodes[node] != HOST:
            reached += [other for other in topology.neighbours(node) if other not in reached]
    for node, kind in topology.nodes.items():
        if node not in reached:
            source.refuse(
                f"node/{node}",
                f"no links lead from {first} to {kind} {node}",
                "link its part to the rest",
            )


def _placement(topology: Topology, source: Source) -> None:
    groups = [component.group for component in components(patterns())]
    groups += [f"{pattern.name}_client" for pattern in patterns()]
    for group, hosts in topology.placement.items():
        where = f"placement/{group}"
        if group not in groups:
            source.refuse(
                where, f"there is no component {group} to be placed", _meant(group, groups)
            )
        if not hosts:
            source.refuse(where, f"{group} is placed on no host", "name one, or take it away")
        _known_hosts(hosts, topology, source, where)
    for where in ("publishers", "subscribers"):
        _known_hosts(getattr(topology, where), topology, source, where)


def _known_hosts(hosts: Iterable[str], topology: Topology, source: Source, where: str) -> None:
    for host in hosts:
        if topology.nodes.get(host) != HOST:
            kind = topology.nodes.get(host)
            source.refuse(
                f"{where}/{host}",
                f"{host} is a {kind}, and patterns run on hosts"
                if kind
                else f"there is no host {host}",
                _meant(host, topology.hosts),
            )


def _room(topology: Topology, source: Source) -> None:
    needed = addresses.needed(topology)
    if needed > topology.subnet.num_addresses:
        prefix = 32 - (needed - 1).bit_length()
        source.refuse(
            "subnet",
            f"the subnet {topology.subnet} has {topology.subnet.num_addresses} addresses; "
            f"its networks take {needed}",
            f"make it a /{prefix}",
        )


def _meant(word: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]}?" if near else f"choose from: {', '.join(names)}"

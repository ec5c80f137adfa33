"""Where the patterns run on a topology: the shared placement, with its hosts found again.

`inventory/placement.yml` puts components on `hub` and `n1` to `n5`. Each of these becomes a host of
the topology: `hub` the one that is nearest to all, then always the one that is farthest from those
taken, so that the network is between them; with fewer hosts, some are taken twice. What must be in
one LAN gets the largest. Publishers and subscribers run where the topology says, and so does what
its own `placement` names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lab.catalogue import ROOT
from lab.topology.model import Topology
from lab.topology.paths import Paths

TEMPLATE = ROOT / "inventory" / "placement.yml"
ONE_LAN = ("zmq_multicast",)
"""Patterns whose multicast no router passes on: ZeroMQ sends it with a TTL of 1.

Those who publish, those who subscribe, and their clients are on different hosts.
"""

Hosts = dict[str, dict[str, Any] | None]
"""Host names, each with the variables that are its own there."""
Groups = dict[str, dict[str, Hosts]]
"""Patterns to components to hosts."""


def place(topology: Topology) -> dict[str, Any]:
    """Give the placement in Ansible's form, for a topology that is right."""
    template = read(TEMPLATE)
    names = list(
        dict.fromkeys(n for groups in template.values() for on in groups.values() for n in on)
    )
    paths = Paths(topology)
    anywhere = stand_ins(paths, topology.hosts, sorted(names))
    together = stand_ins(paths, _largest_lan(paths), sorted(names))
    found: dict[str, Any] = {}
    for pattern, groups in template.items():
        one_lan = pattern in ONE_LAN
        stands = together if one_lan else anywhere
        hosts = {
            group: _placed(group, placed, topology, stands, told=not one_lan)
            for group, placed in groups.items()
        }
        if one_lan:
            _part(pattern, hosts, list(dict.fromkeys(together.values())), topology)
        found[pattern] = {"children": {group: {"hosts": on} for group, on in hosts.items()}}
    return found


def _part(pattern: str, hosts: dict[str, Hosts], lan: Sequence[str], topology: Topology) -> None:
    """Have publishers, subscribers and clients apart: all take the port of their multicast group.

    Where the LAN has fewer than four hosts, clients are where others are.
    """
    apart = {"publisher": lan[:1], "subscriber": lan[1:-2][:3] or lan[1:2], "client": lan[-2:]}
    for component, among in apart.items():
        group = f"{pattern}_{component}"
        if among and group not in topology.placement:
            hosts[group] = _like(hosts[group], among)


def read(path: Path) -> Groups:
    """Read a placement's file; its ranges, such as n[1:5], as Ansible reads them."""
    found: Groups = {}
    for pattern, stanza in yaml.safe_load(path.read_text()).items():
        found[pattern] = {
            group: {
                name: variables
                for written, variables in child["hosts"].items()
                for name in _ranged(written)
            }
            for group, child in stanza["children"].items()
        }
    return found


def stand_ins(paths: Paths, hosts: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Give the host that stands in for each name, the first for the hub."""
    between = {(a, b): _distance(paths, a, b) for a in hosts for b in hosts if a != b}

    def far(host: str, others: Sequence[str]) -> list[tuple[float, int]]:
        return [between[host, other] for other in others if other != host]

    def total(host: str, others: Sequence[str]) -> tuple[float, int]:
        ways = far(host, others)
        return math.fsum(delay for delay, _ in ways), sum(links for _, links in ways)

    taken = [min(hosts, key=lambda host: total(host, hosts))]
    while len(taken) < min(len(hosts), len(names)):
        left = [host for host in hosts if host not in taken]
        taken.append(max(left, key=lambda host: (min(far(host, taken)), total(host, taken))))
    return {name: taken[place % len(taken)] for place, name in enumerate(names)}


def _distance(paths: Paths, a: str, b: str) -> tuple[float, int]:
    path = paths.path(a, b)
    return path.quality.delay, len(path.links)


def _largest_lan(paths: Paths) -> list[str]:
    hosts = set(paths.topology.hosts)
    return max(([node for node, _ in lan.members if node in hosts] for lan in paths.lans), key=len)


def _placed(
    group: str, template: Hosts, topology: Topology, stands: Mapping[str, str], *, told: bool
) -> Hosts:
    """Give a group's hosts: those that are named for it, or those that stand in.

    `told` says whether those who publish and subscribe in the topology do it here as well.
    """
    if group in topology.placement:
        return _like(template, topology.placement[group])
    if told and group.endswith("_publisher") and topology.publishers:
        return _like(template, topology.publishers)
    if told and group.endswith("_subscriber") and topology.subscribers:
        return _like(template, topology.subscribers)
    found: Hosts = {}
    for name, variables in template.items():
        found.setdefault(stands[name], variables)
    return found


def _like(template: Hosts, hosts: Sequence[str]) -> Hosts:
    """Give other hosts the variables of the template's, one after another."""
    own = [*template.values(), *[None] * len(hosts)]
    return dict(zip(hosts, own, strict=False))


def _ranged(written: str) -> Iterator[str]:
    if "[" not in written:
        yield written
        return
    from ansible.plugins.inventory import expand_hostname_range

    yield from map(str, expand_hostname_range(written))

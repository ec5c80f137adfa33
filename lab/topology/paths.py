"""What lies between two nodes: the links that a packet crosses, and what they come to.

In a LAN there is one way, for switches make no cycle. Between LANs a packet goes by static routes:
each router takes the way of the least delay, and of equals that with the fewest links.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lab.topology.model import ROUTER, SWITCH, Link, Quality, Topology

Cost = tuple[float, int]
_FAR: Cost = (math.inf, 0)


@dataclass(frozen=True)
class Lan:
    """What a frame can reach: hosts and routers, and the switches between them."""

    name: str
    """That of its first switch; of two nodes with a cable alone, `a-b`."""
    members: tuple[tuple[str, int], ...]
    """Hosts and routers, each with the place of the link by which it is in."""
    switches: tuple[str, ...]
    links: tuple[int, ...]


@dataclass(frozen=True)
class Path:
    """The way of a packet."""

    nodes: tuple[str, ...]
    links: tuple[Link, ...]

    @property
    def quality(self) -> Quality:
        """What the links come to: delays and jitters add up, the narrowest counts."""
        qualities = [link.quality for link in self.links]
        return Quality(
            delay=math.fsum(quality.delay for quality in qualities),
            jitter=math.fsum(quality.jitter for quality in qualities),
            loss=1 - math.prod(1 - quality.loss for quality in qualities),
            bandwidth=min((q.bandwidth for q in qualities if q.bandwidth), default=0.0),
        )


class Paths:
    """The ways through a topology that `validate` has found right."""

    def __init__(self, topology: Topology) -> None:
        """Nothing is worked out until it is asked for."""
        self.topology = topology

    @cached_property
    def lans(self) -> list[Lan]:
        """All LANs, in the order of their first links."""
        return lans(self.topology)

    @cached_property
    def lans_of(self) -> Mapping[str, list[Lan]]:
        """The LANs that each host and router is in."""
        found: dict[str, list[Lan]] = {node: [] for node in self.topology.nodes}
        for lan in self.lans:
            for node, _ in lan.members:
                if lan not in found[node]:
                    found[node].append(lan)
        return found

    def within(self, lan: Lan, a: str, b: str) -> Path:
        """Give the one way between two members of a LAN."""
        before: dict[str, tuple[str, Link]] = {}
        queue = [a]
        for node in queue:
            for place, link in self.topology.at[node]:
                beyond = link.beyond(node)
                inner = node == a or self.topology.nodes[node] == SWITCH
                if inner and place in lan.links and beyond != a and beyond not in before:
                    before[beyond] = (node, link)
                    queue.append(beyond)
        nodes = [b]
        links: list[Link] = []
        while nodes[-1] != a:
            node, link = before[nodes[-1]]
            nodes.append(node)
            links.append(link)
        return Path(tuple(reversed(nodes)), tuple(reversed(links)))

    def next_hop(self, node: str, to: Lan) -> str | None:
        """Give the router that a host or router hands packets for a LAN; None if it is in it."""
        if to in self.lans_of[node]:
            return None
        far = self._distances[to.name]
        options = [
            (*_sum(self._cost(lan, node, router), far[router]), router)
            for lan in self.lans_of[node]
            for router in self._routers(lan)
            if router != node and far[router] != _FAR
        ]
        return min(options)[2]

    def path(self, a: str, b: str, to: Lan | None = None) -> Path:
        """Give the way of a packet from one host or router to another's address, in a LAN of it."""
        target = to or self.lans_of[b][0]
        nodes = [a]
        links: list[Link] = []
        while nodes[-1] != b:
            here = nodes[-1]
            hop = self.next_hop(here, target)
            lan = target if hop is None else self.common(here, hop)
            step = self.within(lan, here, b if hop is None else hop)
            nodes += step.nodes[1:]
            links += step.links
        return Path(tuple(nodes), tuple(links))

    def common(self, a: str, b: str) -> Lan:
        """Give the LAN in which the way between two is the cheapest."""
        both = [lan for lan in self.lans_of[a] if lan in self.lans_of[b]]
        return min(both, key=lambda lan: (self._cost(lan, a, b), lan.name))

    def _routers(self, lan: Lan) -> list[str]:
        return [node for node, _ in lan.members if self.topology.nodes[node] == ROUTER]

    def _cost(self, lan: Lan, a: str, b: str) -> Cost:
        links = self.within(lan, a, b).links
        return math.fsum(link.quality.delay for link in links), len(links)

    @cached_property
    def _edges(self) -> Sequence[tuple[str, str, Cost]]:
        """Each way from a router to another in one LAN, and what it costs."""
        return [
            (a, b, self._cost(lan, a, b))
            for lan in self.lans
            for a in self._routers(lan)
            for b in self._routers(lan)
            if a != b
        ]

    @cached_property
    def _distances(self) -> Mapping[str, Mapping[str, Cost]]:
        """What it costs each router to get to each LAN (Bellman and Ford)."""
        found: dict[str, dict[str, Cost]] = {}
        for lan in self.lans:
            far = dict.fromkeys(self.topology.of(ROUTER), _FAR)
            far |= dict.fromkeys(self._routers(lan), (0.0, 0))
            for _ in far:
                shorter = False
                for a, b, cost in self._edges:
                    if _sum(cost, far[b]) < far[a]:
                        far[a], shorter = _sum(cost, far[b]), True
                if not shorter:
                    break
            found[lan.name] = far
        return found


def lans(topology: Topology) -> list[Lan]:
    """Give the LANs: what is left together when every host and router lets go of its links."""
    found: list[Lan] = []
    seen: set[int] = set()
    for start in range(len(topology.links)):
        if start in seen:
            continue
        places, switches, members = [start], [], []
        seen.add(start)
        for place in places:
            for end in topology.links[place].ends:
                if topology.nodes[end] != SWITCH:
                    members.append((end, place))
                elif end not in switches:
                    switches.append(end)
                    fresh = [at for at, _ in topology.at[end] if at not in seen]
                    seen.update(fresh)
                    places += fresh
        link = topology.links[start]
        name = min(switches, key=list(topology.nodes).index) if switches else str(link)
        found.append(Lan(name, tuple(members), tuple(switches), tuple(sorted(places))))
    return found


def _sum(a: Cost, b: Cost) -> Cost:
    return a[0] + b[0], a[1] + b[1]

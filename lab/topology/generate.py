"""Topologies drawn from a seed: networks of routers, LANs on them, trees of switches, and hosts.

A network is a tree of routers; its LANs are dealt out among them. A LAN is a tree of switches that
is `depth` links deep and has `fanout` branches, hosts at its ends. The networks' first routers join
them to a tree. What the seed decides is who is joined to whom, who publishes and subscribes, and
with a spread how much the links differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from lab.errors import LabError
from lab.topology.files import DEFAULT_SUBNET
from lab.topology.model import HOST, ROUTER, SWITCH, TOPOLOGY_NAME, Link, Quality, Topology
from lab.topology.validate import check

MOST_HOSTS = 400
_DIGITS = 6
"""After the point: a delay is drawn in whole microseconds."""


@dataclass(frozen=True)
class Wanted:
    """What is to be drawn; the first seven are the options of the course's own generator."""

    networks: int = 1
    lans: int = 2
    """In each network."""
    routers: int = 1
    """In each network; 0 if there is one LAN alone."""
    depth: int = 1
    """Links from a LAN's first switch to its hosts."""
    fanout: int = 3
    """Branches of each switch."""
    publishers: int = 1
    subscribers: int = 2
    quality: Quality = field(default_factory=Quality)
    """Of each link."""
    spread: float = 0.0
    """The part by which a link's delay and jitter may be more or less than that."""
    seed: int = 0
    name: str = "net"
    subnet: IPv4Network = DEFAULT_SUBNET


def generate(wanted: Wanted) -> Topology:
    """Draw a topology; LabError if what is wanted makes no sense."""
    _refuse_nonsense(wanted)
    return _Drawing(wanted).topology()


class _Drawing:
    """A topology that grows."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._chance = random.Random(wanted.seed)
        self._nodes: dict[str, str] = {}
        self._links: list[Link] = []

    def topology(self) -> Topology:
        wanted = self._wanted
        gateways: list[str] = []
        for _ in range(wanted.networks):
            routers = self._tree_of_routers()
            if routers:
                if gateways:
                    self._link(self._chance.choice(gateways), routers[0])
                gateways.append(routers[0])
            for lan in range(wanted.lans):
                top = self._new(SWITCH)
                if routers:
                    self._link(routers[lan % len(routers)], top)
                self._branch(top, wanted.depth)
        hosts = [node for node, kind in self._nodes.items() if kind == HOST]
        publishers = self._some(hosts, wanted.publishers)
        rest = [host for host in hosts if host not in publishers] or hosts
        topology = Topology(
            name=wanted.name,
            subnet=wanted.subnet,
            nodes=self._nodes,
            links=tuple(self._links),
            publishers=publishers,
            subscribers=self._some(rest, wanted.subscribers),
        )
        check(topology)
        return topology

    def _tree_of_routers(self) -> list[str]:
        routers: list[str] = []
        for _ in range(self._wanted.routers):
            router = self._new(ROUTER)
            if routers:
                self._link(self._chance.choice(routers), router)
            routers.append(router)
        return routers

    def _branch(self, switch: str, depth: int) -> None:
        for _ in range(self._wanted.fanout):
            below = self._new(HOST if depth == 1 else SWITCH)
            self._link(switch, below)
            if depth > 1:
                self._branch(below, depth - 1)

    def _new(self, kind: str) -> str:
        number = 1 + sum(other == kind for other in self._nodes.values())
        name = f"{kind[0]}{number}"
        self._nodes[name] = kind
        return name

    def _link(self, a: str, b: str) -> None:
        quality, spread = self._wanted.quality, self._wanted.spread
        if spread:
            factor = 1 + self._chance.uniform(-spread, spread)
            quality = Quality(
                round(quality.delay * factor, _DIGITS),
                round(quality.jitter * factor, _DIGITS),
                quality.loss,
                quality.bandwidth,
            )
        self._links.append(Link(a, b, quality))

    def _some(self, hosts: list[str], number: int) -> tuple[str, ...]:
        chosen = self._chance.sample(hosts, min(number, len(hosts)))
        return tuple(sorted(chosen, key=hosts.index))


def _refuse_nonsense(wanted: Wanted) -> None:
    holds: list[tuple[Callable[[], bool], str, str]] = [
        (lambda: bool(TOPOLOGY_NAME.fullmatch(wanted.name)),
         f"{wanted.name!r} can be no topology's name",
         "1 to 7 characters of a-z, 0-9 and inner dashes: the lab is called so"),
        (lambda: min(wanted.networks, wanted.lans, wanted.depth, wanted.fanout) >= 1,
         "networks, LANs, depth and fan-out are at least 1", "for example: -n 1 -l 2 -d 1 -f 3"),
        (lambda: min(wanted.routers, wanted.publishers, wanted.subscribers) >= 0,
         "routers, publishers and subscribers are at least 0", "for example: -r 1 -p 1 -s 2"),
        (lambda: wanted.routers > 0 or wanted.networks * wanted.lans == 1,
         "without routers nothing joins the LANs", "add routers: -r 1, or take one LAN: -n 1 -l 1"),
        (lambda: 0 <= wanted.spread < 1, "the spread is a part below 1", "--spread 20%"),
        (lambda: _hosts(wanted) <= MOST_HOSTS,
         f"these are {_hosts(wanted)} hosts, and {MOST_HOSTS} are the most",
         "take a smaller -d or -f"),
    ]  # fmt: skip
    for right, what, fix in holds:
        if not right():
            raise LabError(what, fix)


def _hosts(wanted: Wanted) -> int:
    return int(wanted.networks * wanted.lans * wanted.fanout ** min(wanted.depth, 10))

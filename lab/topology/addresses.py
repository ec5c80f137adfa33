"""Networks, addresses, devices and routes of a topology: all that follows from its links.

The first network of the subnet is for management: every machine has its first device, `host0`, in
it, and the controller reaches it there, past all links. Then comes one network for each LAN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network

from lab.topology.model import HOST, SWITCH, Link, Topology
from lab.topology.paths import Lan, Paths, lans

_FEWEST = 8
"""Addresses of the smallest network: for a cable between two, with room for a third."""


@dataclass(frozen=True)
class Interface:
    """A node's end of a link."""

    node: str
    link: int
    """The link's place in the topology."""
    device: str
    """`lan0`, `lan1`, … on hosts and routers; `port0`, … on switches."""
    lan: Lan
    address: IPv4Address | None
    """None on a switch."""
    end: str
    """Which of the link's ends it is: `a` or `b`."""


@dataclass(frozen=True)
class Route:
    """A static route: packets for a network go to a router."""

    to: IPv4Network
    via: IPv4Address
    router: str


class Plan:
    """What a topology comes to."""

    def __init__(self, topology: Topology) -> None:
        """Worked out when it is asked for; the topology is one that `validate` found right."""
        self.topology = topology
        self.paths = Paths(topology)

    @cached_property
    def management(self) -> IPv4Network:
        """Where the controller reaches every machine."""
        return next(_blocks(self.topology))

    @property
    def controller(self) -> IPv4Address:
        """Where the machines find the controller."""
        return self.management.network_address + 1

    @cached_property
    def managed(self) -> Mapping[str, IPv4Address]:
        """Each machine's address for management."""
        first = self.management.network_address + 2
        return {node: first + place for place, node in enumerate(self.topology.nodes)}

    @cached_property
    def networks(self) -> Mapping[str, IPv4Network]:
        """Each LAN's network, by the LAN's name."""
        blocks = _blocks(self.topology)
        next(blocks)
        return {lan.name: block for lan, block in zip(self.paths.lans, blocks, strict=True)}

    @cached_property
    def interfaces(self) -> Mapping[str, tuple[Interface, ...]]:
        """Each node's devices, in the order of its links."""
        addresses: dict[tuple[str, int], IPv4Address] = {}
        lan_of: dict[int, Lan] = {}
        for lan in self.paths.lans:
            lan_of |= dict.fromkeys(lan.links, lan)
            # Routers first: they are where a network begins.
            members = sorted(lan.members, key=lambda member: self._is_host(member[0]))
            for place, member in enumerate(members):
                addresses[member] = self.networks[lan.name].network_address + 1 + place
        found = {}
        for node, links in self.topology.at.items():
            stem = "port" if self.topology.nodes[node] == SWITCH else "lan"
            found[node] = tuple(
                Interface(
                    node, at, f"{stem}{n}", lan_of[at], addresses.get((node, at)), _end(link, node)
                )
                for n, (at, link) in enumerate(links)
            )
        return found

    def address(self, node: str) -> IPv4Address:
        """Give the address by which a host or router is known: that of its first device."""
        address = self.interfaces[node][0].address
        assert address is not None, f"{node} is a switch"  # noqa: S101
        return address

    def routes(self, node: str) -> list[Route]:
        """Give the static routes of a host or router: one to each LAN that it is not in."""
        found = []
        for lan in self.paths.lans:
            router = self.paths.next_hop(node, lan)
            if router is not None:
                shared = self.paths.common(node, router)
                via = next(i.address for i in self.interfaces[router] if i.lan == shared)
                if via is not None:
                    found.append(Route(self.networks[lan.name], via, router))
        return found

    def _is_host(self, node: str) -> bool:
        return self.topology.nodes[node] == HOST


def needed(topology: Topology) -> int:
    """Give how many addresses the networks of a topology take."""
    ends = [int(block.broadcast_address) + 1 for block in _blocks(topology)]
    return max(ends) - int(topology.subnet.network_address)


def _blocks(topology: Topology) -> Iterator[IPv4Network]:
    """Give the networks one after another: the one for management, then that of each LAN."""
    at = int(topology.subnet.network_address)
    for members in [len(topology.nodes) + 1, *(len(lan.members) for lan in lans(topology))]:
        # Network, broadcast, and what is in it; a power of two, at a multiple of itself.
        size = max(_FEWEST, 1 << (members + 1).bit_length())
        at = (at + size - 1) // size * size
        yield IPv4Network((at, 33 - size.bit_length()))
        at += size


def _end(link: Link, node: str) -> str:
    return "a" if node == link.a else "b"

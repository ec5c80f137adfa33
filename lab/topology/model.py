"""What a topology is: nodes of three kinds, and links between two of them.

A host has one link and runs patterns. A switch forwards frames, a router packets, each between any
number of links. What switches join, with the hosts and routers around them, is one LAN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network

HOST, SWITCH, ROUTER = "host", "switch", "router"
KINDS = (HOST, SWITCH, ROUTER)
TOPOLOGY_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?")
"""It names the lab, and a link's cables on this machine, of at most 15 characters, are called
after it."""
NODE_NAME = re.compile(r"[a-z]([a-z0-9-]{0,7}[a-z0-9])?")
"""Short: Mininet calls a node's devices after it, with `-eth0` behind, and 15 characters are all.
A name of digits alone would be a number to YAML."""
MOST_LINKS = 999
_UNITS = ((1e9, "gbit"), (1e6, "mbit"), (1e3, "kbit"))


@dataclass(frozen=True)
class Quality:
    """What befalls the packets of a link, in each of its two directions."""

    delay: float = 0.0
    """Seconds."""
    jitter: float = 0.0
    """Seconds by which the delay is more or less, drawn evenly."""
    loss: float = 0.0
    """The part that is lost, 0 to 1."""
    bandwidth: float = 0.0
    """Bits a second; 0 is no limit."""

    def __str__(self) -> str:
        delay = f"{milliseconds(self.delay)}" if self.delay else ""
        told = [
            f"{delay} ±{milliseconds(self.jitter)}" if self.jitter else delay,
            f"{self.loss * 100:g}% lost" if self.loss else "",
            rate(self.bandwidth) if self.bandwidth else "",
        ]
        return ", ".join(text for text in told if text) or "ideal"

    def as_json(self) -> dict[str, float]:
        """Give it for programs: seconds, a part, bits a second."""
        return {
            "delay": self.delay,
            "jitter": self.jitter,
            "loss": self.loss,
            "bandwidth": self.bandwidth,
        }


IDEAL = Quality()
QUALITIES = tuple(IDEAL.as_json())
"""The names of a link's properties."""


@dataclass(frozen=True)
class Link:
    """A cable between two nodes."""

    a: str
    b: str
    quality: Quality = IDEAL

    @property
    def ends(self) -> tuple[str, str]:
        """The two nodes."""
        return self.a, self.b

    def beyond(self, node: str) -> str:
        """Give the node at the other end."""
        return self.b if node == self.a else self.a

    def __str__(self) -> str:
        return f"{self.a}-{self.b}"


@dataclass(frozen=True)
class Topology:
    """Nodes and links, and who runs what."""

    name: str
    subnet: IPv4Network
    """Holds every address of the lab."""
    nodes: Mapping[str, str]
    """Each node's kind, in the order of the file."""
    links: tuple[Link, ...]
    publishers: tuple[str, ...] = ()
    """Hosts on which patterns' publishers run; none leaves it to the placement."""
    subscribers: tuple[str, ...] = ()
    placement: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Hosts of components, by group, where the automatic placement is not wanted."""

    def of(self, *kinds: str) -> list[str]:
        """Give the nodes of some kinds."""
        return [name for name, kind in self.nodes.items() if kind in kinds]

    @property
    def hosts(self) -> list[str]:
        """The nodes that run patterns."""
        return self.of(HOST)

    @cached_property
    def at(self) -> Mapping[str, tuple[tuple[int, Link], ...]]:
        """Each node's links, with their places in `links`."""
        found: dict[str, list[tuple[int, Link]]] = {node: [] for node in self.nodes}
        for place, link in enumerate(self.links):
            for end in link.ends:
                found[end].append((place, link))
        return {node: tuple(links) for node, links in found.items()}

    def neighbours(self, node: str) -> Iterator[str]:
        """Give the nodes at the other ends of a node's links."""
        return (link.beyond(node) for _, link in self.at[node])


def milliseconds(seconds: float) -> str:
    """Give a time as people write it: `10ms`."""
    return f"{_plain(seconds * 1e3)}ms"


def rate(bits: float) -> str:
    """Give bits a second as people write them: `10mbit`."""
    for size, unit in _UNITS:
        if bits >= size:
            return f"{_plain(bits / size)}{unit}"
    return f"{_plain(bits)}bit"


def _plain(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")

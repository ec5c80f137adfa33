"""What each machine of a topology has: cables, and what ip(8) does there as it boots."""

from __future__ import annotations

from collections.abc import Iterator

from lab.hosts.spec import Wiring
from lab.topology.addresses import Plan
from lab.topology.model import ROUTER, SWITCH

_SWITCH = "switch"
"""The device that joins a switch's ports."""


def wiring(plan: Plan) -> dict[str, Wiring]:
    """Give each machine's wiring, by name."""
    topology = plan.topology
    return {
        node: Wiring(
            cables=tuple(f"{at.link}{at.end}" for at in plan.interfaces[node]),
            network="".join(f"{line}\n" for line in _lines(plan, node)),
            forwards=kind == ROUTER,
            reached="" if kind == SWITCH else str(plan.address(node)),
        )
        for node, kind in topology.nodes.items()
    }


def _lines(plan: Plan, node: str) -> Iterator[str]:
    switch = plan.topology.nodes[node] == SWITCH
    if switch:
        yield f"link add {_SWITCH} type bridge stp_state 0 mcast_snooping 0"
    for at in plan.interfaces[node]:
        inside = f"vg-{plan.topology.name}.{at.link}{at.end}"
        yield f"link set {inside} name {at.device}"
        if switch:
            yield f"link set {at.device} master {_SWITCH}"
        else:
            prefix = plan.networks[at.lan.name].prefixlen
            yield f"address add {at.address}/{prefix} broadcast + dev {at.device}"
        yield f"link set {at.device} up"
    if switch:
        yield f"link set {_SWITCH} up"
    else:
        for route in plan.routes(node):
            # Its own address is the one it is known by, whichever device a packet leaves by.
            yield f"route add {route.to} via {route.via} src {plan.address(node)}"

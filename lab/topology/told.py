"""A topology for people and programs: its hosts, networks, links, and what lies between hosts."""

from __future__ import annotations

from typing import Any

from lab.topology.addresses import Plan
from lab.topology.model import Link, Quality, milliseconds, rate

Row = tuple[str, ...]


def as_json(plan: Plan) -> dict[str, Any]:
    """Give all of it: times in seconds, losses as parts, bandwidths in bits a second."""
    topology = plan.topology
    return {
        "name": topology.name,
        "subnet": str(topology.subnet),
        "management": str(plan.management),
        "nodes": [
            {
                "name": node,
                "kind": kind,
                "management": str(plan.managed[node]),
                "devices": [
                    {
                        "device": at.device,
                        "address": str(at.address) if at.address else None,
                        "lan": at.lan.name,
                        "link": str(topology.links[at.link]),
                    }
                    for at in plan.interfaces[node]
                ],
                "routes": [
                    {"to": str(route.to), "via": str(route.via), "router": route.router}
                    for route in ([] if kind == "switch" else plan.routes(node))
                ],
            }
            for node, kind in topology.nodes.items()
        ],
        "lans": [
            {
                "name": lan.name,
                "network": str(plan.networks[lan.name]),
                "members": [node for node, _ in lan.members],
                "switches": list(lan.switches),
            }
            for lan in plan.paths.lans
        ],
        "links": links_as_json(topology.links),
        "paths": [
            {
                "from": a,
                "to": b,
                "nodes": list(path.nodes),
                **path.quality.as_json(),
                "round_trip": path.quality.delay + plan.paths.path(b, a).quality.delay,
            }
            for a, b, path in _pairs(plan)
        ],
        "publishers": list(topology.publishers),
        "subscribers": list(topology.subscribers),
    }


def links_as_json(links: tuple[Link, ...]) -> list[dict[str, Any]]:
    """Give links and their properties, as a run's manifest has them."""
    return [{"between": list(link.ends), **link.quality.as_json()} for link in links]


def nodes(plan: Plan) -> list[Row]:
    """Give a row for each node: kind, addresses, LANs, and its links."""
    return [
        (
            node,
            kind,
            "\n".join(str(at.address) for at in plan.interfaces[node] if at.address),
            "\n".join(dict.fromkeys(at.lan.name for at in plan.interfaces[node])),
            str(plan.managed[node]),
        )
        for node, kind in plan.topology.nodes.items()
    ]


def networks(plan: Plan) -> list[Row]:
    """Give a row for each LAN, and that of management first."""
    rows: list[Row] = [("management", str(plan.management), "all, and the controller", "")]
    for lan in plan.paths.lans:
        members = " ".join(node for node, _ in lan.members)
        rows.append((lan.name, str(plan.networks[lan.name]), members, " ".join(lan.switches)))
    return rows


def links(plan: Plan) -> list[Row]:
    """Give a row for each link."""
    return [(str(link), *_columns(link.quality)) for link in plan.topology.links]


def paths(plan: Plan) -> list[Row]:
    """Give a row for each pair of hosts: the way, and what its links come to."""
    return [
        (f"{a} {b}", " ".join(path.nodes[1:-1]), *_columns(path.quality))
        for a, b, path in _pairs(plan)
    ]


def _pairs(plan: Plan) -> list[tuple[str, str, Any]]:
    hosts = plan.topology.hosts
    return [
        (a, b, plan.paths.path(a, b)) for place, a in enumerate(hosts) for b in hosts[place + 1 :]
    ]


def _columns(quality: Quality) -> Row:
    return (
        milliseconds(quality.delay) if quality.delay else "",
        milliseconds(quality.jitter) if quality.jitter else "",
        f"{quality.loss * 100:.3g}%" if quality.loss else "",
        rate(quality.bandwidth) if quality.bandwidth else "",
    )

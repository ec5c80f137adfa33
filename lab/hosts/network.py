"""The lab's network on this machine: a bridge, and a route that guards its subnet.

A lab that is wired as a topology has one more bridge for each link, which joins its two cables and
nothing else; the lab's own then serves the controller alone.

The lab is air-gapped. The hosts get no default route; this machine forwards nothing that comes in
over the bridge, even where it forwards for others (Docker, libvirt); and when the bridge is not
there, an unreachable route keeps packets for lab hosts from leaving by the machine's own way out.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.hosts.command import run
from lab.hosts.inventory import EMBEDDED_RANGE
from lab.hosts.spec import LabSpec

# Any other route to the subnet is better than this one, so it counts only when no other is there.
_GUARD_METRIC = "4278198272"
# Unlike a blackhole it answers: connecting fails at once, with "No route to host".
_GUARD = "unreachable"
# Wider routes are a default route by another name (VPNs install 128.0.0.0/1), not a claim on ours.
_WIDEST_CLAIM = EMBEDDED_RANGE.prefixlen
# systemd-nspawn takes one inotify instance per service manager and journal; 128 ends at 18 hosts.
_INOTIFY_INSTANCES = 8192
# Who has which hardware address is in one table for all hosts of this machine; 1024 entries end it
# where 33 hosts talk to each other, and then packets are lost.
_NEIGHBOURS = 16384


def up(spec: LabSpec) -> None:
    """Guard route and bridge exist; nothing else is in their place (see refuse_overlap)."""
    run(["ip", "route", "replace", _GUARD, spec.subnet, "metric", _GUARD_METRIC])
    _make_bridge(spec.bridge)
    _tune(spec)
    address = f"{spec.controller}/{spec.network.prefixlen}"
    run(["ip", "address", "replace", address, "broadcast", "+", "dev", spec.bridge])
    run(["ip", "link", "set", spec.bridge, "up"])
    _join_links(spec)
    _raise_sysctl("fs/inotify/max_user_instances", _INOTIFY_INSTANCES)
    _raise_sysctl("net/ipv4/neigh/default/gc_thresh3", _NEIGHBOURS)
    _raise_sysctl("net/ipv4/neigh/default/gc_thresh2", _NEIGHBOURS // 2)


def _make_bridge(name: str) -> None:
    if _link(name) is None:
        # A plain switch: no spanning tree, and multicast goes everywhere.
        kind = ["type", "bridge", "stp_state", "0", "mcast_snooping", "0"]
        fix = "the kernel needs the module: modprobe -a bridge veth"
        run(["ip", "link", "add", name, *kind], fix=fix)


def _join_links(spec: LabSpec) -> None:
    """Each link of the topology has its bridge, and no other has one."""
    cables = [cable for wired in spec.wiring.values() for cable in wired.cables]
    wanted = dict.fromkeys(spec.link_bridge(cable) for cable in cables)
    for bridge in _link_bridges(spec.bridge):
        if bridge not in wanted:
            _remove_bridge(bridge)
    for bridge in wanted:
        _make_bridge(bridge)
        _sysctl(f"net/ipv6/conf/{bridge}/disable_ipv6", 1)
        _sysctl(f"net/ipv4/conf/{bridge}/forwarding", 0)
        run(["ip", "link", "set", bridge, "up"])
    # What serves behind the links is reached past them, by each host's first device.
    for host, wired in spec.wiring.items():
        if wired.reached:
            way = ["via", spec.hosts[host], "dev", spec.bridge]
            run(["ip", "route", "replace", f"{wired.reached}/32", *way])


def plugging(spec: LabSpec, first: str, cables: Sequence[str]) -> str:
    """Give the lines for `ip -batch` that ready a host's cables for its next boot.

    nspawn makes the first by itself and has to find its place free.
    """
    lines = [f"link delete {first}"]
    for cable in cables:
        here, inside = spec.cable(cable)
        lines += [
            f"link delete {here}",
            f"link add {here} type veth peer name {inside} address {_mac(inside)}",
            f"link set {here} master {spec.link_bridge(cable)} up",
        ]
    return "".join(f"{line}\n" for line in lines)


def _mac(cable: str) -> str:
    """Give a cable's MAC address: always the same, for who remembers it while its host is off."""
    return "02:" + hashlib.sha256(cable.encode()).digest()[:5].hex(":")


def demand_up(spec: LabSpec) -> None:
    """LabError if the lab's bridge is not there to plug a host into."""
    if not _is_bridge(_link(spec.bridge)):
        raise LabError(f"lab {spec.lab} is not up", "fab up")


def warnings() -> list[str]:
    """What on this machine may come between the hosts, for a person to know.

    Docker and Kubernetes have bridged frames pass the machine's own filter, and drop there what
    they do not know.
    """
    filtered = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not filtered.exists() or filtered.read_text().strip() == "0" or not shutil.which("nft"):
        return []
    if not re.search(r"hook forward .*policy drop", run(["nft", "list", "chains"])):
        return []
    advice = "if hosts cannot reach each other: sysctl net.bridge.bridge-nf-call-iptables=0"
    return [f"note: this machine's firewall may drop what crosses its bridges; {advice}"]


def down(bridge: str) -> None:
    """The bridges and what was plugged into them are gone; the guard route stays."""
    for each in [*_link_bridges(bridge), bridge]:
        if _is_bridge(_link(each)):
            _remove_bridge(each)


def remove_guard(subnet: str) -> None:
    """Take the guard route away: the lab is no more."""
    if run(["ip", "route", "show", "type", _GUARD, "exact", subnet]).strip():
        run(["ip", "route", "delete", _GUARD, subnet, "metric", _GUARD_METRIC])


def _remove_bridge(bridge: str) -> None:
    for port in ports(bridge):
        unplug(port)
    run(["ip", "link", "delete", bridge])


def _link_bridges(bridge: str) -> list[str]:
    """Give the bridges of the links of a lab; no lab's name has a dot."""
    return [
        str(link["ifname"])
        for link in _ip("link", "show", "type", "bridge")
        if link["ifname"].startswith(f"{bridge}.")
    ]


def ports(bridge: str) -> list[str]:
    """The interfaces that are plugged into the bridge."""
    return [str(link["ifname"]) for link in _ip("link", "show", "master", bridge)]


def cable(machine: str) -> str:
    """This machine's end of a host's cable; nspawn gives a long one as an alternative name."""
    return f"vb-{machine}"


def unplug(interface: str) -> None:
    """Remove the interface if it is still there: the kernel lets go of it after its host."""
    if _link(interface) is not None:
        try:
            run(["ip", "link", "delete", interface])
        except LabError:
            if _link(interface) is not None:
                raise


def _tune(spec: LabSpec) -> None:
    # A bridge takes its lowest port's MAC address unless it has one of its own; a change would
    # make every host's ARP entry for the controller wrong.
    mac = "02:00:" + IPv4Address(spec.controller).packed.hex(":")
    run(["ip", "link", "set", spec.bridge, "address", mac])
    _sysctl(f"net/ipv6/conf/{spec.bridge}/disable_ipv6", 1)
    _sysctl(f"net/ipv4/conf/{spec.bridge}/forwarding", 0)
    # Ask again for a booting host's MAC address after 20 ms, not after a second.
    _sysctl(f"net/ipv4/neigh/{spec.bridge}/retrans_time_ms", 20)


def refuse_overlap(spec: LabSpec) -> None:
    """LabError if an interface, an address or a route of something else is in the lab's place."""
    link = _link(spec.bridge)
    if link is not None and not _is_bridge(link):
        raise LabError(
            f"this machine has an interface {spec.bridge}, which is no bridge of ours",
            f"give the lab another lab_name, or remove it: ip link delete {spec.bridge}",
        )
    subnet = IPv4Network(spec.subnet)
    for interface in _ip("address", "show"):
        for address in interface["addr_info"]:
            local = IPv4Address(address["local"])
            if interface["ifname"] != spec.bridge and local in subnet:
                raise _taken(spec, f"address {local} of interface {interface['ifname']} is in")
    for route in _ip("route", "show", "table", "all"):
        if route["dst"] == "default" or route.get("dev") == spec.bridge:
            continue
        guard = route.get("type") == _GUARD and route["dst"] == spec.subnet
        claim = IPv4Network(route["dst"])
        if not guard and claim.prefixlen >= _WIDEST_CLAIM and claim.overlaps(subnet):
            raise _taken(spec, f"the route {_text(route)} overlaps")


def _taken(spec: LabSpec, what: str) -> LabError:
    return LabError(
        f"{what} the subnet {spec.subnet} of lab {spec.lab}",
        "give the lab a lab_subnet of its own in its inventory, or take the other down first "
        "(an interface called dl-… is another lab's: fab down there)",
    )


def _text(route: dict[str, Any]) -> str:
    kind = f"{route['type']} " if route.get("type") not in {None, "unicast"} else ""
    return f"{kind}{route['dst']}" + (f" dev {route['dev']}" if "dev" in route else "")


def _ip(*arguments: str) -> list[dict[str, Any]]:
    """What ip(8) knows, IPv4 only; it prints `{}` for what is filtered out."""
    found = json.loads(run(["ip", "-4", "-json", "-details", *arguments]) or "[]")
    return [item for item in found if item]


def _link(name: str) -> dict[str, Any] | None:
    try:
        return next(iter(_ip("link", "show", "dev", name)))
    except LabError:  # ip says: does not exist
        return None


def _is_bridge(link: dict[str, Any] | None) -> bool:
    return link is not None and link.get("linkinfo", {}).get("info_kind") == "bridge"


def _sysctl(name: str, value: int) -> None:
    Path("/proc/sys", name).write_text(str(value))


def _raise_sysctl(name: str, least: int) -> None:
    """Have it be that at least; in a container, what is the machine's alone is not there."""
    path = Path("/proc/sys", name)
    if path.exists() and int(path.read_text()) < least:
        _sysctl(name, least)

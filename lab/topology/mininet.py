"""A topology as a Python script that Debian's Mininet 2.3 runs, with nothing of this project.

Switches are Linux bridges (`lxbr`), routers hosts that forward, routes and addresses those that the
lab has. What befalls packets on links is netem's, set by the script itself on both ends of each; on
a kernel without sch_netem it says so, and the links are ideal.
"""

from __future__ import annotations

from pprint import pformat
from typing import Any

from lab.topology.addresses import Plan
from lab.topology.model import HOST, SWITCH, Quality

_SCRIPT = '''\
#!/usr/bin/python3
"""Topology {name} in Mininet, as `fab topology.export` wrote it.

    sudo /usr/bin/python3 {name}.py           a prompt: `pingall`, `h1 ping h2`, `exit`
    sudo /usr/bin/python3 {name}.py --test    pingall; exit status 0 if nothing was lost

It needs Debian's packages mininet and bridge-utils.
"""

import subprocess
import sys

from mininet.cli import CLI
from mininet.log import error, info, setLogLevel
from mininet.net import Mininet
from mininet.node import Node
from mininet.nodelib import LinuxBridge

# Node: its interfaces, each with its address.
NODES = {nodes}
ROUTERS = {routers}
SWITCHES = {switches}
# Ends and their devices, then what netem does there, in both directions.
LINKS = {links}
# Node: destination, by which router's address.
ROUTES = {routes}


class LinuxRouter(Node):
    """A host that passes on packets that are for others."""

    def config(self, **params):
        super().config(**params)
        self.cmd("sysctl -w net.ipv4.ip_forward=1")
        self.cmd("sysctl -w net.ipv4.conf.all.send_redirects=0")


def has_netem():
    """Whether this kernel can emulate links: it is tried on a device that nobody uses."""
    device = "netem-probe"
    tried = [
        ["ip", "link", "add", device, "type", "dummy"],
        ["tc", "qdisc", "add", "dev", device, "root", "netem", "delay", "1ms"],
    ]
    works = all(subprocess.run(one, capture_output=True).returncode == 0 for one in tried)
    subprocess.run(["ip", "link", "delete", device], capture_output=True)
    return works


def build():
    """Build the network; links have their properties where the kernel can."""
    # No controller: a Linux bridge learns by itself.
    net = Mininet(controller=None, switch=LinuxBridge, waitConnected=False)
    for name in SWITCHES:
        net.addSwitch(name)
    for name in NODES:
        net.addHost(name, cls=LinuxRouter if name in ROUTERS else Node, ip=None)
    for (a, a_device), (b, b_device), _ in LINKS:
        net.addLink(net[a], net[b], intfName1=a_device, intfName2=b_device)
    net.build()
    for name, devices in NODES.items():
        for device, address in devices.items():
            net[name].setIP(address, intf=device)
    net.start()
    for name, routes in ROUTES.items():
        for to, via, source in routes:
            net[name].cmd("ip route add", to, "via", via, "src", source)
    emulated = any(words for _, _, words in LINKS)
    if emulated and not has_netem():
        error("*** This kernel has no sch_netem: links have no delay, jitter, loss, bandwidth.\\n")
        return net
    for *ends, words in LINKS:
        for node, device in ends if words else ():
            told = net[node].cmd("tc qdisc replace dev", device, "root netem", words)
            if told.strip():
                error("*** " + node + ": " + told)
    return net


def main():
    """Show a prompt, or with --test ping between all hosts."""
    setLogLevel("info")
    net = build()
    lost = 0
    try:
        if "--test" in sys.argv[1:]:
            hosts = [net[name] for name in NODES if name not in ROUTERS]
            lost = net.ping(hosts, timeout="5")
            info("*** " + str(lost) + "% dropped\\n")
        else:
            CLI(net)
    finally:
        net.stop()
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
'''


def script(plan: Plan) -> str:
    """Give the script."""
    topology = plan.topology
    switches = topology.of(SWITCH)
    device = {
        (node, at.link): f"{node}-eth{place}"
        for node, devices in plan.interfaces.items()
        for place, at in enumerate(devices)
    }
    others = [node for node in topology.nodes if node not in switches]
    nodes = {
        node: {
            device[node, at.link]: f"{at.address}/{plan.networks[at.lan.name].prefixlen}"
            for at in plan.interfaces[node]
        }
        for node in others
    }
    links = [
        ((link.a, device[link.a, place]), (link.b, device[link.b, place]), netem(link.quality))
        for place, link in enumerate(topology.links)
    ]
    routes = {
        node: [(str(r.to), str(r.via), str(plan.address(node))) for r in plan.routes(node)]
        for node in others
    }
    return _SCRIPT.format(
        name=topology.name,
        nodes=_python(nodes),
        routers=_python([node for node in others if topology.nodes[node] != HOST]),
        switches=_python(switches),
        links=_python(links),
        routes=_python(routes),
    )


def netem(quality: Quality) -> str:
    """Give tc's words for what a link does; nothing for an ideal one."""
    words = []
    if quality.delay:
        words.append(f"delay {quality.delay * 1e6:.0f}us")
        if quality.jitter:
            words.append(f"{quality.jitter * 1e6:.0f}us")
    if quality.loss:
        words.append(f"loss {quality.loss * 100:.6g}%")
    if quality.bandwidth:
        words.append(f"rate {quality.bandwidth:.0f}bit")
    return " ".join(words)


def _python(value: Any) -> str:
    return pformat(value, width=96, sort_dicts=False)

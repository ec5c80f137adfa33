"""Topologies: drawn from a seed, judged, shown, exported; `fab up --topology FILE` boots one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke.context import Context

from fabfile.verb import ROOT, load, tell, verb
from lab.errors import LabError

FILE = {"file": "A topology's file: topologies/tree.yml."}


@verb(
    networks="Networks, joined by their first routers.",
    lans="LANs in each network.",
    routers="Routers in each network; 0 if there is one LAN alone.",
    depth="How many links deep a LAN's tree of switches is.",
    fanout="Branches of each switch; hosts are at the ends.",
    publishers="How many hosts publish.",
    subscribers="How many hosts subscribe.",
    delay="Of each link: 10ms.",
    jitter="Of each link, more or less: 1ms.",
    loss="Of each link: 1%.",
    bandwidth="Of each link: 10mbit; no limit if not given.",
    spread="How much links differ in delay and jitter: 20%.",
    seed="Of all that is drawn.",
    name="What the lab is called, at most 7 characters.",
    subnet="Holds all addresses: a part of 198.18.0.0/15.",
    out="The file to write; standard output if not given.",
)
def generate(
    c: Context,
    networks: int = 1,
    lans: int = 2,
    routers: int = 1,
    depth: int = 1,
    fanout: int = 3,
    publishers: int = 1,
    subscribers: int = 2,
    delay: str = "0ms",
    jitter: str = "0ms",
    loss: str = "0%",
    bandwidth: str = "",
    spread: str = "0%",
    seed: int = 0,
    name: str = "net",
    subnet: str = "",
    out: str = "",
) -> None:
    """Draw a topology from a seed: the same options and seed give the same file.

    For example: fab topology.generate -l 1 -d 2 -f 2 --delay 10ms --name tree --out tree.yml
    """
    from ipaddress import IPv4Network

    from lab.faults.quantities import bits_per_second, part, seconds
    from lab.topology import files
    from lab.topology.generate import Wanted
    from lab.topology.generate import generate as draw
    from lab.topology.model import Quality

    try:
        within = IPv4Network(subnet) if subnet else files.DEFAULT_SUBNET
    except ValueError as error:
        raise LabError(f"--subnet: {error}", "for example: --subnet 198.18.64.0/20") from error
    rate = bits_per_second(bandwidth) if bandwidth else 0.0
    wanted = Wanted(
        *(networks, lans, routers, depth, fanout, publishers, subscribers),
        quality=Quality(seconds(delay), seconds(jitter), part(loss), rate),
        spread=part(spread),
        seed=seed,
        name=name,
        subnet=within,
    )
    said = (
        f"fab topology.generate -n {networks} -l {lans} -r {routers} -d {depth} -f {fanout} "
        f"-p {publishers} -s {subscribers} \\\n"
        f"    --seed {seed} --spread {spread} --name {name} --subnet {within} \\\n"
        f"    --delay {delay} --jitter {jitter} --loss {loss}"
        f"{f' --bandwidth {bandwidth}' if bandwidth else ''}"
    )
    _give(files.dump(draw(wanted), said), out)


@verb(**FILE)
def validate(c: Context, file: str) -> None:
    """Say whether a topology can be what it says; if not, which line is wrong and why."""
    from lab.topology.validate import check_memory

    topology = _topology(file)
    check_memory(topology)
    switches, routers = topology.of("switch"), topology.of("router")
    tell(
        f"{file} is right: {len(topology.hosts)} hosts, {len(switches)} switches, "
        f"{len(routers)} routers, {len(topology.links)} links"
    )


@verb(out="The picture to write, an .svg; standard output if not given.", **FILE)
def graph(c: Context, file: str, out: str = "") -> None:
    """Draw a topology: its LANs, and what befalls packets on its links."""
    from lab.topology.addresses import Plan
    from lab.topology.picture import draw

    _give(draw(Plan(_topology(file))), out)


@verb("json", **FILE)
def inspect(c: Context, file: str, json: bool = False) -> None:
    """Show nodes, networks, links, and between each two hosts what their links come to."""
    from lab import screen
    from lab.topology import told
    from lab.topology.addresses import Plan

    plan = Plan(_topology(file))
    if json:
        screen.as_json(told.as_json(plan))
        return
    quality = ["delay", "jitter", "loss", "bandwidth"]
    screen.table(["node", "kind", "address", "LAN", "management"], told.nodes(plan))
    print()
    screen.table(["LAN", "network", "members", "switches"], told.networks(plan))
    print()
    screen.table(["link", *quality], told.links(plan))
    print()
    screen.table(["between", "by way of", *quality], told.paths(plan))


@verb(to="What for: mininet.", out="The file to write; standard output if not given.", **FILE)
def export(c: Context, file: str, to: str = "mininet", out: str = "") -> None:
    """Write a topology for another tool: a script that Debian's Mininet 2.3 runs."""
    from lab.topology import mininet
    from lab.topology.addresses import Plan

    if to != "mininet":
        raise LabError(f"nothing is known of {to!r}", "export to: mininet")
    _give(mininet.script(Plan(_topology(file))), out)


@verb(
    "json",
    inventory="The topology's inventory: .lab/<name>/inventory.",
    pairs="How many pairs of hosts, the farthest first.",
)
def measure(c: Context, inventory: str, pairs: int = 3, json: bool = False) -> None:
    """Measure delay and bandwidth between hosts of a topology that is up, beside what it says."""
    from lab import screen
    from lab.topology.measure import measure as ask

    found = ask(load(inventory), pairs, tell)
    if json:
        screen.as_json([one.as_json() for one in found])
        return
    screen.table(
        ["between", "round trip", "wanted", "bandwidth", "wanted"], [one.row() for one in found]
    )


def _topology(file: str) -> Any:
    from lab.topology.validate import load as read

    path = Path(file)
    return read(path if path.exists() or path.is_absolute() else _shown(ROOT / path, path))


def _shown(there: Path, given: Path) -> Path:
    """Take a file of the checkout where there is none here; errors name what was given."""
    return there if there.exists() else given


def _give(text: str, out: str) -> None:
    if not out:
        print(text, end="")
        return
    Path(out).write_text(text)
    tell(f"wrote {out}")

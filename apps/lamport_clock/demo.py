"""All nodes fight for one resource and gossip while the lab is broken in every way it can be.

One node is killed; another is paused, and later loses its power; the nodes are parted in two
halves; all messages are late, and overtake each other. Whatever becomes of the requests meanwhile,
the numbers keep the order of causes, no two are inside at once, and once all is calm everyone is
granted the resource again.
"""

from __future__ import annotations

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Running, Workload, outlast
from apps.kit.faults import Link, Partition, Pause, PowerOff
from apps.lamport_clock.claims import concurrent_pairs, judge, nobody_enters_while_cut
from apps.lamport_clock.shiviz import shiviz

GROUP = "lamport_clock_node"
CLIENTS = "lamport_clock_client"
PROMISES = {
    "clock_condition": "a -> b implies C(a) < C(b)",
    "vector_condition": "V(a) < V(b) exactly where a -> b",
    "mutual_exclusion": "never two in the critical section",
    "granted_in_order": "granted in the order of the requests",
    "every_request_granted": "every request is granted in the end",
}
VAIN = 1.5
"""Seconds that a node waits for the resource while one of them is silent."""
LATE = 0.03
"""Seconds that messages are late, and the most by which they are later or earlier than that."""
WAIT = 30.0
"""Seconds in which a node must be granted the resource once all is calm."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    nodes = lab.hosts(GROUP)
    away = [node for node in nodes if node not in lab.hosts(CLIENTS)] or nodes
    killed, silent = lab.rng.choice(nodes), lab.rng.choice(away)
    asked = next(node for node in nodes if node != silent)
    contenders = fight(lab, 120.0)
    entries(lab, 1)

    lab.kill(killed, GROUP)
    entries(lab, 1)
    for fault in (
        Pause(silent, GROUP),
        Partition("halves", tuple(lab.rng.sample(nodes, len(nodes)))),
        PowerOff(silent),
    ):
        with lab.inject(fault):
            ask_in_vain(lab, asked)
        entries(lab, 1)
    with lab.inject(Link(tuple(nodes), tuple(nodes), delay=LATE, jitter=LATE)):
        entries(lab, 1)
    for contender in contenders:
        contender.stop()
    verdict(lab)
    lab.limit("while one node is cut off, nobody enters", nobody_enters_while_cut(lab.history()))


def play(lab: Lab, seconds: float) -> None:
    """Fight for the resource for so long, whatever befalls the nodes."""
    outlast(lab, fight(lab, seconds))
    verdict(lab)


def fight(lab: Lab, seconds: float) -> list[Running]:
    """Start the contenders, one for each node, on the clients' hosts."""
    hosts = lab.hosts(CLIENTS)
    how = ("--for", seconds, "--think", 0.2, "--wait", 2, "--timeout", 3, "--seed", lab.seed)
    return [
        lab.start(hosts[number % len(hosts)], "lamport_clock", "contend", target(lab, node), *how)
        for number, node in enumerate(lab.hosts(GROUP))
    ]


def verdict(lab: Lab) -> None:
    """Wait until all is calm, have every node enter once more, and judge."""
    lab.calm()
    again = entered_again(lab)
    history = lab.history()
    lab.attach("shiviz.log", shiviz(history))
    findings = judge(history)
    for name, claim in PROMISES.items():
        lab.promised(claim, findings[name])
    lab.promised("once all is calm, every node is granted the resource again", again)
    lab.limit("C(a) < C(b) without a -> b: only vectors tell", concurrent_pairs(history))
    lab.figure("entries", sum(event["event"] == "enter" for event in history))


def entered_again(lab: Lab) -> Finding:
    """Have every node ask once more: what was asked before it is settled when it is granted."""
    host = lab.hosts(CLIENTS)[0]
    asking = {
        node: lab.start(host, "lamport_clock", "client", target(lab, node), "acquire", 0.1, WAIT)
        for node in lab.hosts(GROUP)
    }
    ended = {node: client.wait() for node, client in asking.items()}
    for node, client in ended.items():
        if client.exit_status:
            what = f"{node} was not: {client.stderr.strip()}"
            return Finding(False, what, tuple(client.events))
    return Finding(True, f"{', '.join(ended)} were, within {WAIT:g} s")


def ask_in_vain(lab: Lab, node: str) -> None:
    """Ask a node for the resource while another is silent: it says for whom it waits."""
    host = lab.hosts(CLIENTS)[0]
    asked = lab.run(host, "lamport_clock", "client", target(lab, node), "acquire", 0.1, VAIN)
    lab.say(asked.stderr.strip() or f"{node} was granted it")


def entries(lab: Lab, rounds: int) -> None:
    """Wait until there were so many more entries for each node, as many as there are nodes."""
    wanted = len(lab.history(GROUP, "exit")) + rounds * len(lab.hosts(GROUP))
    lab.wait_until(
        lambda: len(lab.history(GROUP, "exit")) >= wanted, "the nodes enter again", timeout=60.0
    )


def target(lab: Lab, host: str) -> str:
    """Give the address of a host's node."""
    return f"{lab.address(host)}:{lab.option(host, 'lamport_clock_node_port')}"


WORKLOAD = Workload(
    play, aims=(GROUP,), clients=(CLIENTS,), immune={"reset": "the nodes speak by datagrams"}
)

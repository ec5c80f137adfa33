"""Nodes lose their coordinator in every way there is, and get it back.

The highest node is stopped, and comes back; it is killed; it is paused, and goes on with an order
to give that is out of date; and the nodes are parted in two halves.
After each of these, of all live nodes the highest leads, and no node obeys who was deposed. In the
partition each half has a coordinator: the algorithm's known limit.
"""

from __future__ import annotations

from collections.abc import Sequence

from apps.bully.claims import (
    deposed_are_refused,
    epochs_grow,
    one_coordinator_an_epoch,
    settled,
    two_coordinators,
    unbroken,
)
from apps.kit.claims import Event, Finding
from apps.kit.demo import Lab, Workload, outlast
from apps.kit.faults import Kill, Partition, Pause, injections
from apps.kit.retry import Deadline

GROUP = "bully_node"
CLIENTS = "bully_client"
HIGHEST_LEADS = "the highest live node leads, after every kill and return"
PATIENCE = 12.0
"""Seconds in which the nodes must have agreed; a busy machine's, an election takes two."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    nodes = lab.hosts(GROUP)
    highest = nodes[-1]
    survey(lab)
    findings = [agreed(lab, nodes)]

    lab.stop(highest, GROUP)
    stopped = lab.history(GROUP, "stopping")[-1]
    findings.append(agreed(lab, nodes[:-1]))
    lab.figure("takeover_s", takeover(lab, stopped, nodes[-2]))
    lab.restart(highest, GROUP)
    findings.append(agreed(lab, nodes))

    lab.inject(Kill(highest, GROUP))
    killed = injections(lab.history(), "kill")[-1]
    findings.append(agreed(lab, nodes, since=killed["took"]))

    with lab.inject(Pause(highest, GROUP)):
        findings.append(agreed(lab, nodes[:-1]))
        # It waits in the paused node's socket, and is heard by a node that believes to lead still.
        late = lab.start(
            lab.hosts(CLIENTS)[0], "bully", "client", target(lab, highest), "order", "late"
        )
    lab.say(late.wait().stderr.strip() or "the order was given")
    findings.append(agreed(lab, nodes))

    half = Partition("halves", tuple(nodes))
    with lab.inject(half):
        lower = nodes[: len(nodes) // 2]
        findings += [agreed(lab, lower), agreed(lab, nodes[len(nodes) // 2 :])]
    findings.append(agreed(lab, nodes))

    failed = [finding for finding in findings if not finding.holds]
    told = f"{len(findings)} times: after each fault, and after its end"
    lab.promised(HIGHEST_LEADS, failed[0] if failed else Finding(True, told))
    judge(lab)
    history = lab.history()
    parted = injections(history, "partition")[-1]["t"]
    lab.limit("in a partition, two coordinate at once", two_coordinators(history, parted))


def play(lab: Lab, seconds: float) -> None:
    """Give orders for so long, whatever befalls the nodes."""
    load = ("--for", seconds, "--callers", 2, "--think", 0.2, "--seed", lab.seed)
    hosts = lab.hosts(CLIENTS)
    outlast(lab, [lab.start(host, "bully", "command", *targets(lab), *load) for host in hosts])
    lab.calm()
    survey(lab)
    lab.promised("once all is calm, the highest node leads", agreed(lab, lab.hosts(GROUP)))
    judge(lab)


def judge(lab: Lab) -> None:
    """State what holds whatever befalls the nodes."""
    history = lab.history()
    promises = {
        "an epoch has one coordinator": one_coordinator_an_epoch,
        "no node goes back to an earlier epoch": epochs_grow,
        "no node obeys a deposed coordinator": deposed_are_refused,
    }
    for claim, judged in promises.items():
        lab.promised(claim, unbroken(judged(history)))
    lab.figure("elections", sum(event["event"] == "lead" for event in history))


def survey(lab: Lab) -> None:
    """Ask all nodes who leads: of what was before this run, its history tells nothing."""
    lab.run(lab.hosts(CLIENTS)[0], "bully", "survey", *targets(lab))


def agreed(lab: Lab, live: Sequence[str], since: float = 0.0) -> Finding:
    """Wait until the highest of these nodes leads the others, or the patience is over.

    What was said before `since` does not count.
    """
    deadline = Deadline(PATIENCE)
    finding = Finding(None, "not looked at")

    def looked() -> bool:
        nonlocal finding
        finding = settled([e for e in lab.history() if e["t"] > since], live)
        return bool(finding.holds) or deadline.passed

    lab.wait_until(looked, f"{live[-1]} leads", 2 * PATIENCE)
    return finding


def takeover(lab: Lab, gone: Event, node: str) -> float:
    """Give the seconds from a coordinator's end until this node led in its place."""
    leads = [e["t"] for e in lab.history(GROUP, "lead") if e["node"] == node and e["t"] > gone["t"]]
    return round(leads[0] - gone["t"], 3) if leads else PATIENCE


def target(lab: Lab, host: str) -> str:
    """Give the address of a host's node."""
    return f"{lab.address(host)}:{lab.option(host, 'bully_node_port')}"


def targets(lab: Lab) -> list[str]:
    """Give all nodes, as clients are told of them."""
    return [f"{node}={target(lab, node)}" for node in lab.hosts(GROUP)]


WORKLOAD = Workload(
    play, aims=(GROUP,), clients=(CLIENTS,), immune={"reset": "the nodes speak by datagrams"}
)

"""All nodes fight for one resource and gossip; one is killed and returns; causality is judged."""

from __future__ import annotations

from apps.kit.demo import Lab
from apps.lamport_clock.claims import concurrent_pairs, judge
from apps.lamport_clock.shiviz import shiviz

GROUP = "lamport_clock_node"
PROMISES = {
    "clock_condition": "a -> b implies C(a) < C(b)",
    "vector_condition": "V(a) < V(b) exactly where a -> b",
    "mutual_exclusion": "never two in the critical section",
    "granted_in_order": "granted in the order of the requests",
    "every_request_granted": "every request is granted in the end",
}


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    nodes = lab.hosts(GROUP)
    lab.say(f"{len(nodes)} nodes fight for one resource")
    contenders = [
        lab.start(host, "lamport_clock", "contend", target(lab, host), *options(lab))
        for host in nodes
    ]
    victim = lab.rng.choice(nodes)
    lab.wait_until(
        lambda: len(lab.history(GROUP, "exit")) >= len(nodes), "each could have entered once"
    )
    lab.kill(victim, GROUP)
    lab.wait_ready(victim, GROUP)
    for contender in contenders:
        contender.wait()

    history = lab.history(GROUP)
    lab.attach("shiviz.log", shiviz(history))
    findings = judge(history)
    for name, claim in PROMISES.items():
        lab.promised(claim, findings[name])
    lab.limit("C(a) < C(b) without a -> b: only vectors tell", concurrent_pairs(history))


def target(lab: Lab, host: str) -> str:
    """Give the address of a host's own node."""
    return f"{lab.address(host)}:{lab.option(host, 'lamport_clock_node_port')}"


def options(lab: Lab) -> tuple[object, ...]:
    """Give how each node's client fights."""
    return "--count", 8, "--stay", 0.02, "--seed", lab.seed

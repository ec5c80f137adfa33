"""The links of a lab that is up: each end emulates what befalls the packets that leave by it.

It is standing: it is there again when the machine has been without power, and no `fab heal` ends
it. Whatever faults do to packets comes on top.
"""

from __future__ import annotations

import json
from dataclasses import replace

from lab.errors import LabError
from lab.faults.agent import ask
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from lab.hosts.state import Report
from lab.topology import validate
from lab.topology.addresses import Plan
from lab.topology.model import IDEAL


def apply(inventory: Inventory, report: Report) -> None:
    """Have every machine emulate its links as the topology says; LabError if one cannot."""
    if inventory.topology is None:
        return
    plan = Plan(validate.load(inventory.topology))
    wanted = {node: json.dumps(effects(plan, node)) for node in plan.topology.nodes}
    with Remote(replace(inventory, hosts=inventory.machines_by_name)) as remote:
        answers = remote.each(wanted, lambda node: ask(remote, node, "links", wanted[node]))
    engines = set()
    for node, answer in answers.items():
        if isinstance(answer, LabError):
            raise LabError(f"{node} does not emulate its links: {answer.what}", answer.fix)
        engines.add(answer["engine"])
    engines.discard("none")
    count = len(plan.topology.links)
    report(f"{count} links, emulated by {' and '.join(sorted(engines)) or 'nobody: all are ideal'}")


def effects(plan: Plan, node: str) -> dict[str, dict[str, float]]:
    """Give what befalls packets that leave a node, by device; ideal ones are left out."""
    found = {}
    for at in plan.interfaces[node]:
        quality = plan.topology.links[at.link].quality
        if quality != IDEAL:
            found[at.device] = {
                "delay": quality.delay,
                "jitter": quality.jitter,
                "loss": quality.loss,
                "rate": quality.bandwidth,
            }
    return found

"""The inventory of a topology: what every verb takes, written to `.lab/<name>/inventory/`.

hosts.yml       hosts, and switches and routers; addresses, and how to log in
placement.yml   where each component runs
topology.yml    the topology itself
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from lab.catalogue import ROOT
from lab.hosts.inventory import LAB_GROUP, NETWORK_GROUP
from lab.hosts.state import write_atomically
from lab.topology import files, place
from lab.topology.addresses import Plan
from lab.topology.model import HOST, ROUTER, SWITCH, Topology


def path_of(topology: Topology) -> Path:
    """Where its inventory is."""
    return ROOT / ".lab" / topology.name / "inventory"


def write(topology: Topology, origin: Path) -> Path:
    """Write the inventory of a topology that is right; give its directory."""
    plan, home = Plan(topology), path_of(topology)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = f"Written by `fab up --topology {origin}`; changes are lost."
    write_atomically(home.parent / "topology.yml", files.dump(topology, made))
    for name, content in (
        ("hosts.yml", hosts(plan, home.parent)),
        ("placement.yml", place.place(topology)),
    ):
        text = yaml.safe_dump(content, sort_keys=False, width=100)
        write_atomically(home / name, f"# {made}\n---\n{text}")
    _give_to_caller(home)
    return home


def hosts(plan: Plan, directory: Path) -> dict[str, Any]:
    """Give what the hosts are, in Ansible's form."""
    topology = plan.topology
    machines: dict[str, dict[str, Any]] = {LAB_GROUP: {}, NETWORK_GROUP: {}}
    for node, kind in topology.nodes.items():
        group = LAB_GROUP if kind == HOST else NETWORK_GROUP
        managed = str(plan.managed[node])
        machines[group][node] = {
            "lab_address": str(plan.address(node)) if kind == HOST else managed,
            "ansible_host": managed,
        }
    variables = {
        "lab_name": topology.name,
        "lab_machines": "nspawn",
        "lab_subnet": str(topology.subnet),
        "lab_controller": str(plan.controller),
        "lab_directory": str(directory),
        "lab_topology": str(directory / "topology.yml"),
        "ansible_user": "lab",
        "ansible_ssh_private_key_file": str(directory / "id_ed25519"),
        "ansible_ssh_common_args": "-F {{ (lab_directory ~ '/ssh_config') | quote }}",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    groups: dict[str, Any] = {"all": {"vars": variables}}
    groups[LAB_GROUP] = {"hosts": machines[LAB_GROUP]}
    if topology.of(SWITCH, ROUTER):
        groups[NETWORK_GROUP] = {"hosts": machines[NETWORK_GROUP]}
    return groups


def _give_to_caller(home: Path) -> None:
    """Under `sudo fab …` the files belong to the person who typed it."""
    owner = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if os.geteuid() == 0 and owner[0] and owner[1]:
        for path in [home.parent.parent, home.parent, *home.parent.rglob("*")]:
            os.chown(path, int(owner[0]), int(owner[1]))

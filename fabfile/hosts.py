"""The hosts: boot, stop, log in."""

from __future__ import annotations

import os
from pathlib import Path

from invoke.context import Context

from fabfile.verb import LOCAL, known, load, tell, verb
from lab.errors import LabError


@verb("json", topology="A topology's file: its hosts are booted, in .lab/<name>/inventory.")
def up(c: Context, inventory: str = LOCAL, topology: str = "", json: bool = False) -> None:
    """Boot the inventory's local hosts; those that run already are left alone."""
    from dataclasses import asdict

    from lab import hosts, screen

    if topology:
        inventory = _made_of(topology, inventory)
    states = hosts.up(load(inventory), tell)
    if json:
        screen.as_json([asdict(state) for state in states])


def _made_of(topology: str, inventory: str) -> str:
    """Make the inventory of a topology; give its place."""
    from lab.hosts import cgroups
    from lab.topology import inventory as inventories
    from lab.topology import validate

    if inventory != LOCAL:
        raise LabError("a topology makes its own inventory", "give --topology alone")
    path = Path(topology)
    found = validate.load(path)
    validate.check_memory(found, cgroups.members(found.name))
    home = os.path.relpath(inventories.write(found, path))
    tell(f"topology {found.name}; to every other verb say: --inventory {home}")
    return home


@verb(wipe="Remove the hosts' disks as well.")
def down(c: Context, inventory: str = LOCAL, wipe: bool = False) -> None:
    """Stop the inventory's local hosts; their disks stay unless wiped."""
    from lab import hosts

    hosts.down(load(inventory), tell, wipe=wipe)


@verb(host="The host to log in to.")
def ssh(c: Context, host: str, inventory: str = LOCAL) -> None:
    """Log in to a host."""
    loaded = load(inventory)
    if host not in loaded.network:
        known([host], loaded)
    target = loaded.machines_by_name[host]
    command = ["ssh", *target.ssh_args, "-p", str(target.port), "-l", target.user]
    command += ["-i", str(target.key)] if target.key else []
    os.execvp("ssh", [*command, target.login_host])  # noqa: S606  a terminal, handed over whole

"""The hosts: boot, stop, log in."""

from __future__ import annotations

import os

from invoke.context import Context

from fabfile.verb import LOCAL, known, load, tell, verb


@verb("json")
def up(c: Context, inventory: str = LOCAL, json: bool = False) -> None:
    """Boot the inventory's local hosts; those that run already are left alone."""
    from dataclasses import asdict

    from lab import hosts, screen

    states = hosts.up(load(inventory), tell)
    if json:
        screen.as_json([asdict(state) for state in states])


@verb(wipe="Remove the hosts' disks as well.")
def down(c: Context, inventory: str = LOCAL, wipe: bool = False) -> None:
    """Stop the inventory's local hosts; their disks stay unless wiped."""
    from lab import hosts

    hosts.down(load(inventory), tell, wipe=wipe)


@verb(host="The host to log in to.")
def ssh(c: Context, host: str, inventory: str = LOCAL) -> None:
    """Log in to a host."""
    loaded = load(inventory)
    known([host], loaded)
    target = loaded.hosts[host]
    command = ["ssh", *target.ssh_args, "-p", str(target.port), "-l", target.user]
    command += ["-i", str(target.key)] if target.key else []
    os.execvp("ssh", [*command, target.login_host])  # noqa: S606  a terminal, handed over whole

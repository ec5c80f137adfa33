"""What SSH needs on this side: the lab's own key, the hosts' public keys, a configuration.

All of it lies in `.lab/<lab>/` of the checkout and belongs to whoever ran the command. Ansible uses
it through the inventory; a person, through `ssh -F .lab/local/ssh_config n1`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from lab.hosts import state
from lab.hosts.command import run
from lab.hosts.inventory import Host, Inventory


def login_key(inventory: Inventory) -> str:
    """The public half of the lab's login key, as in authorized_keys; made if it is missing."""
    private = inventory.directory / "id_ed25519"
    public = private.with_name("id_ed25519.pub")
    inventory.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not public.exists():  # ssh-keygen writes it last
        private.unlink(missing_ok=True)
        comment = f"distlab-{inventory.lab}"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(private)])
    _give_to_caller(inventory.directory)
    return public.read_text().strip()


def write_files(inventory: Inventory, host_keys: Mapping[str, str]) -> None:
    """Write known_hosts and ssh_config for the hosts, whose public keys are given by name."""
    known = "".join(
        f"{name},{inventory.dialled(name)} {' '.join(key.split()[:2])}\n"
        for name, key in host_keys.items()
    )
    state.write_atomically(inventory.known_hosts, known)
    state.write_atomically(inventory.ssh_config, _config(inventory))
    _give_to_caller(inventory.directory)


def gateway(host: Host) -> str | None:
    """Give the command through which a host is reached; None if it is reached straight.

    OpenSSH is asked what it makes of the host's arguments, and of its user's own configuration.
    """
    told = run(["ssh", "-G", *host.ssh_args, "-p", str(host.port), host.login_host])
    options = dict(line.partition(" ")[::2] for line in told.splitlines())
    if command := options.get("proxycommand"):
        return command.replace("%h", host.login_host).replace("%p", str(host.port))
    *first, last = options.get("proxyjump", "").split(",")
    if not last:
        return None
    through = ["-J", ",".join(first)] if first else []
    ahead = ["-W", f"{host.login_host}:{host.port}", f"ssh://{last}"]
    return shlex.join(["ssh", "-o", "BatchMode=yes", *through, *ahead])


def _config(inventory: Inventory) -> str:
    # Both the name and the address, since Ansible dials the address.
    hosts = "".join(
        f"\nHost {name} {inventory.dialled(name)}\n"
        f"    HostName {inventory.dialled(name)}\n"
        f"    HostKeyAlias {name}\n"
        for name in inventory.machines_by_name
    )
    user = next(iter(inventory.hosts.values())).user
    return f"""\
# Written by `fab up` for lab {inventory.lab}; changes are lost. Use:
#   ssh -F {inventory.ssh_config} HOST
{hosts}
Host *
    User {user}
    IdentityFile "{inventory.directory / "id_ed25519"}"
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile "{inventory.known_hosts}"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    PreferredAuthentications publickey
    ConnectTimeout 5
    # OpenSSH's first choice, against quantum computers, costs 60 ms of this machine's time a login.
    KexAlgorithms ^curve25519-sha256
    # A host that lost power says nothing; without this a shared connection would wait for ever.
    ServerAliveInterval 5
    ServerAliveCountMax 3
"""


def _give_to_caller(directory: Path) -> None:
    """Under `sudo fab …` the files belong to the person who typed it."""
    owner = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if os.geteuid() == 0 and owner[0] and owner[1]:
        for path in [directory.parent, directory, *directory.iterdir()]:
            os.chown(path, int(owner[0]), int(owner[1]))

"""The inventory: the only truth about which hosts exist and which pattern runs where.

It is read with Ansible's own parser, in this process, so ranges (`n[1:50]`), group variables and
templated values mean here exactly what they mean to `ansible-playbook`. Group `lab` holds every
host.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from pathlib import Path
from typing import Any

from lab.catalogue import pattern_of, patterns
from lab.errors import LabError

LAB_GROUP = "lab"
NETWORK_GROUP = "lab_network"
# RFC 2544 section C.2.2: for benchmarks between devices, so no user's network holds it.
EMBEDDED_RANGE = IPv4Network("198.18.0.0/15")
_INTERFACES = Path("/sys/class/net")
# The bridge is called dl-<lab>, and a network interface has at most 15 characters.
LAB_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?")
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
KINDS = ("nspawn", "vagrant", "real")
DEFAULT_SUITE = "bookworm"
SUITES = (DEFAULT_SUITE, "trixie")
"""The releases of Debian that the roles are tested with."""
SSH_TIMEOUT = 10


@dataclass(frozen=True)
class Host:
    """One host of the lab and how to log in to it."""

    name: str
    address: IPv4Address
    """Its address in the lab's subnet: what services bind to and peers dial."""
    login_host: str
    """Where SSH dials (`ansible_host`); on VMs it may differ from `address`."""
    user: str
    port: int
    key: Path | None
    """The private key to log in with; None leaves the choice to ssh."""
    ssh_args: tuple[str, ...]
    """More arguments for OpenSSH's clients (`ansible_ssh_common_args`)."""
    memory: int | None
    """MiB (`lab_memory`), for machines that are given memory."""
    suite: str = DEFAULT_SUITE
    """Its release of Debian (`lab_suite`), one of `SUITES`; for a relative, the nearest."""
    ssh_timeout: int = SSH_TIMEOUT
    """Seconds that a host has to take a connection (`ansible_ssh_timeout`)."""
    vars: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Every `lab_*` and `<pattern>_*` variable of the host, templated."""


@dataclass(frozen=True)
class Inventory:
    """A parsed and checked inventory."""

    path: Path
    lab: str
    machines: str
    """Who makes the machines: `nspawn` (we do), `vagrant`, or `real`."""
    subnet: IPv4Network
    controller: IPv4Address
    """Where the hosts find the machine that drives the lab."""
    directory: Path
    """`.lab/<lab>/` in the checkout: key, known hosts, ssh_config."""
    hosts: Mapping[str, Host]
    """In the order of the inventory."""
    groups: Mapping[str, tuple[str, ...]]
    """Group name to host names, for every group; an empty group has an empty tuple."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Patterns that the hosts cannot run, and why; `groups` places them nowhere."""
    topology: Path | None = None
    """The file of the topology that the hosts are wired by (`lab_topology`), if they are."""
    network: Mapping[str, Host] = field(default_factory=dict)
    """The switches and routers of the topology (group `lab_network`); nothing is deployed there."""

    @property
    def bridge(self) -> str:
        """The name of the lab's bridge on this machine (machines: nspawn)."""
        return f"dl-{self.lab}"

    @property
    def is_down(self) -> bool:
        """Whether this machine boots the hosts, and their network is not there.

        What were sent to them would leave by the machine's own way out, to whoever has the address.
        """
        return self.machines == "nspawn" and not (_INTERFACES / self.bridge).exists()

    @property
    def machines_by_name(self) -> Mapping[str, Host]:
        """Every machine: the hosts, and what stands between them."""
        return {**self.hosts, **self.network}

    def dialled(self, name: str) -> str:
        """Where this machine reaches one that it boots: past the links of a topology."""
        machine = self.machines_by_name[name]
        return machine.login_host if self.topology else str(machine.address)

    @cached_property
    def known_hosts(self) -> Path:
        """The public host keys of the lab's hosts."""
        return self.directory / "known_hosts"

    @cached_property
    def ssh_config(self) -> Path:
        """For a person: `ssh -F <this> n1`."""
        return self.directory / "ssh_config"


def load(path: Path) -> Inventory:
    """Read the inventory at `path` (a directory or a file); LabError if it cannot serve a lab."""
    if not path.exists():
        raise LabError(
            f"there is no inventory at {path}",
            "name one with --inventory; inventory/local is the default and always there",
        )
    groups, variables = _parse(path)
    names = groups.get(LAB_GROUP, ())
    if not names:
        raise LabError(
            f"inventory {path} has no host in group `{LAB_GROUP}`",
            f"list every host under `{LAB_GROUP}:` in it, as inventory/local/hosts.yml does",
        )
    between = groups.get(NETWORK_GROUP, ())
    _refuse_strangers(path, groups, [*names, *between])
    values = {name: _Values(path, name, variables[name]) for name in [*names, *between]}
    lab, machines, subnet, controller, directory = _common(path, values)
    every = {name: _host(values[name]) for name in values}
    _check_addresses(path, every, machines, subnet, controller)
    topology = values[names[0]].all.get("lab_topology")
    left_out = _left_out(every, groups)
    return Inventory(
        path,
        lab,
        machines,
        subnet,
        controller,
        directory,
        hosts={name: every[name] for name in names},
        groups=_without(left_out, groups),
        left_out=left_out,
        topology=Path(str(topology)) if topology else None,
        network={name: every[name] for name in between},
    )


def _parse(path: Path) -> tuple[dict[str, tuple[str, ...]], dict[str, dict[str, Any]]]:
    """Group members, and the templated variables of each host, by Ansible's own code."""
    from ansible import constants
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar
    from ansible.vars.manager import VariableManager

    # Without this, Ansible warns about a broken file and goes on with half an inventory.
    constants.INVENTORY_ANY_UNPARSED_IS_FAILED = True
    loader = DataLoader()
    try:
        inventory = InventoryManager(loader=loader, sources=[str(path)])
        manager = VariableManager(loader=loader, inventory=inventory)
        groups = {
            str(name): tuple(str(host.name) for host in group.get_hosts())
            for name, group in inventory.groups.items()
            if name not in {"all", "ungrouped"}
        }
        # A variable is named for what reads it: the lab, Ansible, or the role of a group.
        ours = ("ansible_", *(f"{group}_" for group in groups))
        variables = {}
        for host in inventory.get_hosts("all"):
            raw = manager.get_vars(host=host, include_hostvars=False)
            templar = Templar(loader=loader, variables=raw)
            variables[str(host.name)] = {
                str(key): templar.template(value)
                for key, value in raw.items()
                if key.startswith(ours) and key not in _ANSIBLE_INTERNALS
            }
    except AnsibleError as error:
        raise LabError(
            f"Ansible cannot read the inventory {path}: {error}",
            f"see it with Ansible's eyes: ansible-inventory -i {path} --list",
        ) from error
    return groups, variables


_ANSIBLE_INTERNALS = {"ansible_version", "ansible_playbook_python", "ansible_config_file"}


def _refuse_strangers(
    path: Path, groups: Mapping[str, tuple[str, ...]], names: Sequence[str]
) -> None:
    """A host that the placement uses but group `lab` does not hold."""
    for group, members in groups.items():
        for name in members:
            if name not in names:
                raise LabError(
                    f"group {group} places something on host {name}, "
                    f"but no file in {path} describes {name}",
                    f"add {name} under `{LAB_GROUP}: hosts:` there, "
                    f"or take it out of group {group} in the placement",
                )


class _Values:
    """One host's variables, read with errors that name the inventory, the host and the variable."""

    def __init__(self, path: Path, host: str, values: Mapping[str, Any]) -> None:
        self.path = path
        self.host = host
        self.all = values

    def text(self, name: str, default: str | None = None) -> str:
        value = self.all.get(name, default)
        if value is None:
            raise LabError(
                f"host {self.host} in inventory {self.path} has no `{name}`",
                f"set {name} for it, or for the whole group under `{LAB_GROUP}: vars:`",
            )
        return str(value)

    def number(self, name: str, default: int | None = None) -> int | None:
        value = self.all.get(name, default)
        try:
            return None if value is None else int(value)
        except (TypeError, ValueError):
            raise self.wrong(name, value, "a whole number") from None

    def address(self, name: str) -> IPv4Address:
        value = self.text(name)
        try:
            return IPv4Address(value)
        except AddressValueError:
            raise self.wrong(name, value, "an IPv4 address such as 198.18.0.11") from None

    def subnet(self, name: str) -> IPv4Network:
        value = self.text(name)
        try:
            return IPv4Network(value)
        except (AddressValueError, NetmaskValueError, ValueError):
            raise self.wrong(name, value, "an IPv4 network such as 198.18.0.0/24") from None

    def wrong(self, name: str, value: object, wanted: str) -> LabError:
        return LabError(
            f"{name} of host {self.host} in inventory {self.path} is `{value}`",
            f"make it {wanted}",
        )


def _common(
    path: Path, values: Mapping[str, _Values]
) -> tuple[str, str, IPv4Network, IPv4Address, Path]:
    """What all hosts must agree on: lab name, kind of machines, subnet, controller, directory."""
    first = next(iter(values.values()))
    image = ("lab_suite",) if first.all.get("lab_machines") == "nspawn" else ()
    for name in (*_COMMON, *image):
        for other in values.values():
            if other.all.get(name) != first.all.get(name):
                raise LabError(
                    f"{name} differs between hosts {first.host} and {other.host} in {path}",
                    f"set it once, under `{LAB_GROUP}: vars:`",
                )
    lab = first.text("lab_name")
    if not LAB_NAME.fullmatch(lab):
        raise first.wrong("lab_name", lab, "1 to 11 characters of a-z, 0-9 and inner dashes")
    machines = first.text("lab_machines")
    if machines not in KINDS:
        raise first.wrong("lab_machines", machines, f"one of {', '.join(KINDS)}")
    subnet = first.subnet("lab_subnet")
    if "lab_controller" in first.all:
        controller = first.address("lab_controller")
    else:
        controller = subnet.network_address + 1
    directory = Path(first.text("lab_directory"))
    if not directory.is_absolute():
        raise first.wrong("lab_directory", directory, "an absolute path (use inventory_dir)")
    return lab, machines, subnet, controller, directory


_COMMON = (
    *("lab_name", "lab_machines", "lab_subnet", "lab_controller", "lab_directory"),
    "lab_topology",
)


def _host(values: _Values) -> Host:
    if not HOST_NAME.fullmatch(values.host):
        raise LabError(
            f"inventory {values.path} has a host called `{values.host}`",
            "call it 1 to 32 characters of a-z, 0-9 and inner dashes: it becomes its hostname",
        )
    suite = values.text("lab_suite", DEFAULT_SUITE)
    if suite not in SUITES:
        raise values.wrong("lab_suite", suite, f"one of {', '.join(SUITES)}")
    key = values.all.get("ansible_ssh_private_key_file")
    return Host(
        name=values.host,
        address=values.address("lab_address"),
        login_host=values.text("ansible_host", values.host),
        user=values.text("ansible_user"),
        port=values.number("ansible_port", 22) or 22,
        key=Path(str(key)).expanduser() if key else None,
        ssh_args=tuple(shlex.split(values.text("ansible_ssh_common_args", ""))),
        memory=values.number("lab_memory"),
        suite=suite,
        ssh_timeout=values.number("ansible_ssh_timeout", SSH_TIMEOUT) or SSH_TIMEOUT,
        vars={k: v for k, v in values.all.items() if not k.startswith("ansible_")},
    )


def _left_out(hosts: Mapping[str, Host], groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Why patterns cannot run where their components are placed; clients run anywhere."""
    unable = {pattern.name: pattern.cannot_run_on for pattern in patterns()}
    found = {}
    for group, members in groups.items():
        name = pattern_of(group)
        if group in {name, f"{name}_client"}:
            continue
        for host in members:
            why = unable.get(name, {}).get(hosts[host].suite)
            if why:
                found[name] = f"{host} has Debian {hosts[host].suite}: {why}"
    return found


def _without(
    left_out: Mapping[str, str], groups: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Give the groups with those of these patterns empty."""
    return {
        group: () if pattern_of(group) in left_out else members for group, members in groups.items()
    }


def _check_addresses(
    path: Path,
    hosts: Mapping[str, Host],
    machines: str,
    subnet: IPv4Network,
    controller: IPv4Address,
) -> None:
    """Every address is in the subnet, usable, and taken once."""
    if machines != "real" and not subnet.subnet_of(EMBEDDED_RANGE):
        raise LabError(
            f"lab_subnet of inventory {path} is {subnet}, outside {EMBEDDED_RANGE}",
            f"choose a part of {EMBEDDED_RANGE} (RFC 2544), which no other network may hold",
        )
    takers = {
        subnet.network_address: "the network itself",
        subnet.broadcast_address: "broadcast",
        controller: "the controller",
    }
    for host in hosts.values():
        if host.address not in subnet:
            raise LabError(
                f"host {host.name} in inventory {path} has lab_address {host.address}, "
                f"outside lab_subnet {subnet}",
                f"give it an address in {subnet}, or widen lab_subnet",
            )
        if host.address in takers:
            raise LabError(
                f"lab_address {host.address} of host {host.name} in inventory {path} "
                f"is taken by {takers[host.address]}",
                "give every host an address of its own",
            )
        takers[host.address] = f"host {host.name}"

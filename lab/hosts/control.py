"""The hosts' verbs, as fabfile and the demos call them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.hosts import cgroups, image, preflight, readiness, ssh
from lab.hosts.inventory import Inventory
from lab.hosts.spec import ImageSpec, LabSpec
from lab.hosts.state import Report

CHECKOUT = Path(__file__).parents[2]
# The next host answers in a second or so; a machine that does fifty other things may take longer.
_BOOT_SECONDS = 60.0
_TELL_EVERY = 10


@dataclass(frozen=True)
class HostState:
    """What one host is doing right now."""

    name: str
    address: str
    machine: str
    """`running` or `off`; `unknown` where the machine is not ours (vagrant, real)."""
    ssh: bool
    """Whether its SSH server answers."""


def up(inventory: Inventory, report: Report) -> list[HostState]:
    """Boot what is off; every host then answers over SSH. LabError if it cannot be."""
    keys = _ask("up", inventory, report)
    ssh.write_files(inventory, keys)
    _wait(inventory, list(inventory.machines_by_name), report)
    if inventory.topology is not None:
        from lab.topology import links

        links.apply(inventory, report)
    return [
        HostState(host.name, str(host.address), "running", ssh=True)
        for host in inventory.hosts.values()
    ]


def down(inventory: Inventory, report: Report, *, wipe: bool = False) -> None:
    """Stop the hosts and take their network down; with `wipe`, throw their disks away too."""
    _ask("down", inventory, report, wipe=wipe)


def boot(inventory: Inventory, host: str, report: Report) -> None:
    """Switch one host on again, and wait until it answers over SSH."""
    _ask("boot", inventory, report, host=_member(inventory, host))
    _wait(inventory, [host], report)


def power_off(inventory: Inventory, host: str, report: Report) -> None:
    """Cut one host's power: its processes are gone at once, its disk stays as it was."""
    _ask("power_off", inventory, report, host=_member(inventory, host))


def states(inventory: Inventory) -> list[HostState]:
    """What each host is doing; needs no root."""
    hosts = list(inventory.hosts.values())

    async def probe() -> Sequence[bool]:
        if inventory.is_down:
            return [False] * len(hosts)
        probes = (readiness.answers(host.login_host, host.port, 1.0) for host in hosts)
        return await asyncio.gather(*probes)

    running = cgroups.members(inventory.lab) if inventory.machines == "nspawn" else None
    return [
        HostState(host.name, str(host.address), _machine(host.name, running), ssh)
        for host, ssh in zip(hosts, asyncio.run(probe()), strict=True)
    ]


def _machine(host: str, running: dict[str, list[int]] | None) -> str:
    if running is None:
        return "unknown"
    return "running" if host in running else "off"


def _wait(inventory: Inventory, hosts: list[str], report: Report) -> None:
    """Wait until the hosts answer over SSH; LabError with the console of one that does not."""
    answered: list[str] = []

    def arrived(host: str) -> None:
        answered.append(host)
        if len(answered) % _TELL_EVERY == 0 or len(answered) == len(hosts):
            report(f"{len(answered)} of {len(hosts)} hosts answer over SSH")

    failed = asyncio.run(
        readiness.wait(
            {host: inventory.dialled(host) for host in hosts},
            _BOOT_SECONDS,
            gone=lambda: set(hosts) - set(cgroups.members(inventory.lab)),
            arrived=arrived,
        )
    )
    if failed:
        host, why = next(iter(failed.items()))
        console = _ask("console", inventory, report, host=host) or "(it printed nothing)"
        others = [other for other in failed if other != host]
        raise LabError(
            f"host {host} of lab {inventory.lab} did not come up: {why}. "
            f"The end of its console:\n{textwrap.indent(console, '    ')}"
            + (f"\nNor did {', '.join(others)}." if others else ""),
            "`fab down` and `fab up` start afresh; `fab down --wipe` throws the disks away as well",
        )


def _member(inventory: Inventory, host: str) -> str:
    if host not in inventory.machines_by_name:
        raise LabError(
            f"inventory {inventory.path} has no host {host}",
            f"it has {', '.join(inventory.machines_by_name)}",
        )
    return host


_INSTEAD = {
    "vagrant": "these are Vagrant's: vagrant up, vagrant halt, vagrant destroy",
    "real": "these are real machines: switch them on and off yourself, then `fab deploy`",
}


def _ask(verb: str, inventory: Inventory, report: Report, **options: object) -> Any:
    """Have the privileged side do `verb`: in this process if we are root, else through sudo."""
    if inventory.machines in _INSTEAD:
        raise LabError(
            f"`{verb}` boots and stops embedded hosts only, "
            f"and lab_machines of {inventory.path} is {inventory.machines}",
            _INSTEAD[inventory.machines],
        )
    preflight.check_controller()
    spec = _spec(inventory)
    if os.geteuid() == 0:
        from lab.hosts import privileged

        return privileged.VERBS[verb](spec, report, **options)
    return _through_sudo({"verb": verb, "spec": spec.to_json(), "options": options}, report)


def _spec(inventory: Inventory) -> LabSpec:
    first = next(iter(inventory.hosts.values()))
    spec = LabSpec(
        lab=inventory.lab,
        directory=str(inventory.directory),
        subnet=str(inventory.subnet),
        controller=str(inventory.controller),
        hosts={name: inventory.dialled(name) for name in inventory.machines_by_name},
        login_key=ssh.login_key(inventory),
        image=ImageSpec(
            first.suite,
            image.declared_packages(CHECKOUT / "roles", first.suite)
            + image.wanted_packages(first.vars),
        ),
        **_wired(inventory),
    )
    spec.check()
    return spec


def _wired(inventory: Inventory) -> dict[str, Any]:
    """Give what the specification says of the topology, if there is one."""
    if inventory.topology is None:
        return {}
    from lab.topology import validate, wiring
    from lab.topology.addresses import Plan

    plan = Plan(validate.load(inventory.topology))
    return {"management": str(plan.management), "wiring": wiring.wiring(plan)}


def _through_sudo(request: dict[str, Any], report: Report) -> Any:
    command = [
        *("sudo", "--preserve-env=http_proxy,https_proxy,no_proxy", "--"),
        *(sys.executable, "-m", "lab.hosts.privileged"),
    ]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as helper:
        assert helper.stdin is not None  # noqa: S101  (it was asked for)
        assert helper.stdout is not None  # noqa: S101
        helper.stdin.write(json.dumps(request))
        helper.stdin.close()
        for line in helper.stdout:
            message = json.loads(line)
            if "report" in message:
                report(message["report"])
            elif "error" in message:
                raise LabError(message["error"], message["fix"])
            else:
                return message["result"]
    raise LabError(
        f"sudo ended with status {helper.returncode} and no answer",
        "see what it printed above; are you allowed to use sudo here?",
    )

"""Faults on the hosts: `fab fault.kill`, `fab fault.partition`, …; `fab heal` ends them all."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from apps.kit.faults import BadFault, Fault, Kill, Partition, Pause, PowerOff
from fabfile.verb import LOCAL, load, tell, verb
from lab.errors import LabError

WHO = {"host": "The host that it happens to.", "component": "As in the placement: tcp_echo_server."}
LONG = {"for": "How long, at most: 20s, 2min. The hosts heal themselves after that."}
MINUTE = "60s"


@verb(**WHO)
def kill(c: Context, host: str, component: str, inventory: str = LOCAL) -> None:
    """SIGKILL a component; systemd starts it again."""
    _inject(inventory, MINUTE, lambda _: Kill(host, component))


@verb(**WHO, **LONG)
def pause(
    c: Context, host: str, component: str, for_: str = MINUTE, inventory: str = LOCAL
) -> None:
    """SIGSTOP a component: alive, connected, and silent."""
    _inject(inventory, for_, lambda _: Pause(host, component))


@verb(host="The host to switch off.", **LONG)
def power_off(c: Context, host: str, for_: str = MINUTE, inventory: str = LOCAL) -> None:
    """Cut a host's power, as pulling its plug does."""
    _inject(inventory, for_, lambda _: PowerOff(host))


@verb(
    shape="isolate, halves, majority, bridge, ring, mute or deaf (fab fault.shapes explains).",
    hosts="Hosts, comma-separated, in the order that the shape goes by; all if not given.",
    **LONG,
)
def partition(
    c: Context,
    shape: str = "halves",
    hosts: str = "",
    for_: str = MINUTE,
    inventory: str = LOCAL,
) -> None:
    """Keep packets between some of the hosts from arriving."""
    _inject(
        inventory,
        for_,
        lambda loaded: Partition(shape, tuple(hosts.split(",") if hosts else loaded.hosts)),
    )


@verb("json")
def list_(c: Context, inventory: str = LOCAL, json: bool = False) -> None:
    """Show the faults that are on now."""
    import time

    from apps.kit.faults import from_json
    from lab import screen
    from lab.faults.control import Faults
    from lab.hosts.remote import Remote

    with Remote(load(inventory)) as remote:
        active = Faults(remote, tell).active()
    if json:
        screen.as_json([fault.as_json() for fault in active])
        return
    now = time.time()
    screen.table(
        ["host", "id", "fault", "since", "at most"],
        [
            (a.host, a.id, str(from_json(a.fault)), f"{now - a.since:.0f} s", f"{a.seconds:g} s")
            for a in active
        ],
    )


@verb()
def heal(c: Context, inventory: str = LOCAL) -> None:
    """End every fault of the lab, whoever injected it."""
    from apps.kit.faults import from_json
    from lab.faults.control import Faults
    from lab.hosts.remote import Remote

    with Remote(load(inventory)) as remote:
        healed = Faults(remote, tell).heal()
    for fault in healed:
        tell(f"{fault.host}: healed {from_json(fault.fault)}")
    tell(f"{len(healed)} healed" if healed else "there was no fault")


def _inject(inventory: str, length: str, make: Any) -> None:
    from lab.faults.control import Faults
    from lab.faults.quantities import seconds
    from lab.hosts.remote import Remote

    loaded = load(inventory)
    try:
        fault: Fault = make(loaded)
    except BadFault as error:
        raise LabError(str(error)) from error
    with Remote(loaded) as remote:
        injected = Faults(remote, tell).inject(fault, seconds(length))
    for host, figures in injected.measured.items():
        told = ", ".join(f"{name} {value}" for name, value in figures.items())
        tell(f"{host}: {told}")
    if fault.lasts:
        tell(f"{fault}: for {length} at most; `fab heal` ends it")

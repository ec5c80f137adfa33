"""Faults on the hosts: `fab fault.kill`, `fab fault.partition`, …; `fab heal` ends them all."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from apps.kit.faults import BadFault, Clock, Disk, Fault, Kill, Partition, Pause, PowerOff
from fabfile.verb import LOCAL, load, tell, verb
from lab.errors import LabError

WHO = {"host": "The host that it happens to.", "component": "As in the placement: tcp_echo_server."}
LONG = {"for": "How long, at most: 20s, 2min. The hosts heal themselves after that."}
MINUTE = "60s"


@verb(**WHO)
def kill(c: Context, host: str, component: str, inventory: str = LOCAL) -> None:
    """SIGKILL a component; systemd starts it again."""
    inject(inventory, MINUTE, lambda _: Kill(host, component))


@verb(**WHO, **LONG)
def pause(
    c: Context, host: str, component: str, for_: str = MINUTE, inventory: str = LOCAL
) -> None:
    """SIGSTOP a component: alive, connected, and silent."""
    inject(inventory, for_, lambda _: Pause(host, component))


@verb(host="The host to switch off.", **LONG)
def power_off(c: Context, host: str, for_: str = MINUTE, inventory: str = LOCAL) -> None:
    """Cut a host's power, as pulling its plug does."""
    inject(inventory, for_, lambda _: PowerOff(host))


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
    inject(
        inventory,
        for_,
        lambda loaded: Partition(shape, tuple(hosts.split(",") if hosts else loaded.hosts)),
    )


@verb(
    offset="How far off it is: 5s, -1h.",
    drift="How much faster it runs: 1%, -10%; relative waits of the component shrink as much.",
    **WHO,
    **LONG,
)
def clock(
    c: Context,
    host: str,
    component: str,
    offset: str = "0s",
    drift: str = "0%",
    for_: str = MINUTE,
    inventory: str = LOCAL,
) -> None:
    """Restart a component into a wrong wall clock; the host's own stays right."""
    from lab.faults.quantities import part, seconds, signed

    inject(
        inventory,
        for_,
        lambda _: Clock(host, component, signed(seconds, offset), signed(part, drift)),
    )


@verb(
    full="No write succeeds any more once it has taken what is free.",
    free="What a full disk still takes: 64K is enough for a component to start.",
    delay="How much longer each write and each flush takes: 20ms.",
    forgets="What was not flushed is lost when the component is killed (fab fault.kill).",
    **WHO,
    **LONG,
)
def disk(
    c: Context,
    host: str,
    component: str,
    full: bool = False,
    free: str = "64K",
    delay: str = "0s",
    forgets: bool = False,
    for_: str = MINUTE,
    inventory: str = LOCAL,
) -> None:
    """Restart a component onto a disk that is full, slow or forgetful; its data stay."""
    from lab.faults.quantities import bytes_, seconds

    room = bytes_(free) if full else 0
    inject(inventory, for_, lambda _: Disk(host, component, full, room, seconds(delay), forgets))


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


def inject(inventory: str, length: str, *makes: Any, json: bool = False) -> None:
    """Inject what each of `makes` makes of the inventory; if one does not take, none lasts."""
    from contextlib import ExitStack

    from lab import screen
    from lab.faults.control import Faults
    from lab.faults.quantities import seconds
    from lab.hosts.remote import Remote

    loaded = load(inventory)
    try:
        faults: list[Fault] = [make(loaded) for make in makes]
    except BadFault as error:
        raise LabError(str(error)) from error
    with Remote(loaded) as remote, ExitStack() as undo:
        tools = Faults(remote, tell)
        injected = [undo.enter_context(tools.inject(fault, seconds(length))) for fault in faults]
        undo.pop_all()
    if json:
        screen.as_json(
            [
                {"id": one.id, "fault": one.fault.as_json(), "measured": dict(one.measured)}
                for one in injected
            ]
        )
        return
    for one in injected:
        for host, figures in one.measured.items():
            told = ", ".join(f"{name} {value}" for name, value in figures.items())
            tell(f"{host}: {told}")
        if one.fault.lasts:
            tell(f"{one.fault}: for {length} at most; `fab heal` ends it")

"""The machines: systemd-nspawn containers that boot a whole Debian.

What runs is read from the kernel each time (see cgroups.py), never from a file of ours, so a
command that was killed at any point leaves nothing that the next one would misread.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError
from lab.hosts import cgroups, disks, image, network
from lab.hosts.spec import LabSpec

# systemd(1): a clean halt of the service manager.
_HALT = signal.SIGRTMIN + 3
_HALT_SECONDS = 20.0
_KILL_SECONDS = 10.0
_CONSOLE_LINES = 25
_DEVICES = (Path("/dev/fuse"),)
"""What a host needs beyond nspawn's own choice, if this machine has it: for faults of disks."""
_UDEVLESS = (
    *("unshare", "--mount", "--propagation", "slave"),
    *("sh", "-c", 'mount -o remount,bind,ro /sys && exec "$@"', "sh"),
)
"""nspawn takes a cable that we have made only when udev has seen it, unless /sys is read-only: then
it knows that there is no udev, which would have nothing to do here."""
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\r")


@dataclass
class Machine:
    """The processes of one running machine."""

    host: str
    supervisor: int | None = None
    """systemd-nspawn itself; None if it was killed and its payload lives on."""
    init: int | None = None
    """PID 1 of the machine, as this machine numbers it; None early in its boot."""
    processes: list[int] = field(default_factory=list)


def running(lab: str) -> dict[str, Machine]:
    """The lab's machines that have any process, by host name."""
    found = {}
    for host, processes in cgroups.members(lab).items():
        machine = Machine(host, processes=processes)
        for process in processes:
            if _is_init(process):
                machine.init = process
            elif _is_supervisor(process):
                machine.supervisor = process
        found[host] = machine
    return found


def _is_init(process: int) -> bool:
    """Whether it is PID 1 of a process namespace below ours (NSpid lists its number in each)."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    numbers = re.search(r"^NSpid:\s+(.*)$", status, re.MULTILINE)
    return numbers is not None and numbers[1].split()[1:] == ["1"]


def _is_supervisor(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip() == "systemd-nspawn"
    except OSError:
        return False


def boot(spec: LabSpec, host: str, lock: int) -> None:
    """Start the machine and return at once; its disk is ready, it is off, and `lock` is held."""
    name = _name(spec.lab, host)
    disk = disks.path(spec.lab, host)
    made = disks.make_of(spec.lab, host)
    if made is None:
        raise LabError(f"host {host} of lab {spec.lab} has no disk", "make one: fab up")
    nspawn = [
        *(_UDEVLESS if _cables(spec, host) else ()),
        *("systemd-nspawn", "--quiet", "--boot", f"--machine={name}", f"--hostname={host}"),
        *("--register=no", "--keep-unit"),
        f"--directory={disk / 'root'}",
        f"--overlay={image.path(made.image)}:{disk / 'upper'}:/",
        f"--network-bridge={spec.bridge}",
        *("--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=read-only"),
        *(f"--bind={device}" for device in _DEVICES if device.exists()),
        *(f"--network-interface={spec.cable(cable)[1]}" for cable in _cables(spec, host)),
    ]
    cable = network.cable(name)
    network.unplug(cable)
    disks.remove_leftovers(spec.lab, host)
    plugs = disk / "cables"
    plugs.write_text(network.plugging(spec, cable, _cables(spec, host)))
    log = disk / "console.log"
    if not cgroups.start(spec.lab, host, nspawn, cables=plugs, console=log, lock=lock):
        raise LabError(
            f"host {host} of lab {spec.lab} could not be started: {console(spec.lab, host)}",
            "`fab down` and `fab up` start afresh",
        )


def _cables(spec: LabSpec, host: str) -> tuple[str, ...]:
    return spec.wiring[host].cables if host in spec.wiring else ()


def halt(lab: str, hosts: Collection[str] | None = None) -> list[str]:
    """Shut the machines down cleanly, all at once; kill what does not follow. The hosts stopped.

    A signal that arrives before PID 1 listens is lost, so it is repeated.
    """
    stopped = sorted(_chosen(lab, hosts))
    deadline = time.monotonic() + _HALT_SECONDS
    while (left := _chosen(lab, hosts)) and time.monotonic() < deadline:
        for machine in left.values():
            if machine.init:
                _signal(machine.init, _HALT)
            elif machine.supervisor:
                _signal(machine.supervisor, signal.SIGKILL)
            else:
                _kill(machine.processes)
        _all_end(left.values(), 1.0)
    cut(lab, hosts)
    return stopped


def cut(lab: str, hosts: Collection[str] | None = None) -> list[str]:
    """Cut the machines' power: every process gone at once, nothing written any more. The hosts."""
    stopped = sorted(_chosen(lab, hosts))
    deadline = time.monotonic() + _KILL_SECONDS
    for machine in _chosen(lab, hosts).values():
        _kill([machine.init] if machine.init else machine.processes)
    while (left := _chosen(lab, hosts)) and time.monotonic() < deadline:
        # The supervisor tidies up after its payload, so it gets a moment for that.
        if not _all_end(left.values(), 1.0):
            for machine in left.values():
                _kill(machine.processes)
    if left:
        raise LabError(
            f"processes of {', '.join(left)} in lab {lab} survive SIGKILL: "
            f"{[machine.processes for machine in left.values()]}",
            "the kernel holds them (look at /proc/PID/stack); if they stay, reboot this machine",
        )
    _forget(lab, stopped)
    return stopped


def _chosen(lab: str, hosts: Collection[str] | None) -> dict[str, Machine]:
    machines = running(lab)
    if hosts is None:
        return machines
    return {host: machine for host, machine in machines.items() if host in hosts}


def _forget(lab: str, stopped: Iterable[str]) -> None:
    """Remove what the kernel and nspawn keep of machines that are off."""
    for host in stopped:
        network.unplug(network.cable(_name(lab, host)))
        cgroups.remove(lab, host)
        _remove_propagation(_name(lab, host))


def tidy(lab: str) -> None:
    """Remove the same of machines that ended by themselves; none of the lab runs."""
    cgroups.remove(lab)
    _remove_propagation(_name(lab, "*"))


def _remove_propagation(name: str) -> None:
    """Remove a directory that nspawn itself removes only where /run is a tmpfs."""
    for directory in Path("/run/systemd/nspawn/propagate").glob(name):
        directory.rmdir()


def _name(lab: str, host: str) -> str:
    """What nspawn calls the machine. Neither part holds a dot, so no two machines share a name."""
    return f"{lab}.{host}"


def _kill(processes: Iterable[int]) -> None:
    for process in processes:
        _signal(process, signal.SIGKILL)


def _signal(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _all_end(machines: Iterable[Machine], seconds: float) -> bool:
    """Wait until all processes of the machines have ended; whether they did in time."""
    deadline = time.monotonic() + seconds
    return all(
        _ends(process, max(0.0, deadline - time.monotonic()))
        for machine in machines
        for process in machine.processes
    )


def _ends(process: int, seconds: float) -> bool:
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def console(lab: str, host: str) -> str:
    """The last lines of the host's console since its last boot, without colours."""
    log = disks.path(lab, host) / "console.log"
    text = log.read_bytes().decode(errors="replace") if log.exists() else ""
    lines = _TERMINAL_CODES.sub("", text).splitlines()
    return "\n".join([line for line in lines if line.strip()][-_CONSOLE_LINES:])

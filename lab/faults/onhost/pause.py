"""SIGSTOP to a unit: `unit`.

A paused service cannot show that it lives, so its watchdog would kill it. It is told to wait: a
process in the service's own control group may change the watchdog's period (sd_notify(3)).
"""

from __future__ import annotations

import os
import socket
from typing import Any

from lab.faults.onhost.command import must
from lab.faults.onhost.records import Record, Trouble
from lab.faults.onhost.units import group, processes, settled, show, state
from lab.faults.onhost.waiting import becomes

_SECONDS = 5.0
_NEVER = 2**64 - 1
_NOTIFY = "/run/systemd/notify"


def begin(record: Record) -> None:
    """Stop all of its processes."""
    unit = record.parameters["unit"]
    found = settled(unit)
    if found != "active":
        raise Trouble(f"{unit} is {found}, so it cannot be paused: `fab status` tells why")
    if show(unit, "NotifyAccess")["NotifyAccess"] == "all":
        _watchdog(unit, _NEVER)
    must("systemctl", "kill", "--kill-whom=all", "--signal=STOP", unit)


def check(record: Record) -> dict[str, Any]:
    """See that every one of them stands."""
    unit = record.parameters["unit"]
    if not becomes(lambda: _states(unit) == {"T"}, _SECONDS):
        raise Trouble(f"processes of {unit} do not stand still: {_states(unit)}")
    return {"processes": len(processes(unit))}


def end(record: Record) -> None:
    """Let them go on, and have the watchdog watch again."""
    unit = record.parameters["unit"]
    if not processes(unit):
        return
    must("systemctl", "kill", "--kill-whom=all", "--signal=CONT", unit)
    if show(unit, "NotifyAccess")["NotifyAccess"] == "all":
        _watchdog(unit, _period(unit))


def _states(unit: str) -> set[str]:
    return {state(process) for process in processes(unit)} - {"", "Z"}


def _period(unit: str) -> int:
    """Give the period that the unit's file asks for, in microseconds."""
    text = must("systemctl", "cat", unit)
    period = "0"
    for line in text.splitlines():
        if line.startswith("WatchdogSec="):
            period = line.partition("=")[2].strip()
    return int(float(must("systemd-analyze", "timespan", period or "0").split("μs:")[1].split()[0]))


def _watchdog(unit: str, microseconds: int) -> None:
    """Change the period from within the unit's group: systemd believes only its own processes."""
    child = os.fork()
    if child == 0:
        try:
            (group(unit) / "cgroup.procs").write_text(str(os.getpid()))
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.connect(_NOTIFY)
                channel.send(f"WATCHDOG_USEC={microseconds}".encode())
                # Ends when systemd has read it, that is while we still are who we are.
                read, write = socket.socketpair()
                socket.send_fds(channel, [b"BARRIER=1"], [write.fileno()])
                write.close()
                read.settimeout(_SECONDS)
                read.recv(1)
            os._exit(0)
        except BaseException:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise Trouble(f"the watchdog of {unit} cannot be told to wait")

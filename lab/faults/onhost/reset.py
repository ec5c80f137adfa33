"""All TCP connections to some hosts end at once, with a reset to either side: `peers`."""

from __future__ import annotations

from typing import Any

from lab.faults.onhost.command import must, run
from lab.faults.onhost.network import SSH
from lab.faults.onhost.records import Record, Trouble
from lab.faults.onhost.waiting import becomes

_SECONDS = 2.0
_STATES = ("established", "syn-sent", "fin-wait-1", "fin-wait-2", "close-wait", "last-ack")
"""What somebody still holds; a closed connection's last wait is nobody's."""


def begin(record: Record) -> None:
    """Reset them."""
    record.kept["connections"] = sorted(_connections(record))
    if record.kept["connections"]:
        run("ss", "--kill", *_filter(record))


def check(record: Record) -> dict[str, Any]:
    """See that none of them is left; there may be new ones."""
    before = set(record.kept["connections"])
    if not becomes(lambda: not before & set(_connections(record)), _SECONDS):
        raise Trouble(
            f"{len(before & set(_connections(record)))} of {len(before)} connections survive: "
            "this kernel cannot end them (CONFIG_INET_DIAG_DESTROY)"
        )
    return {"connections": len(before)}


def end(record: Record) -> None:
    """Nothing: who wants a connection makes a new one."""


def _connections(record: Record) -> set[str]:
    """Give those of now, each by its ends and the number of its socket."""
    shown = must("ss", "--no-header", "--extended", *_filter(record)).splitlines()
    found = set()
    for line in shown:
        words = line.split()
        found.add(" ".join([*words[3:5], *(word for word in words if word.startswith("sk:"))]))
    return found


def _filter(record: Record) -> list[str]:
    port = str(record.parameters.get("ssh_port", SSH))
    peers = " or ".join(f"dst {peer}" for peer in record.parameters["peers"])
    states = [word for state in _STATES for word in ("state", state)]
    ssh = f"sport != :{port} and dport != :{port}"
    return ["--tcp", "--numeric", *states, f"( {peers} ) and {ssh}"]

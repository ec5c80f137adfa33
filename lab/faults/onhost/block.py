"""Packets of some hosts do not arrive here: `peers`, their addresses."""

from __future__ import annotations

from typing import Any

from lab.faults.onhost import network
from lab.faults.onhost.command import start
from lab.faults.onhost.records import Record, Trouble

_ASKED = 3
"""Peers that are asked for a sign of life to see that none comes."""


def begin(record: Record) -> None:
    """Have the table of this host hold all that is on record."""
    network.apply()


def check(record: Record) -> dict[str, Any]:
    """See that no answer of a peer arrives."""
    peers: list[str] = record.parameters["peers"]
    pings = {peer: start("ping", "-c", "1", "-W", "0.2", "-q", peer) for peer in peers[:_ASKED]}
    answered = [peer for peer, ping in pings.items() if ping.wait() == 0]
    if answered:
        raise Trouble(f"{answered[0]} still answers a ping, but its packets are to be dropped")
    return {"blocked": len(peers)}


def end(record: Record) -> None:
    """Have the table hold what is left on record; it goes with the last one."""
    network.apply()

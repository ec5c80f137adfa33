"""The packets of this host, as its records want them: one nft table of our own, replaced whole.

The table is in the netdev family, at the doors of the devices that lead to the lab: before routing
and connection tracking on the way in, behind them on the way out. Whoever filters packets on this
host for reasons of their own keeps their tables, and SSH passes first of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from lab.faults.onhost import records
from lab.faults.onhost.command import must, run
from lab.faults.onhost.records import Record

TABLE = "distlab_faults"
SSH = "22"


def apply() -> None:
    """Make the table say what is on record; without anything to say, it is gone."""
    wanted = records.load()
    text = _table(wanted)
    if text:
        # One transaction: no packet finds the table half written.
        must("nft", "-f", "-", stdin=f"table netdev {TABLE}\ndelete table netdev {TABLE}\n{text}")
    elif run("nft", "list", "table", "netdev", TABLE).returncode == 0:
        must("nft", "delete", "table", "netdev", TABLE)


def devices(addresses: Iterable[str]) -> dict[str, list[str]]:
    """Give the devices that lead to the addresses, and which of them each leads to."""
    found: dict[str, list[str]] = {}
    for address in addresses:
        route = json.loads(must("ip", "-json", "route", "get", address))[0]
        found.setdefault(route["dev"], []).append(address)
    return found


def _table(wanted: Sequence[Record]) -> str:
    blocked = {
        peer for record in wanted if record.kind == "block" for peer in record.parameters["peers"]
    }
    ports = {str(record.parameters.get("ssh_port", SSH)) for record in wanted}
    chains = [
        f"""  chain in_{number} {{
    type filter hook ingress device "{device}" priority -300
    tcp dport {{ {", ".join(sorted(ports))} }} accept
    ip saddr {{ {", ".join(sorted(peers))} }} counter drop
  }}"""
        for number, (device, peers) in enumerate(devices(sorted(blocked)).items())
    ]
    return "\n".join([f"table netdev {TABLE} {{", *chains, "}"]) + "\n" if chains else ""

"""The packets of this host, as its records want them: one nft table of our own, replaced whole.

The table is in the netdev family, at the doors of the devices that lead to the lab: before routing
and connection tracking on the way in, behind them on the way out. Whoever filters packets on this
host for reasons of their own keeps their tables, and SSH passes first of all, whoever began it.

What is blocked is dropped here. What is late, lost or damaged on its way out goes to an engine: the
kernel's own (`netem`), or our process (`emulation`).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

from lab.faults.onhost import records
from lab.faults.onhost.command import must, run
from lab.faults.onhost.records import Record
from lab.faults.onhost.ways import MULTICAST, Way, effects, ways

TABLE = "distlab_faults"
SSH = "22"
_ENGINES: Mapping[str, str] = {"netem": "netem", "emulator": "emulation"}


class Engine(Protocol):
    """A module that does to packets what the ways say."""

    def apply(self, devices: Mapping[str, Sequence[Way]]) -> None:
        """Do it to what the table hands over, from now on."""

    def clear(self) -> None:
        """Have nothing of it left."""

    def first(self) -> str:
        """Give the rule that comes before those of the ways."""

    def verdict(self, way: Way, device: str) -> str:
        """Give what nft shall do with the packets of a way."""


def apply() -> None:
    """Make this host's packets fare as its records say; without any, there is no table."""
    wanted = records.load()
    late = links(wanted)
    leaving = ways_out(late)
    engine = _engine(engine_of(late)) if late else None
    if engine is not None:
        engine.apply(leaving)
    _replace(table(wanted, blocked_in(wanted), leaving, engine))
    if late:
        clear(but=engine_of(late))


def links(wanted: Iterable[Record]) -> list[Record]:
    """Give the faults of links. One without an engine was written down, and its process killed."""
    return [record for record in wanted if record.kind == "link" and "engine" in record.kept]


def clear(but: str = "") -> None:
    """Have nothing left of any engine but one."""
    for name in _ENGINES:
        if name != but:
            _engine(name).clear()


def choose(new: Record) -> str:
    """Give the name of the engine that a fault takes.

    The emulator does without the kernel's help, and without a place on the device. It is for what
    is doubled, too: today's kernels refuse a netem that does so beside any other.
    """
    from lab.faults.onhost import netem

    if effects(new).duplicate or not netem.usable(list(ways_out([new]))):
        return "emulator"
    return "netem"


def engine_of(late: Iterable[Record]) -> str:
    """Give the name of the engine for all of these: that for which netem does not do, if any."""
    return "emulator" if any(each.kept["engine"] == "emulator" for each in late) else "netem"


def ways_out(late: Sequence[Record]) -> dict[str, list[Way]]:
    """Give the ways with faults out of each device that leads to somebody whom they concern."""
    to = {address for record in late for address in record.parameters["to"]}
    led = devices(sorted(to))
    return {device: ways(late, to, broadcasts(device)) for device, to in led.items()}


def devices(addresses: Sequence[str]) -> dict[str, list[str]]:
    """Give the devices that lead to the addresses, and which of them each leads to."""
    found: dict[str, list[str]] = {}
    for route in routes(tuple(addresses)):
        found.setdefault(route["dev"], []).append(route["dst"])
    return found


@cache
def routes(addresses: tuple[str, ...]) -> list[dict[str, Any]]:
    """Give the route to each address, as ip-route(8) tells it: `dst`, `dev`, perhaps `gateway`."""
    asked = "".join(f"route get {address}\n" for address in addresses)
    return _answers(must("ip", "-json", "-batch", "-", stdin=asked)) if asked else []


@cache
def broadcasts(device: str) -> list[str]:
    """Give the addresses by which a device reaches all hosts at once."""
    shown = must(
        "ip", "-json", "route", "show", "table", "local", "type", "broadcast", "dev", device
    )
    return [*sorted({route["dst"] for route in _answers(shown)}), MULTICAST]


def blocked_in(wanted: Iterable[Record]) -> dict[str, list[str]]:
    """Give the devices where packets of somebody must not come in, and of whom."""
    peers = {
        peer for record in wanted if record.kind == "block" for peer in record.parameters["peers"]
    }
    return devices(sorted(peers))


def table(
    wanted: Iterable[Record],
    blocked: Mapping[str, Sequence[str]],
    leaving: Mapping[str, Sequence[Way]],
    engine: Engine | None,
) -> str:
    """Give nft's text of the table; nothing if it would say nothing."""
    ports = ", ".join(sorted({str(record.parameters.get("ssh_port", SSH)) for record in wanted}))
    ssh = (f"tcp dport {{ {ports} }} accept", f"tcp sport {{ {ports} }} accept")
    chains = [
        _chain(
            f"in_{place}",
            f'type filter hook ingress device "{device}" priority -300',
            *ssh,
            f"ip saddr {{ {', '.join(sorted(peers))} }} counter drop",
        )
        for place, (device, peers) in enumerate(blocked.items())
    ]
    if engine is not None:
        chains += [
            _chain(
                f"out_{place}",
                f'type filter hook egress device "{device}" priority 0',
                engine.first(),
                *ssh,
                *(
                    f"ip daddr {{ {', '.join(way.to)} }} counter {engine.verdict(way, device)}"
                    for way in ways
                ),
            )
            for place, (device, ways) in enumerate(leaving.items())
        ]
    return "\n".join([f"table netdev {TABLE} {{", *chains, "}"]) + "\n" if chains else ""


def _engine(name: str) -> Engine:
    """Give an engine; it is loaded only now, so that partitions are quick."""
    return cast("Engine", importlib.import_module(f"lab.faults.onhost.{_ENGINES[name]}"))


def _chain(name: str, *rules: str) -> str:
    body = "\n".join(f"    {rule}" for rule in rules if rule)
    return f"  chain {name} {{\n{body}\n  }}"


def _replace(text: str) -> None:
    if text:
        # One transaction: no packet finds the table half written.
        must("nft", "-f", "-", stdin=f"table netdev {TABLE}\ndelete table netdev {TABLE}\n{text}")
    elif run("nft", "list", "table", "netdev", TABLE).returncode == 0:
        must("nft", "delete", "table", "netdev", TABLE)


def _answers(text: str) -> list[dict[str, Any]]:
    """Read what `ip -json` printed: a list in each line, one for each that was asked."""
    return [answer for line in text.splitlines() for answer in json.loads(line)]

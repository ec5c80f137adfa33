"""The engine of kernels that have sch_netem: a queueing discipline of our own handle.

Our nft table gives the packets of a way the priority of a class below it, and each class holds a
netem. Packets without a fault pass it by. It stands in for the device's default discipline, which
the kernel puts back when it goes. When a fault joins or leaves a way, what it holds back is lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.faults.onhost.command import must, run
from lab.faults.onhost.ways import Effects, Way

HANDLE = "d157:"
_SCRATCH = "distlab-probe"
_DEFAULT = "0:"
"""The handle of a discipline that the kernel chose, not a person."""


def usable(devices: Sequence[str]) -> bool:
    """Whether this kernel has it, and nobody else has put a discipline on these devices."""
    roots = [found for found in disciplines() if found.get("root") and found["dev"] in devices]
    return all(found["handle"] in {_DEFAULT, HANDLE} for found in roots) and _known()


def verdict(way: Way, device: str) -> str:
    """Give what nft shall do with the packets of a way."""
    return f"meta priority set {_class(way)}"


def first() -> str:
    """Give the rule that comes before those of the ways: none."""
    return ""


def apply(devices: Mapping[str, Sequence[Way]]) -> None:
    """Have these ways on these devices; a way that was there before keeps its packets."""
    found = disciplines()
    ours = {item["dev"] for item in found if item.get("root") and item["handle"] == HANDLE}
    for device in ours - devices.keys():
        must("tc", "qdisc", "delete", "dev", device, "root")
    for device, ways in devices.items():
        there = {
            item["parent"]
            for item in found
            if item["dev"] == device and item.get("parent", "").startswith(HANDLE)
        }
        must("tc", "-batch", "-", stdin=commands(device, ways, there, new=device not in ours))


def commands(device: str, ways: Sequence[Way], there: set[str], *, new: bool) -> str:
    """Give tc's commands that bring a device from the classes that are there to these ways."""
    lines = [f"qdisc add dev {device} root handle {HANDLE} htb"] if new else []
    for way in ways:
        class_ = _class(way)
        if class_ not in there:
            # Without a bound of its own: netem's rate is the one that counts.
            bound = "rate 32gbit quantum 60000"
            lines.append(f"class add dev {device} parent {HANDLE} classid {class_} htb {bound}")
        lines.append(f"qdisc replace dev {device} parent {class_} {words(way.effects)}")
    for class_ in sorted(there - {_class(way) for way in ways}):
        lines.append(f"qdisc delete dev {device} parent {class_}")
        lines.append(f"class delete dev {device} classid {class_}")
    return "".join(f"{line}\n" for line in lines)


def clear() -> None:
    """Take ours away from all devices."""
    apply({})


def _class(way: Way) -> str:
    return f"{HANDLE}{way.number:x}"


def words(effects: Effects) -> str:
    """Give tc's words for a netem with these effects."""
    said = [f"netem limit {effects.limit}"]
    if effects.delay:
        said.append(f"delay {effects.delay * 1e6:.0f}us")
        if effects.jitter:
            said.append(f"{effects.jitter * 1e6:.0f}us")
    for name in ("loss", "duplicate", "reorder", "corrupt"):
        share = getattr(effects, name)
        if share:
            said.append(f"{name} {share * 100:.6g}%")
    if effects.rate:
        said.append(f"rate {effects.rate:.0f}bit")
    return " ".join(said)


def disciplines() -> list[dict[str, Any]]:
    """Give the queueing disciplines of all devices, as tc(8) tells them."""
    done = run("tc", "-json", "qdisc", "show")
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]") if not done.returncode else []
    return found


def _known() -> bool:
    """Try it on a device that nobody uses."""
    if Path("/sys/class/net", _SCRATCH).exists():  # of a try that was killed
        run("ip", "link", "delete", _SCRATCH)
    if run("ip", "tuntap", "add", "dev", _SCRATCH, "mode", "tap").returncode:
        return False
    try:
        return all(
            run("tc", *command.format(_SCRATCH).split()).returncode == 0
            for command in (
                "qdisc add dev {} root netem limit 1",
                f"qdisc replace dev {{}} root handle {HANDLE} htb",
                f"class add dev {{}} parent {HANDLE} classid {HANDLE}1 htb rate 1gbit",
            )
        )
    finally:
        run("ip", "link", "delete", _SCRATCH)

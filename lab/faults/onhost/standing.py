"""The links of a topology, as this host's ends of them are: no fault, and so nothing heals them.

What leaves by a device is late, lost, held back as the link says, whatever it is and whomever it is
for; faults do what they do before. It is there again after a reboot: the tools and what was asked
for stay on the disk, with a unit that applies them before anybody can log in.

The engines are those of the faults: netem, as the device's own discipline, or else an emulator
beside that of the faults, behind an nft table of its own.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.faults.onhost import netem, records
from lab.faults.onhost.command import must, run
from lab.faults.onhost.emulation import LINKS
from lab.faults.onhost.ways import EVERYTHING, Effects, Way

TABLE = "distlab_links"
HANDLE = "d158:"
HOME = Path("/var/lib/distlab")
_WANTED = HOME / "links.json"
_TOOLS = HOME / "links.pyz"
_UNIT = Path("/etc/systemd/system/distlab-links.service")
_UNIT_TEXT = f"""\
[Unit]
Description=The links of the lab's topology
After=distlab-network.service
Before=ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={sys.executable} {_TOOLS} relink

[Install]
WantedBy=multi-user.target
"""


def have(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Have these links from now on, by device; tell which engine emulates them."""
    HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    tools = Path(sys.argv[0])
    changed = (_read(_WANTED), _read(_TOOLS), _read(_UNIT)) != (
        json.dumps(wanted).encode(),
        tools.read_bytes(),
        _UNIT_TEXT.encode(),
    )
    if changed:
        shutil.copy(tools, _TOOLS)
        _UNIT.write_text(_UNIT_TEXT)
        _WANTED.write_text(json.dumps(wanted))
        must("systemctl", "enable", "--quiet", _UNIT.name)
    return again()


def again() -> dict[str, Any]:
    """Have the links that were asked for last; nothing is done to those that are there."""
    wanted = effects()
    with records.locked():
        if not wanted:
            _clear_emulator()
            _clear_netem(())
            return {"engine": "none"}
        if netem.usable(()):
            _clear_emulator()
            _netem(wanted)
            return {"engine": "netem"}
        LINKS.apply({device: [_way(of)] for device, of in wanted.items()})
        must("nft", "-f", "-", stdin=_table(wanted))
        return {"engine": "emulator"}


def effects() -> dict[str, Effects]:
    """Give what befalls all packets that leave by a device; none where no topology is."""
    wanted = json.loads(_read(_WANTED) or b"{}")
    return {device: Effects(**of) for device, of in wanted.items()}


def _way(effects: Effects) -> Way:
    return Way((EVERYTHING,), effects, 1)


def _table(wanted: Mapping[str, Effects]) -> str:
    """Give the text of the table; its chains come after those of the faults."""
    chains = "".join(
        f"  chain out_{place} {{\n"
        f'    type filter hook egress device "{device}" priority 10\n'
        f"    meta mark {LINKS.mark:#x} accept\n"
        f'    meta protocol ip counter fwd to "{LINKS.tap(device)}"\n'
        "  }\n"
        for place, device in enumerate(wanted)
    )
    return (
        f"table netdev {TABLE}\ndelete table netdev {TABLE}\ntable netdev {TABLE} {{\n{chains}}}\n"
    )


def _netem(wanted: Mapping[str, Effects]) -> None:
    _clear_netem(wanted)
    for device, of in wanted.items():
        words = netem.words(of).split()
        must("tc", "qdisc", "replace", "dev", device, "root", "handle", HANDLE, *words)


def _clear_netem(but: Mapping[str, Effects] | tuple[()]) -> None:
    for found in netem.disciplines():
        if found.get("root") and found["handle"] == HANDLE and found["dev"] not in but:
            must("tc", "qdisc", "delete", "dev", found["dev"], "root")


def _clear_emulator() -> None:
    if run("nft", "list", "table", "netdev", TABLE).returncode == 0:
        must("nft", "delete", "table", "netdev", TABLE)
    LINKS.clear()


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""

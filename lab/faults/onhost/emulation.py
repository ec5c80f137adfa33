"""The engine for kernels without sch_netem: packets take a way through a process of ours.

Our nft table forwards what leaves for an address with a fault to a TAP device, where the emulator
(`emulate`) reads it; what survives, it sends out of the real device. It is a sandboxed unit of its
own, which systemd starts again should it die; while it is away, nothing passes the ways that it
serves. The TAP devices stay meanwhile, for the table knows them by their numbers.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lab.faults.onhost.command import must, run
from lab.faults.onhost.emulate import MARK, version
from lab.faults.onhost.records import HOME, Trouble
from lab.faults.onhost.waiting import becomes
from lab.faults.onhost.ways import Way

UNIT = "distlab-emulator.service"
_TAP = "distlab"
_FILE = HOME.parent / "ways.json"
_QUEUE = 10_000
"""Frames that wait for the emulator at most; the device counts those that it drops beyond."""
_SECONDS = 5.0

_SANDBOX = (
    *("Type=notify", "NotifyAccess=main", "Restart=on-failure", "RestartSec=100ms"),
    *("StartLimitIntervalSec=0", "TimeoutStopSec=2s", "TimerSlackNSec=1us", "Nice=-10"),
    *("MemoryMax=256M", "TasksMax=4", "DynamicUser=yes", "ProtectSystem=strict"),
    *("AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW",),
    *("CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW", "NoNewPrivileges=yes"),
    *("RestrictAddressFamilies=AF_UNIX AF_PACKET AF_INET", "SystemCallFilter=@system-service"),
    *("SystemCallArchitectures=native", "DevicePolicy=closed", "DeviceAllow=/dev/net/tun rw"),
    *("ProtectHome=yes", "ProtectClock=yes", "ProtectHostname=yes", "ProtectKernelLogs=yes"),
    *("ProtectKernelModules=yes", "ProtectKernelTunables=yes", "ProtectControlGroups=yes"),
    *("ProtectProc=invisible", "RestrictNamespaces=yes", "RestrictRealtime=yes"),
    *("RestrictSUIDSGID=yes", "LockPersonality=yes", "MemoryDenyWriteExecute=yes"),
)


def tap(device: str) -> str:
    """Give the name of a device's TAP."""
    return f"{_TAP}{socket.if_nametoindex(device)}"


def verdict(way: Way, device: str) -> str:
    """Give what nft shall do with the packets of a way."""
    return f'fwd to "{tap(device)}"'


def first() -> str:
    """Give the rule that comes before those of the ways: what the emulator sends passes."""
    return f"meta mark {MARK:#x} accept"


def apply(devices: Mapping[str, Sequence[Way]]) -> None:
    """Have the emulator serve these ways, when this returns."""
    for device in devices:
        _make(tap(device), device)
    text = json.dumps(
        [
            {"device": device, "tap": tap(device), "ways": [asdict(way) for way in ways]}
            for device, ways in devices.items()
        ]
    )
    _write(text)
    if _active():
        run("systemctl", "kill", "--signal=HUP", UNIT)
        if becomes(lambda: _follows(text), _SECONDS):
            return
        clear(keep_taps=True)  # of other tools, perhaps, that were here before us
    done = run(
        *("systemd-run", "--quiet", "--collect", f"--unit={UNIT}"),
        "--description=Emulates links with faults for the lab",
        *(f"--property={line}" for line in _SANDBOX),
        *(sys.executable, sys.argv[0], "emulate", str(_FILE)),
    )
    if done.returncode or not becomes(lambda: _follows(text), _SECONDS):
        journal = run("journalctl", "--no-pager", "--lines=5", "--output=cat", "--unit", UNIT)
        clear()
        raise Trouble(f"the emulator does not start: {done.stderr.strip()} {journal.stdout}")


def clear(*, keep_taps: bool = False) -> None:
    """End the emulator; what it holds back leaves at once."""
    taps = sorted(Path("/sys/class/net").glob(f"{_TAP}[0-9]*"))
    if not taps and not _FILE.exists():
        return
    run("systemctl", "stop", UNIT)
    if keep_taps:
        return
    for path in taps:
        must("ip", "link", "delete", path.name)
    _FILE.unlink(missing_ok=True)


def _make(name: str, device: str) -> None:
    if not Path("/sys/class/net", name).exists():
        done = run("ip", "tuntap", "add", "dev", name, "mode", "tap")
        if done.returncode:
            raise Trouble(f"this host can have no TAP device: {done.stderr.strip()}")
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    mtu = Path("/sys/class/net", device, "mtu").read_text().strip()
    must("ip", "link", "set", name, "mtu", mtu, "txqueuelen", str(_QUEUE), "up")


def _write(text: str) -> None:
    """Write the file for the emulator, whose user is nobody that owns anything here."""
    for path in (_FILE.parent, Path(sys.argv[0])):
        path.chmod(0o755)
    temporary = _FILE.with_suffix(".new")
    temporary.write_text(text)
    temporary.chmod(0o644)
    temporary.replace(_FILE)


def _active() -> bool:
    return run("systemctl", "is-active", "--quiet", UNIT).returncode == 0


def _follows(text: str) -> bool:
    status = run("systemctl", "show", "--property=StatusText", "--value", UNIT).stdout
    return status.startswith(version(text))

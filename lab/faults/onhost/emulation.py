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
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lab.faults.onhost.command import must, run
from lab.faults.onhost.records import HOME, Trouble
from lab.faults.onhost.waiting import becomes
from lab.faults.onhost.ways import Way

MARK = 0xD157
"""What the emulator sends carries it, so that our nft table does not hand it back."""
UNIT = "distlab-emulator.service"
_TAP = "distlab"
_FILE = HOME.parent / "ways.json"
_QUEUE = 10_000
"""Frames that wait for the emulator at most; the device counts those that it drops beyond."""
_SECONDS = 5.0

_PUNCTUAL = ("CPUSchedulingPolicy=rr", "CPUSchedulingPriority=1")
"""So that a busy host makes no packet late; it is those who send them that wait."""
_SANDBOX = (
    *("Type=notify", "NotifyAccess=main", "Restart=on-failure", "RestartSec=100ms"),
    *("StartLimitIntervalSec=0", "TimeoutStopSec=2s", "TimerSlackNSec=1us"),
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


def version(text: str) -> str:
    """Give the word by which the unit's status says that it follows this text."""
    return f"{zlib.crc32(text.encode()):08x}"


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
    told = _FILE.exists()
    _write(text)
    if told and _active():
        run("systemctl", "kill", "--signal=HUP", UNIT)
        if becomes(lambda: _follows(text), _SECONDS):
            return
        clear(keep_taps=True)  # of other tools, perhaps, that were here before us
    # Some kernels let no group of processes be punctual (CONFIG_RT_GROUP_SCHED).
    if not (_start(*_PUNCTUAL, *_SANDBOX) or _start(*_SANDBOX)):
        journal = run("journalctl", "--no-pager", "--lines=5", "--output=cat", "--unit", UNIT)
        clear()
        raise Trouble(f"the emulator does not start: {journal.stdout.strip()}")
    if not becomes(lambda: _follows(text), _SECONDS):
        raise Trouble("the emulator has started, but not with what it was told")


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


def _start(*properties: str) -> bool:
    """Start the unit; whether it serves."""
    started = run(
        *("systemd-run", "--quiet", "--collect", f"--unit={UNIT}"),
        "--description=Emulates links with faults for the lab",
        *(f"--property={line}" for line in properties),
        *(sys.executable, sys.argv[0], "emulate", str(_FILE)),
    )
    if started.returncode:
        run("systemctl", "stop", UNIT)  # it would go on trying
    return started.returncode == 0


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

"""The engine for kernels without sch_netem: packets take a way through a process of ours.

Our nft table forwards what leaves for an address with a fault to a TAP device, where the emulator
(`emulate`) reads it; what survives, it sends out of the real device. It is a sandboxed unit of its
own, which systemd starts again should it die; while it is away, nothing passes the ways that it
serves. The TAP devices stay meanwhile, for the table knows them by their numbers.

There can be two on a host: that of the faults, which this module is, and that of a topology's
links, which stand (`standing`). A packet with a fault takes the way through both.
"""

from __future__ import annotations

import json
import socket
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.faults.onhost.command import must, run
from lab.faults.onhost.records import HOME, Trouble
from lab.faults.onhost.waiting import becomes
from lab.faults.onhost.ways import Way

_QUEUE = 10_000
"""Frames that wait for the emulator at most; the device counts those that it drops beyond."""
_SECONDS = 5.0
_TUN = Path("/dev/net/tun")

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


@dataclass(frozen=True)
class Emulation:
    """One emulator of a host: its unit, what it is told, and how its packets are known."""

    about: str
    unit: str
    stem: str
    """Its TAP devices are called so, with the number of the real device behind."""
    file: Path
    mark: int
    """What it sends carries it, so that our nft tables do not hand it back."""

    def tap(self, device: str) -> str:
        """Give the name of a device's TAP."""
        return f"{self.stem}{socket.if_nametoindex(device)}"

    def apply(self, devices: Mapping[str, Sequence[Way]]) -> None:
        """Have the emulator serve these ways, when this returns."""
        for device in devices:
            _make(self.tap(device), device)
        text = json.dumps(
            [
                {"device": device, "tap": self.tap(device), "ways": [asdict(way) for way in ways]}
                for device, ways in devices.items()
            ]
        )
        told = self.file.exists()
        _write(self.file, text)
        if told and self._active():
            run("systemctl", "kill", "--signal=HUP", self.unit)
            if becomes(lambda: self._follows(text), _SECONDS):
                return
            self.clear(keep_taps=True)  # of other tools, perhaps, that were here before us
        # Some kernels let no group of processes be punctual (CONFIG_RT_GROUP_SCHED).
        if not (self._start(*_PUNCTUAL, *_SANDBOX) or self._start(*_SANDBOX)):
            journal = run("journalctl", "--no-pager", "-n5", "--output=cat", "--unit", self.unit)
            self.clear()
            raise Trouble(f"the emulator does not start: {journal.stdout.strip()}")
        if not becomes(lambda: self._follows(text), _SECONDS):
            raise Trouble("the emulator has started, but not with what it was told")

    def clear(self, *, keep_taps: bool = False) -> None:
        """End the emulator; what it holds back leaves at once."""
        taps = sorted(Path("/sys/class/net").glob(f"{self.stem}[0-9]*"))
        if not taps and not self.file.exists():
            return
        run("systemctl", "stop", self.unit)
        if keep_taps:
            return
        for path in taps:
            must("ip", "link", "delete", path.name)
        self.file.unlink(missing_ok=True)

    def _start(self, *properties: str) -> bool:
        """Start the unit; whether it serves."""
        started = run(
            *("systemd-run", "--quiet", "--collect", f"--unit={self.unit}"),
            f"--description={self.about}",
            *(f"--property={line}" for line in properties),
            *(sys.executable, sys.argv[0], "emulate", str(self.file), str(self.mark)),
        )
        if started.returncode:
            run("systemctl", "stop", self.unit)  # it would go on trying
        return started.returncode == 0

    def _active(self) -> bool:
        return run("systemctl", "is-active", "--quiet", self.unit).returncode == 0

    def _follows(self, text: str) -> bool:
        status = run("systemctl", "show", "--property=StatusText", "--value", self.unit).stdout
        return status.startswith(version(text))


FAULTS = Emulation(
    "Emulates links with faults for the lab",
    "distlab-emulator.service",
    "distlab",
    HOME.parent / "ways.json",
    0xD157,
)
LINKS = Emulation(
    "Emulates the links of the lab's topology",
    "distlab-links-emulator.service",
    "link",
    HOME.parent / "links.json",
    0xD158,
)
apply = FAULTS.apply
clear = FAULTS.clear


def tap(device: str) -> str:
    """Give the name of a device's TAP."""
    return FAULTS.tap(device)


def verdict(way: Way, device: str) -> str:
    """Give what nft shall do with the packets of a way."""
    return f'fwd to "{tap(device)}"'


def first() -> str:
    """Give the rule that comes before those of the ways: what an emulator sends passes."""
    return f"meta mark {{ {FAULTS.mark:#x}, {LINKS.mark:#x} }} accept"


def version(text: str) -> str:
    """Give the word by which the unit's status says that it follows this text."""
    return f"{zlib.crc32(text.encode()):08x}"


def _make(name: str, device: str) -> None:
    if not Path("/sys/class/net", name).exists():
        done = run("ip", "tuntap", "add", "dev", name, "mode", "tap")
        if done.returncode:
            raise Trouble(f"this host can have no TAP device: {done.stderr.strip()}")
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    # As udev has it everywhere, for the emulator's user, who is nobody. A container's is a copy of
    # what its host had when it was started, and a host without udev has the kernel's own, 0600.
    _TUN.chmod(0o666)
    mtu = Path("/sys/class/net", device, "mtu").read_text().strip()
    must("ip", "link", "set", name, "mtu", mtu, "txqueuelen", str(_QUEUE), "up")


def _write(file: Path, text: str) -> None:
    """Write the file for the emulator, whose user is nobody that owns anything here."""
    for path in (file.parent, Path(sys.argv[0])):
        path.chmod(0o755)
    temporary = file.with_suffix(".new")
    temporary.write_text(text)
    temporary.chmod(0o644)
    temporary.replace(file)

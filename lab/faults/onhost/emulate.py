"""The emulator's own process: frames from TAP devices, through `Emulator`, out of the real ones.

    emulate FILE MARK

It runs as a unit of its own (`emulation`), and reads the file anew on SIGHUP: what is held back
stays so. On SIGTERM all of that leaves at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.faults.onhost.emulation import version
from lab.faults.onhost.emulator import Emulator
from lab.faults.onhost.ways import Effects, Way

_TUNSETIFF = 0x400454CA
_TAP, _NO_HEADER = 0x0002, 0x1000
_SO_MARK = 36
_LONGEST = 65536
_AT_ONCE = 64
"""Frames that are taken from a device before those that are due are let go."""
_TELLS = 1.0
"""Seconds between two words to systemd."""


class Gate:
    """One device: its TAP, where its frames come from, and its socket, where they go."""

    def __init__(self, device: str, tap: str, mark: int) -> None:
        """OSError if the TAP is not there, or its use is not allowed."""
        self.emulator = Emulator((), random.Random())
        self.refused = 0
        """Frames that the device would not take."""
        self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tap, _TUNSETIFF, struct.pack("16sH", tap.encode(), _TAP | _NO_HEADER))
        self._out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._out.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
        self._out.bind((device, 0))

    def take(self) -> None:
        """Take frames from the TAP."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                frame = os.read(self.tap, _LONGEST)
                self.emulator.take(time.monotonic(), frame)

    def send(self, frames: list[bytes]) -> None:
        """Send frames; one that the device refuses is lost, as on a wire."""
        for frame in frames:
            try:
                self._out.send(frame)
            except OSError:
                self.refused += 1

    def close(self) -> None:
        """Send all that is held back, and leave the devices."""
        self.send(self.emulator.release_all())
        self._out.close()
        os.close(self.tap)


class Emulation:
    """All devices of the file."""

    def __init__(self, file: Path, mark: int) -> None:
        """Nothing is read yet."""
        self._file = file
        self._mark = mark
        self.gates: dict[str, Gate] = {}
        self._version = ""
        self._told = ""

    def read(self) -> None:
        """Do what the file says now."""
        text = self._file.read_text()
        wanted = {entry["device"]: entry for entry in json.loads(text)}
        for device in self.gates.keys() - wanted.keys():
            self.gates.pop(device).close()
        for device, entry in wanted.items():
            if device not in self.gates:
                self.gates[device] = Gate(device, entry["tap"], self._mark)
            self.gates[device].emulator.change(_way(way) for way in entry["ways"])
        self._version = version(text)

    def tell(self) -> None:
        """Tell systemd that we serve, what, and how many frames are lost for want of room."""
        overflowed = sum(gate.emulator.overflowed for gate in self.gates.values())
        refused = sum(gate.refused for gate in self.gates.values())
        status = f"{self._version} {overflowed} overflowed, {refused} refused by the device"
        if status != self._told:
            self._told = status
            _notify(f"READY=1\nSTATUS={status}")

    def close(self) -> None:
        """Let everything go."""
        for gate in self.gates.values():
            gate.close()


def serve(file: Path, mark: int) -> None:
    """Emulate until SIGTERM; what is sent carries the mark."""
    with _signals() as signals:
        emulation = Emulation(file, mark)
        emulation.read()
        emulation.tell()
        tells = time.monotonic() + _TELLS
        while True:
            taps = {gate.tap: gate for gate in emulation.gates.values()}
            ready, _, _ = select.select([*taps, signals], [], [], _until(emulation, tells))
            for gate in [taps[fd] for fd in ready if fd in taps]:
                gate.take()
            now = time.monotonic()
            for gate in taps.values():
                gate.send(gate.emulator.release(now))
            if signals in ready:
                caught = os.read(signals, 64)
                if signal.SIGTERM in caught:
                    emulation.close()
                    return
                emulation.read()
                emulation.tell()
            if now >= tells:
                emulation.tell()
                tells = now + _TELLS


def _until(emulation: Emulation, tells: float) -> float:
    times = [gate.emulator.wakes for gate in emulation.gates.values()]
    soonest = min([tells, *(at for at in times if at is not None)])
    return max(0.0, soonest - time.monotonic())


def _way(entry: dict[str, Any]) -> Way:
    return Way(tuple(entry["to"]), Effects(**entry["effects"]), entry["number"])


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Give a file that has a byte for each SIGHUP and SIGTERM."""
    read, write = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(-1)
        os.close(read)
        os.close(write)


def _notify(text: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(text.encode(), address.replace("@", "\0", 1))

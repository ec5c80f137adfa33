"""Whether virtual machines can run here by KVM, or have to be emulated: tried, not guessed.

    python3 -m lab.box.kvm        prints kvm or qemu (libvirt's names), and why on standard error

/dev/kvm may be there and still run no ordinary kernel: inside a virtual machine whose hypervisor
hands on half of it, a kernel hangs before its first line. So a real kernel is started, without a
disk. One that works complains of that within a second. The answer is kept until the next boot.

The Vagrantfile asks, perhaps with a Python that has no libraries: nothing but the standard library
is used here.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEVICE = Path("/dev/kvm")
KEPT = ROOT / ".lab" / "box" / "kvm.json"
KERNELS = (
    ROOT / ".lab" / "box" / "vmlinuz",  # the box's own; see pack
    Path("/boot", f"vmlinuz-{platform.release()}"),
    Path("/vmlinuz"),
)
BOOT = Path("/proc/sys/kernel/random/boot_id")
EMULATOR = f"qemu-system-{platform.machine()}"
PATIENCE = 30.0
"""Seconds until a kernel that says nothing is given up: many times what one needs."""
ALIVE = "VFS: Unable to mount root fs"
"""What a kernel without a disk says at last."""


@dataclass(frozen=True)
class Answer:
    """How virtual machines can run here."""

    driver: str
    """`kvm` or `qemu`: libvirt's kind of domain."""
    why: str


def ask() -> Answer:
    """Give the answer that is kept from since this machine booted, or try."""
    kernel = next((path for path in KERNELS if os.access(path, os.R_OK)), None)
    key = f"{BOOT.read_text().strip()} {kernel} {os.access(DEVICE, os.R_OK | os.W_OK)}"
    try:
        kept = json.loads(KEPT.read_text())
        if kept["key"] == key:
            return Answer(kept["driver"], kept["why"])
    except (OSError, ValueError, KeyError):
        pass  # nothing is kept, or nothing that can be read: it is tried again
    answer = find_out(kernel)
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps({"key": key, "driver": answer.driver, "why": answer.why}))
    return answer


def find_out(kernel: Path | None) -> Answer:
    """Try."""
    if not DEVICE.exists():
        return Answer("qemu", f"there is no {DEVICE}")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Answer("qemu", f"{DEVICE} is not ours to open: join its group, often `kvm`")
    if kernel is None or shutil.which(EMULATOR) is None:
        return Answer("kvm", f"{DEVICE} is there, and nothing to try it with")
    return boot(kernel)


def boot(kernel: Path) -> Answer:
    """Start a kernel by KVM."""
    command = [EMULATOR, "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-no-reboot"]
    command += ["-display", "none", "-serial", "stdio", "-kernel", str(kernel)]
    command += ["-append", "console=ttyS0 panic=-1"]  # at the panic it reboots, hence ends
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer("qemu", f"{DEVICE} is there, but a kernel hangs in it")
    said = done.stdout.decode(errors="replace")
    if ALIVE in said:
        return Answer("kvm", f"{DEVICE} runs a kernel")
    last = (said.strip().splitlines() or ["nothing"])[-1]
    return Answer("qemu", f"{DEVICE} is there, but runs no kernel: {last}")


if __name__ == "__main__":
    found = ask()
    sys.stderr.write(f"{found.why}\n")
    sys.stdout.write(f"{found.driver}\n")

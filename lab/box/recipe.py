"""What the box is: its Debian packages, its files, its version.

The version is the digest of everything that decides what the box is, so a box is built once for as
long as nothing of that changes. What the roles declare is in it as in the image of the embedded
hosts: a deploy downloads nothing.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

from lab.catalogue import ROOT
from lab.errors import LabError
from lab.hosts import image

HERE = Path(__file__).parent
HOME = ROOT / ".lab" / "box"
"""Where the kernel and the version of the box are, that was built last."""
SUITE = "bookworm"
NAME = f"distlab/{SUITE}"
DISK_GIB = 8
"""What a machine may fill; an empty part takes no place."""
PARTITION_MIB = 1
"""Where the only partition begins; the boot loader lies before it."""

_MACHINES = ("x86_64",)
_PACKAGES = (
    "linux-image-cloud-amd64",  # has virtio and netem, and leaves out what is made of hardware
    "initramfs-tools",
    "lz4",  # what is packed by it is unpacked soonest
    "systemd-timesyncd",  # role lab_host wants it where there is no container
)


def packages() -> list[str]:
    """Give the Debian packages of the box, sorted."""
    declared = image.declared_packages(ROOT / "roles", SUITE)
    return sorted({*image.BASE_PACKAGES, *declared, *_PACKAGES})


def version() -> str:
    """Give the version that this recipe makes, in the form that Vagrant asks of versions."""
    files = [path for path in sorted(HERE.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    shared = sorted((image.HERE / "rootfs" / "etc" / "ssh").rglob("*.conf"))
    contents = {
        str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (*files, *shared)
        if path.name not in _NOT_IN_IT
    }
    text = json.dumps([packages(), contents], sort_keys=True)
    return f"1.{int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)}"


_NOT_IN_IT = {"__init__.py", "__main__.py", "kvm.py", "lifetime.py", "pack.py"}


def check_machine() -> None:
    """LabError if this machine is none that the box is made for."""
    if platform.machine() not in _MACHINES:
        raise LabError(
            f"the box is for {', '.join(_MACHINES)}, and this machine is {platform.machine()}",
            "take a public box of Debian 12 for it: LAB_BOX=… vagrant up (see docs/vagrant.md)",
        )

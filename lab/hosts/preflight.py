"""Can this machine run a lab? Asked before anything is touched; each answer says what to do."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.hosts import image, state
from lab.hosts.spec import LabSpec

# Tool to Debian package (Ubuntu's are called the same).
_TOOLS = {
    "ip": "iproute2",
    "setsid": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
}
_BUILD_TOOLS = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "setpriv": "util-linux"}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MIB = 1 << 20
_IMAGE_MIB = 1500
_HOST_MIB = 30
_MORE_SPACE = (
    "free some space there, or make it a link to a larger disk; "
    "`fab down --wipe` removes a lab's disks"
)


def check_controller() -> None:
    """What can be known without root: the system, and a way to become root."""
    if sys.platform != "linux":
        raise LabError(
            f"the embedded hosts need Linux, and this is {sys.platform}",
            "use Vagrant (cd here, vagrant up, then --inventory inventory/vagrant), "
            "or work in a Linux VM",
        )
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        raise LabError(
            "booting hosts needs root, and this machine has no sudo",
            "run the command as root (su -c '…'), or install sudo",
        )


def check_machine(spec: LabSpec) -> None:
    """What root can know: tools, disk space, and a kernel that can stack file systems."""
    build = not image.path(image.digest(spec.image)).exists()
    check_tools({**_TOOLS, **(_BUILD_TOOLS if build else {})}, keyring=build)
    check_space(_HOST_MIB * len(spec.hosts) + (_IMAGE_MIB if build else 0))
    check_overlay()


def check_tools(tools: dict[str, str], *, keyring: bool) -> None:
    """Every tool (with its package) is there; so is Debian's keyring if it will be needed."""
    missing = {package: tool for tool, package in tools.items() if shutil.which(tool) is None}
    if keyring and not _KEYRING.exists():
        missing["debian-archive-keyring"] = str(_KEYRING)
    if missing:
        raise LabError(
            f"this machine lacks {', '.join(missing.values())}",
            f"sudo apt-get install --no-install-recommends {' '.join(sorted(missing))}",
        )


def check_space(needed_mib: int) -> None:
    """The disk that holds the labs has so much space left."""
    free = shutil.disk_usage(state.ROOT).free // _MIB
    if free < needed_mib:
        raise LabError(
            f"{state.ROOT} has {free} MiB left; this lab needs up to {needed_mib}",
            _MORE_SPACE,
        )


@contextmanager
def disk_full_explained() -> Iterator[None]:
    """Say what is full, should it happen in spite of the check."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise LabError(f"the disk under {state.ROOT} is full: {error}", _MORE_SPACE) from error


def check_overlay() -> None:
    """Stack two directories for a moment, in a mount namespace that ends with the probe."""
    with tempfile.TemporaryDirectory(dir=state.ROOT, prefix=".probe-") as directory:
        for part in ("lower", "upper", "work", "root"):
            Path(directory, part).mkdir()
        options = ",".join(f"{part}dir={directory}/{part}" for part in ("lower", "upper", "work"))
        probe = ["mount", "-t", "overlay", "overlay", "-o", options, f"{directory}/root"]
        done = subprocess.run(
            ["unshare", "--mount", *probe], capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise LabError(
            f"this kernel cannot mount an overlay on {state.ROOT}: {done.stderr.strip()}",
            "modprobe overlay; inside a container, put a volume of a plain file system (ext4, xfs) "
            f"at {state.ROOT}",
        )

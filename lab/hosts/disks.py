"""The disk of a host: a layer of its own over the image that all hosts share.

labs/<lab>/hosts/<host>/upper/       what this host has changed
labs/<lab>/hosts/<host>/root/        an empty mount point; nspawn mounts the overlay there, in its
                                     own mount namespace, so no mount can be left behind
labs/<lab>/hosts/<host>/console.log  what the machine printed since its last boot
labs/<lab>/hosts/<host>/disk.json    what the disk was made for; written last, so a disk that
                                     lacks it was never finished and is made again
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.hosts import image, state
from lab.hosts.command import run
from lab.hosts.spec import LabSpec

LAB_UID = 1000  # finish.sh gives it to user `lab`
_HOST_KEY = "etc/ssh/ssh_host_ed25519_key"
_FORWARDS = """\
net.ipv4.ip_forward = 1
net.ipv4.conf.all.send_redirects = 0
net.ipv4.conf.default.send_redirects = 0
# Of the way past the links, which is the controller's.
net.ipv4.conf.host0.forwarding = 0
"""


@dataclass(frozen=True)
class Make:
    """What a disk was made for. Another image means another disk; the rest can be fitted."""

    image: str
    address: str
    login_key: str
    network: str = ""
    """What of the network it has beside `host0`: see `spec.Wiring`."""
    forwards: bool = False

    @classmethod
    def wanted(cls, spec: LabSpec, host: str, image_digest: str) -> Make:
        address = f"{spec.hosts[host]}/{spec.network.prefixlen}"
        wired = spec.wiring.get(host)
        if wired is None:
            return cls(image_digest, address, spec.login_key)
        return cls(image_digest, address, spec.login_key, wired.network, wired.forwards)


def path(lab: str, host: str) -> Path:
    """The directory of one host's disk."""
    return state.lab_path(lab) / "hosts" / host


def make_of(lab: str, host: str) -> Make | None:
    """What the disk was made for; None if there is none, or none that was finished."""
    try:
        return Make(**json.loads((path(lab, host) / "disk.json").read_text()))
    except FileNotFoundError:
        return None


def ready(lab: str, host: str, make: Make) -> None:
    """Make the host's disk, or fit it to a new address or key; its machine must be off."""
    disk = path(lab, host)
    known = make_of(lab, host)
    if known == make:
        return
    if known is None or known.image != make.image:
        shutil.rmtree(disk, ignore_errors=True)
        (disk / "upper").mkdir(parents=True, mode=0o755)
        # nspawn wants to see an operating system where it mounts the overlay.
        (disk / "root/etc").mkdir(parents=True)
        (disk / "root/usr").mkdir()
        (disk / "root/etc/os-release").touch()
    _Layer(disk / "upper", image.path(make.image)).seed(host, make)
    state.write_atomically(disk / "disk.json", json.dumps(asdict(make), indent=2))


def host_key(lab: str, host: str) -> str:
    """The public half of the host's SSH key: `ssh-ed25519 AAAA…`."""
    return (path(lab, host) / "upper" / f"{_HOST_KEY}.pub").read_text().strip()


def remove_leftovers(lab: str, host: str) -> None:
    """Remove the work directories that nspawns that were killed left beside the layer."""
    for leftover in path(lab, host).glob(".#upper*"):
        shutil.rmtree(leftover)


class _Layer:
    """A host's layer, to write into before it is mounted."""

    def __init__(self, upper: Path, lower: Path) -> None:
        self.upper = upper
        self.lower = lower

    def seed(self, host: str, make: Make) -> None:
        """Put in what makes this host itself: name, address, keys."""
        address = make.address.partition("/")[0]
        self._write("etc/hostname", f"{host}\n")
        self._write("etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{address} {host}\n")
        network = f"address add {make.address} dev host0\nlink set host0 up\n{make.network}"
        self._write("etc/distlab.network", network)
        if make.forwards:
            self._write("etc/sysctl.d/distlab.conf", _FORWARDS)
        self._directory(Path("home/lab/.ssh"), mode=0o700, owner=LAB_UID)
        self._write(
            "home/lab/.ssh/authorized_keys", f"{make.login_key}\n", mode=0o600, owner=LAB_UID
        )
        if not (self.upper / f"{_HOST_KEY}.pub").exists():
            self._write("etc/machine-id", f"{uuid.uuid4().hex}\n", mode=0o444)
            self._make_host_key(host)

    def _make_host_key(self, host: str) -> None:
        """ssh-keygen writes the public half last, so a key without it was never finished."""
        key = self.upper / _HOST_KEY
        self._directory(Path(_HOST_KEY).parent)
        key.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host, "-f", str(key)])

    def _write(self, name: str, text: str, mode: int = 0o644, owner: int = 0) -> None:
        self._directory(Path(name).parent)
        target = self.upper / name
        target.write_text(text)
        target.chmod(mode)
        os.chown(target, owner, owner)

    def _directory(self, name: Path, mode: int = 0o755, owner: int = 0) -> None:
        """A directory of the layer hides its namesake below, so it must look the same."""
        target = self.upper / name
        if target.exists():
            return
        self._directory(name.parent)
        target.mkdir()
        try:
            below = (self.lower / name).stat()
        except FileNotFoundError:
            os.chown(target, owner, owner)
            target.chmod(mode)
        else:
            os.chown(target, below.st_uid, below.st_gid)
            target.chmod(below.st_mode & 0o7777)

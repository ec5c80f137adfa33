"""A box of a disk: packed as vagrant-libvirt wants it, and given to Vagrant by name and version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab.box.recipe import DISK_GIB, HOME, NAME, check_machine, version
from lab.catalogue import ROOT
from lab.errors import LabError
from lab.hosts.command import run

_NEEDED_MIB = 5000
_NO_VAGRANT = "lab/bootstrap.sh vms, or install Vagrant from its makers with vagrant-libvirt"


def ensure(report: Callable[[str], None]) -> str:
    """Have Vagrant know the box of this recipe, and give its version; LabError if it cannot be."""
    check_machine()
    wanted = version()
    if known(wanted) and (HOME / "vmlinuz").exists():
        report(f"Vagrant has {NAME} {wanted}")
    else:
        HOME.mkdir(parents=True, exist_ok=True)
        check_space()
        # Nobody else may reach it: it holds programs that run as root.
        with tempfile.TemporaryDirectory(dir=HOME, prefix="partial-") as partial:
            _build(Path(partial), wanted, report)
    # What `vagrant up` reads: of several versions that Vagrant may have, this tree's is meant.
    (HOME / "version").write_text(f"{wanted}\n")
    return wanted


def known(wanted: str) -> bool:
    """Whether Vagrant has this version of the box."""
    told = run(["vagrant", "box", "list", "--machine-readable"], fix=_NO_VAGRANT)
    box = {"box-name": "", "box-provider": ""}
    for line in told.splitlines():
        _, _, key, value, *_ = f"{line},,,".split(",")
        box[key] = value
        if key == "box-version" and box["box-name"] == NAME and value == wanted:
            return True
    return False


def check_space() -> None:
    """LabError if the disk has no room for the box while it is made."""
    free = shutil.disk_usage(HOME).free >> 20
    if free < _NEEDED_MIB:
        raise LabError(
            f"{HOME} has {free} MiB left; making the box takes up to {_NEEDED_MIB}",
            "free some space there, or make it a link to a larger disk",
        )


def _build(partial: Path, wanted: str, report: Callable[[str], None]) -> None:
    """Build the box in a directory, have Vagrant take it, and keep its kernel."""
    report(f"building {NAME} {wanted} (once; a few minutes)")
    become = [] if os.geteuid() == 0 else ["sudo", "--preserve-env=http_proxy,https_proxy,no_proxy"]
    made = subprocess.run(
        [*become, sys.executable, "-m", "lab.box.disk", str(partial)], cwd=ROOT, check=False
    )
    if made.returncode:
        raise LabError("the box's disk was not made", "see above, mend it, and: make box")
    report("packing it")
    image, disk = partial / "box.img", partial / "disk.raw"
    squeezed = ["-c", "-o", "compression_type=zstd"]
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *squeezed, str(disk), str(image)])
    disk.unlink()
    box = _packed(partial, image)
    described = _described(partial, box, wanted)
    image.unlink()
    report("Vagrant takes it")
    run(["vagrant", "box", "add", "--force", "--provider", "libvirt", str(described)])
    (partial / "vmlinuz").replace(HOME / "vmlinuz")


def _packed(directory: Path, image: Path) -> Path:
    """Give the box's archive; the image is squeezed already."""
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK_GIB}
    (directory / "metadata.json").write_text(json.dumps(metadata))
    box = directory / "distlab.box"
    with tarfile.open(box, "w") as tar:
        for path in (directory / "metadata.json", image):
            tar.add(path, path.name)
    return box


def _described(directory: Path, box: Path, wanted: str) -> Path:
    """Give what tells Vagrant the box's name and version, which an archive cannot."""
    provider = {"name": "libvirt", "url": box.as_uri()}
    catalogue = {
        "name": NAME,
        "description": "Debian as distlab's roles want it",
        "versions": [{"version": wanted, "providers": [provider]}],
    }
    described = directory / "box.json"
    described.write_text(json.dumps(catalogue))
    return described

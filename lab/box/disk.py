"""The disk of the box: a partition with a Debian that boots. This part needs root.

    python -m lab.box.disk DIRECTORY

makes `disk.raw` and `vmlinuz` in a directory. Nothing is mounted and no loop device is needed: the
file system is filled by mke2fs itself, and GRUB is laid before the partition as its own tools would
lay it: the first sector loads what begins at the second.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from lab.box.recipe import DISK_GIB, HERE, PARTITION_MIB, SUITE, packages
from lab.errors import LabError
from lab.hosts import image
from lab.hosts.command import run

_GRUB = Path("/usr/lib/grub/i386-pc")
_GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "linux", "boot")
_SECTOR = 512
_BOOT_CODE = 440
"""Bytes of the first sector that are the boot loader's; the partition table follows."""
_SIZE = DISK_GIB << 30
_OFFSET = PARTITION_MIB << 20


def main() -> None:
    """Make the disk, and leave nothing else."""
    directory = Path(sys.argv[1])
    root = directory / "root"
    try:
        system(root)
        disk = directory / "disk.raw"
        partition(disk)
        file_system(disk, root)
        boot_loader(disk, directory / "core.img")
        shutil.copy(root / "vmlinuz", directory / "vmlinuz")
    except LabError as error:
        sys.exit(f"error: {error}")
    finally:
        # Also after Ctrl-C: what is root's, whoever asked for the box could not remove.
        shutil.rmtree(root, ignore_errors=True)  # it may not have come so far
    owner = directory.stat()
    for made in directory.iterdir():
        os.chown(made, owner.st_uid, owner.st_gid)


def system(root: Path) -> None:
    """Put the box's Debian into a directory."""
    image.bootstrap(SUITE, packages(), root, finish=HERE / "finish.sh", report=tell)


def partition(disk: Path) -> None:
    """Make the disk's file, with one partition that BIOSes may boot."""
    with disk.open("wb") as file:
        file.truncate(_SIZE)
    start = _OFFSET // _SECTOR
    run(["sfdisk", "--quiet", "--no-reread", str(disk)], stdin=f"label: dos\n{start},,L,*\n")


def file_system(disk: Path, root: Path) -> None:
    """Make the partition's file system of what is in a directory."""
    tell("writing the file system")
    # A new file is full of zeros: no machine has to write them once more in its first minutes.
    extended = f"offset={_OFFSET},assume_storage_prezeroed=1,nodiscard"
    made = ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-E", extended, "-d", str(root)]
    run([*made, str(disk), f"{(_SIZE - _OFFSET) >> 10}k"])


def boot_loader(disk: Path, core: Path) -> None:
    """Lay GRUB between the disk's first sector and its partition."""
    made = ["grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot", "-o", str(core)]
    run([*made, "-c", str(HERE / "grub.cfg"), *_GRUB_MODULES])
    loader = core.read_bytes()
    core.unlink()
    if _SECTOR + len(loader) > _OFFSET:
        raise LabError(f"GRUB takes {len(loader)} bytes, and there is room for {_OFFSET - _SECTOR}")
    with disk.open("r+b") as file:
        file.write((_GRUB / "boot.img").read_bytes()[:_BOOT_CODE])
        file.seek(_SECTOR)
        file.write(loader)


def tell(line: str) -> None:
    """Show progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""Where root keeps the labs on this machine, whose each lab is, and the locks.

    /var/lib/distlab/images/<digest>/            a Debian root, never written to after it is built
    /var/lib/distlab/labs/<lab>/lab.json         whose lab it is, its subnet and its image
    /var/lib/distlab/labs/<lab>/hosts/<host>/    the host's disk
    /var/lib/distlab/locks/<name>                flocks; never removed, as removing one is a race

Nothing here says what runs: that is read from the kernel each time (see machines.py).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError

ROOT = Path("/var/lib/distlab")
IMAGES = ROOT / "images"
LABS = ROOT / "labs"
LOCKS = ROOT / "locks"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Record:
    """What is known of a lab beyond what runs."""

    directory: str
    """The `.lab/<lab>` of the checkout that owns the lab."""
    subnet: str
    image: str
    """Digest of the image that its disks stand on."""


def prepare() -> None:
    """Make the directories. Images hold set-uid programs: nobody but root may reach them."""
    for directory in (ROOT, IMAGES, LABS, LOCKS):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def locked(name: str, report: Report) -> Iterator[int]:
    """Hold the lock `name`, waiting for whoever has it; gives its file descriptor."""
    descriptor = os.open(LOCKS / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another command that works on {name}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def lab_path(lab: str) -> Path:
    """Everything that is kept of one lab."""
    return LABS / lab


def record(lab: str) -> Record | None:
    """What was recorded of the lab, None if there is no such lab."""
    try:
        return Record(**json.loads((lab_path(lab) / "lab.json").read_text()))
    except FileNotFoundError:
        return None


def records() -> dict[str, Record]:
    """What is recorded of every lab on this machine, by name."""
    known = {lab.name: record(lab.name) for lab in LABS.iterdir()}
    return {name: one for name, one in known.items() if one}


def images_in_use() -> set[str]:
    """Digests of the images that labs are about to boot, or that disks stand on."""
    stood_on = {
        str(json.loads(made.read_text())["image"]) for made in LABS.glob("*/hosts/*/disk.json")
    }
    return stood_on | {known.image for known in records().values()}


def write_record(lab: str, new: Record) -> None:
    """Record the lab, in one step."""
    lab_path(lab).mkdir(mode=0o700, exist_ok=True)
    write_atomically(lab_path(lab) / "lab.json", json.dumps(asdict(new), indent=2))


def write_atomically(path: Path, text: str) -> None:
    """`path` holds the old text or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def refuse_foreign(lab: str, directory: str) -> None:
    """LabError if another checkout, which still exists, owns the lab."""
    known = record(lab)
    if known and known.directory != directory and Path(known.directory).exists():
        raise LabError(
            f"a lab called {lab} on this machine belongs to {Path(known.directory).parent.parent}",
            f"give this one another lab_name (and lab_subnet), "
            f"or remove that one: fab down --wipe in {Path(known.directory).parent.parent}",
        )

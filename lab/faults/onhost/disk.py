"""A unit's state directory on a bad disk: `unit`, `full`, `free`, `delay`, `forgets`, `binding`.

The disk is a file system of ours (`passthrough`), mounted over the directory by a process in a
transient unit (`diskd`). The unit is stopped while it is mounted and unmounted, for a process
keeps what it has open. `free` bytes are counted from the mounting on: what the unit writes when it
starts is among them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from lab.faults.onhost import diskd, records
from lab.faults.onhost.command import must, run
from lab.faults.onhost.records import Record, Trouble
from lab.faults.onhost.units import processes, show, state
from lab.faults.onhost.waiting import becomes

_SECONDS = 10.0
_PROBE = ".distlab-probe"
_FAR = 2**40
"""Bytes: further than any disk of a test has room for."""
_STEADY = 3.0
"""Seconds after which a unit that keeps failing to start is believed to be unable to."""

_CAPABILITIES = "CAP_SYS_ADMIN CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_MKNOD"
_SANDBOX = (
    # No namespace of mounts: the host is to see this one.
    "Type=notify",
    f"CapabilityBoundingSet={_CAPABILITIES}",
    "NoNewPrivileges=yes",
    "RestrictAddressFamilies=AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    "IPAddressDeny=any",
    "DevicePolicy=closed",
    "DeviceAllow=/dev/fuse rw",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service @mount",
    "SystemCallErrorNumber=EPERM",
    "MemoryMax=512M",
    "TasksMax=64",
    "TimeoutStopSec=10",
)


def begin(record: Record) -> None:
    """Stop the unit, mount, and start it again."""
    unit = record.parameters["unit"]
    if not Path("/dev/fuse").exists():
        raise Trouble(
            "this host has no /dev/fuse, so no disk of it can be bad: load the module fuse; a "
            "local host has it if the machine that boots it does: `fab down` and `fab up`"
        )
    if any(other.id != record.id for other in _of(unit)):
        raise Trouble(f"{unit} is on a bad disk already: heal that fault first")
    running = show(unit, "ActiveState")["ActiveState"]
    if running != "active":
        raise Trouble(f"{unit} is {running}, so it cannot be moved onto a bad disk")
    record.kept["directory"] = _directory(unit)
    record.kept["stopped"] = True
    record.save()
    must("systemctl", "stop", unit)
    _mount(record)
    # If it cannot start on a full disk, that is what there is to be seen: no trouble of ours.
    started = run("systemctl", "start", unit).returncode == 0
    if not started and not record.parameters["full"]:
        raise Trouble(f"{unit} does not start on its disk: its journal tells why")
    record.kept["stopped"] = False


def check(record: Record) -> dict[str, Any]:
    """See as root, through the mount, that the disk is as bad as it shall be."""
    wanted = record.parameters
    unit = wanted["unit"]
    figures: dict[str, Any] = {}
    if wanted["full"]:
        figures["left"] = _refuses_writes(record)
    if wanted["delay"]:
        figures["delay"] = _delays(record)
    if wanted["forgets"]:
        _keeps_unsynced(record)
    ready = becomes(lambda: show(unit, "ActiveState")["ActiveState"] == "active", _STEADY)
    if not ready and not wanted["full"]:
        raise Trouble(f"{unit} does not stay up on its disk: its journal tells why")
    return {**figures, "ready": ready}


def end(record: Record) -> None:
    """Lift the limits at once; then stop the unit, unmount, and start it again if it ran."""
    unit = record.parameters["unit"]
    directory = record.kept.get("directory")
    if directory is None:  # it never came to act
        return
    with contextlib.suppress(OSError):  # its process is gone, and with it what it had not synced
        diskd.ask(_socket(unit), "mend")
    runs = record.kept["stopped"] or show(unit, "ActiveState")["ActiveState"] != "inactive"
    if runs:
        must("systemctl", "stop", unit)
    _unmount(unit, directory)
    if runs:
        run("systemctl", "reset-failed", unit)
        must("systemctl", "start", unit)


def forget(unit: str) -> int:
    """Have the unit's disk, if it forgets, lose what is not synced; the bytes.

    The unit stands still from now on, for it is about to be killed: it cannot write any more.
    """
    if not any(record.parameters["forgets"] for record in _of(unit)):
        return 0
    must("systemctl", "kill", "--kill-whom=all", "--signal=STOP", unit)
    if not becomes(lambda: {state(one) for one in processes(unit)} <= {"T", "Z", ""}, _SECONDS):
        must("systemctl", "kill", "--kill-whom=all", "--signal=CONT", unit)
        raise Trouble(f"processes of {unit} do not stand still, so its disk cannot forget")
    try:
        return int(diskd.ask(_socket(unit), "forget"))
    except OSError:  # the disk's process died, and forgot everything
        return 0


def _of(unit: str) -> list[Record]:
    return [
        record
        for record in records.load()
        if record.kind == "disk" and record.parameters["unit"] == unit
    ]


def _directory(unit: str) -> str:
    """Give the directory itself: with DynamicUser= its name is a link to it."""
    name = show(unit, "StateDirectory")["StateDirectory"].split(" ")[0]
    if not name:
        raise Trouble(f"{unit} keeps no state: it has no StateDirectory=")
    return str(Path("/var/lib", name).resolve(strict=True))


def _mount(record: Record) -> None:
    wanted = {**record.parameters, "directory": record.kept["directory"]}
    unit = wanted["unit"]
    options = json.dumps({**wanted, "socket": str(_socket(unit))})
    properties = [f"--property={one}" for one in _SANDBOX]
    begun = time.time()
    started = run(
        *("systemd-run", "--quiet", "--collect", f"--unit={_daemon(unit)}", *properties),
        f"--description=The disk of {unit}, as bad as the lab's fault {record.id} wants it",
        *(sys.executable, sys.argv[0], "disk", options),
    )
    if started.returncode:
        query = ("journalctl", "--quiet", "--output=cat", f"--unit={_daemon(unit)}")
        said = run(*query, f"--since=@{begun:.6f}").stdout.strip().splitlines()
        raise Trouble(
            f"no disk can be mounted for {unit}: {started.stderr.strip()}\n"
            + "\n".join(said[-6:])
            + "\nThe host needs libfuse 3 (Debian's libfuse3-3): `fab deploy` installs it"
        )


def _unmount(unit: str, directory: str) -> None:
    """End the disk's process, which unmounts; do so for one that died, and those below it too."""
    run("systemctl", "stop", _daemon(unit))
    while _mounted(directory):
        must("umount", "--lazy", directory)
    _socket(unit).unlink(missing_ok=True)


def _mounted(directory: str) -> bool:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(
        line.split()[4] == directory and f" {diskd.NAME} " in line.partition(" - ")[2]
        for line in mounts
    )


def _daemon(unit: str) -> str:
    return f"distlab-disk-{unit.partition('.')[0]}.service"


def _socket(unit: str) -> Path:
    return records.HOME.parent / f"disk-{unit.partition('.')[0]}.socket"


def _refuses_writes(record: Record) -> float:
    """See that there is no room far out; give what there is, in bytes."""
    left: float = diskd.ask(_socket(record.parameters["unit"]), "state")["left"]
    try:
        with _Probe(record) as (probe, _):
            os.pwrite(probe, b"x", _FAR)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return left
        raise Trouble(f"a write to the full disk fails as none does: {error}") from error
    raise Trouble("a write succeeds for which the disk has no room")


def _delays(record: Record) -> float:
    """Give what a write and a flush take each, in seconds."""
    with _Probe(record) as (probe, _):
        begun = time.monotonic()
        os.pwrite(probe, b"x", 0)
        os.fsync(probe)
        took = (time.monotonic() - begun) / 2
    if took < record.parameters["delay"]:
        raise Trouble(f"a write takes {took:.4f} s: not as long as it shall")
    return round(took, 4)


def _keeps_unsynced(record: Record) -> None:
    """See that what is not synced can be read, and is not in the directory below."""
    with _Probe(record) as (probe, below):
        os.pwrite(probe, b"x", 0)
        if os.pread(probe, 1, 0) != b"x":
            raise Trouble("what is written to the disk that forgets cannot be read")
        if below.stat().st_size:
            raise Trouble("what was not synced is on the disk all the same")


class _Probe:
    """A file on the bad disk, to try it with, and its path below; gone in the end."""

    def __init__(self, record: Record) -> None:
        unit = record.parameters["unit"]
        self._path = Path(record.kept["directory"], _PROBE)
        root = diskd.ask(_socket(unit), "state")["root"]
        process = show(_daemon(unit), "MainPID")["MainPID"]
        self._below = Path(f"/proc/{process}/fd/{root}/{_PROBE}")

    def __enter__(self) -> tuple[int, Path]:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        return self._file, self._below

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        self._path.unlink(missing_ok=True)

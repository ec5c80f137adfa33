"""A unit's wall clock is wrong: `unit`, `offset`, `drift`, `library`, `machine`.

libfaketime is loaded into the unit's processes, by a drop-in below /run; no other process of the
host sees it. The monotonic clock stays true, and with it the watchdog. The unit is restarted into
the wrong clock, and out of it. Of several such faults of a unit the last one counts.

Every line that it writes meanwhile is marked in the journal (`MARK`): what it says of the time is
not to be believed, what journald says of it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab.faults.onhost import records
from lab.faults.onhost.command import must, run
from lab.faults.onhost.records import Record, Trouble
from lab.faults.onhost.units import processes, show

MARK = ".wrong-clock"
"""What the journal's SYSLOG_IDENTIFIER of a line ends with that was written by a wrong clock."""
_LAG = 1.0
"""Seconds that a line may take to the journal."""
_NEAR = 0.05
"""Seconds, or seconds a second, by which a clock may differ from how wrong it shall be."""
_READ = """
import time
def beside(): return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
first = beside(), time.clock_gettime(time.CLOCK_BOOTTIME)
time.sleep(0.2)
print(first[0], (beside() - first[0]) / (time.clock_gettime(time.CLOCK_BOOTTIME) - first[1]))
"""


def begin(record: Record) -> None:
    """Restart the unit into the wrong clock."""
    unit, machine = record.parameters["unit"], record.parameters["machine"]
    here = os.uname().machine
    if machine != here:
        raise Trouble(
            f"this host is of type {here}, and the library that turns clocks was built for "
            f"{machine}, as your machine is: inject clock faults from a machine of this type"
        )
    running = show(unit, "ActiveState")["ActiveState"]
    if running != "active":
        raise Trouble(f"{unit} is {running}, so its clock cannot be turned")
    record.kept["stopped"] = True
    record.save()
    _apply(unit, stopped=True)
    record.kept["stopped"] = False


def check(record: Record) -> dict[str, Any]:
    """Read the clock of the unit: by what it says itself, and by a process like its own."""
    unit, wanted = record.parameters["unit"], record.parameters
    strangers = [process for process in processes(unit) if not _loaded(process, wanted["library"])]
    if strangers or not processes(unit):
        raise Trouble(
            f"processes {strangers} of {unit} run without the library that turns their clock: "
            "they are linked statically, or their C library is older than your machine's "
            "(the unit's journal tells)"
        )
    offset, drift = _beside(unit)
    if abs(offset - wanted["offset"]) > _NEAR or abs(drift - wanted["drift"]) > _NEAR:
        raise Trouble(
            f"the clock of {unit} is {offset:.3f} s off and drifts by {drift:.4f}, not "
            f"{wanted['offset']:.3f} s and {wanted['drift']:.4f}"
        )
    said = _said(unit)
    drifted = abs(wanted["drift"]) * (time.time() - record.since)
    if said is not None and abs(said - wanted["offset"]) > _LAG + drifted:
        raise Trouble(f"{unit} itself says a time that is {said:.3f} s off")
    return {"offset": round(offset, 3), "drift": round(drift, 4) + 0.0}  # no -0.0


def end(record: Record) -> None:
    """Restart the unit into the clock that is left on record, or the true one."""
    _apply(record.parameters["unit"], stopped=record.kept.get("stopped", False))


def _apply(unit: str, *, stopped: bool) -> None:
    """Have the unit run by the clock that the last record wants; `stopped`: and start it for sure.

    It is stopped before its mark changes, so that the mark is on what the wrong clock wrote alone.
    """
    wanted = [
        record
        for record in records.load()
        if record.kind == "clock" and record.parameters["unit"] == unit
    ]
    path = Path(f"/run/systemd/system/{unit}.d/distlab-clock.conf")
    text = _drop_in(wanted[-1]) if wanted else ""
    if text == (path.read_text() if path.exists() else "") and not stopped:
        return
    runs = stopped or show(unit, "ActiveState")["ActiveState"] != "inactive"
    if runs:
        must("systemctl", "stop", unit)
    if text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    else:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's drop-in is in there
            path.parent.rmdir()
    must("systemctl", "daemon-reload")
    if runs:
        run("systemctl", "reset-failed", unit)
        must("systemctl", "start", unit)


def _drop_in(record: Record) -> str:
    wanted = record.parameters
    rate = f" x{1 + wanted['drift']:.9f}" if wanted["drift"] else ""
    return f"""# The fault {record.id} of the lab; `fab heal` removes it.
[Service]
Environment=LD_PRELOAD={wanted["library"]}
Environment="FAKETIME={wanted["offset"]:+.6f}{rate}"
Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_FORCE_MONOTONIC_FIX=0 NO_FAKE_STAT=1
SyslogIdentifier=%p{MARK}
"""


def _loaded(process: int, library: str) -> bool:
    try:
        return library in Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return True  # it ended meanwhile


def _beside(unit: str) -> tuple[float, float]:
    """Give offset and drift that a process with the unit's environment sees."""
    main = show(unit, "MainPID")["MainPID"]
    variables = Path(f"/proc/{main}/environ").read_bytes().decode(errors="replace").split("\0")
    pairs = dict(variable.split("=", 1) for variable in variables if "=" in variable)
    faked = {name: value for name, value in pairs.items() if "FAKE" in name or name == "LD_PRELOAD"}
    done = subprocess.run(
        [sys.executable, "-c", _READ], env=faked, capture_output=True, text=True, check=False
    )
    try:
        wall, drift = map(float, done.stdout.split())
    except ValueError:
        raise Trouble(f"no process can run with a wrong clock here: {done.stderr}") from None
    return wall - (time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)), drift


def _said(unit: str) -> float | None:
    """Give how far the first event since the unit's start is off; None if it writes no events."""
    invocation = show(unit, "InvocationID")["InvocationID"]
    run("journalctl", "--sync")
    lines = must(
        *("journalctl", "--quiet", "--output=json", "--output-fields=MESSAGE"),
        f"_SYSTEMD_INVOCATION_ID={invocation}",
    )
    for line in lines.splitlines():
        entry = json.loads(line)
        try:
            said = float(json.loads(entry["MESSAGE"])["t"])
        except (KeyError, TypeError, ValueError):
            continue
        return said - int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    return None

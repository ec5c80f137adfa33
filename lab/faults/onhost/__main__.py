"""What the controller, and the host's own timers, ask for; one JSON object is the answer.

inject ORDER     a record as JSON, without what this host adds
heal [ID …]      the named faults, or all
list             the records
disk OPTIONS     be a bad disk, until SIGTERM
links EFFECTS    have these standing links, by device, also after a reboot
relink           have those that were asked for last
emulate FILE N   be the emulator of the links in the file, until SIGTERM; its packets have mark N
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.faults.onhost import records
from lab.faults.onhost.command import must, run
from lab.faults.onhost.kinds import kind
from lab.faults.onhost.records import Record, Trouble

MOMENTS = ("kill", "reset")
"""Kinds that are over at once: nothing is to be healed."""


def inject(order: dict[str, Any]) -> dict[str, Any]:
    """Write the fault down, arm its end, bring it about, and measure it; undo it if it fails."""
    record = Record(**order)
    module = kind(record.kind)
    with records.locked():
        if record.kind in MOMENTS:
            module.begin(record)
            return {"measured": module.check(record)}
        record.save()
        try:
            _arm(record)
            module.begin(record)
            record.save()
            return {"measured": module.check(record)}
        except BaseException:
            _heal(record)
            raise


def heal(wanted: list[str]) -> dict[str, Any]:
    """Undo the faults, the last one first; what cannot be undone stays on record and is told."""
    healed, failed = [], {}
    with records.locked():
        for record in reversed(records.known()):
            if wanted and record.id not in wanted:
                continue
            try:
                _heal(record)
            except Trouble as trouble:
                failed[record.id] = str(trouble)
            else:
                healed.append(record.id)
    if failed:
        raise Trouble("; ".join(f"{id_}: {why}" for id_, why in failed.items()))
    return {"healed": healed}


def _heal(record: Record) -> None:
    record.ending = True
    record.save()
    kind(record.kind).end(record)
    record.forget()
    run("systemctl", "stop", f"{_timer(record)}.timer")


def _arm(record: Record) -> None:
    must(
        *("systemd-run", "--quiet", "--collect", f"--unit={_timer(record)}"),
        *(f"--on-active={record.seconds:.3f}s", "--timer-property=AccuracySec=50ms"),
        f"--description=Heals the fault {record.id} of the lab",
        *("--property=Restart=on-failure", "--property=RestartSec=1s"),
        *(sys.executable, sys.argv[0], "heal", record.id),
    )


def _timer(record: Record) -> str:
    return f"distlab-heal-{record.id}"


def main(arguments: list[str]) -> int:
    """Do what is asked for; 0 if it was done."""
    # A controller that goes away must not stop us half way: its SSH server would hang up on us.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        match arguments:
            case ["inject", order]:
                answer = inject(json.loads(order))
            case ["heal", *wanted]:
                answer = heal(wanted)
            case ["list"]:
                answer = {"faults": [asdict(record) for record in records.known()]}
            case ["disk", options]:
                from lab.faults.onhost.diskd import serve as be_disk

                be_disk(json.loads(options))
                return 0
            case ["links", effects]:
                from lab.faults.onhost import standing

                answer = standing.have(json.loads(effects))
            case ["relink"]:
                from lab.faults.onhost import standing

                answer = standing.again()
            case ["emulate", file, mark]:
                from lab.faults.onhost.emulate import serve

                serve(Path(file), int(mark))
                return 0
            case _:
                raise Trouble(f"what is {' '.join(arguments)}?\n{__doc__}")
    except Trouble as trouble:
        print(json.dumps({"trouble": str(trouble)}))
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

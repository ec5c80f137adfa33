"""What needs root, behind one door: a request in, reports and a result out.

Run as root it is called in-process. Otherwise the unprivileged side starts `sudo python -m
lab.hosts.privileged` with one JSON object on standard input, `{"verb": …, "spec": …,
"options": …}`, and reads JSON lines: any number of `{"report": …}`, then `{"result": …}` or
`{"error": …, "fix": …}`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

from lab.errors import LabError
from lab.hosts import disks, image, machines, network, preflight, readiness, state
from lab.hosts.disks import Make
from lab.hosts.spec import LabSpec
from lab.hosts.state import Report

# A host answers in a second or so; a machine that does fifty other things may take longer.
_BOOT_SECONDS = 60.0


def up(spec: LabSpec, report: Report) -> dict[str, str]:
    """Every host of the lab runs as the spec says and answers over SSH. Their public host keys."""
    state.prepare()
    with state.locked(spec.lab, report) as lock:
        state.refuse_foreign(spec.lab, spec.directory)
        preflight.check_machine(spec)
        _leave_old_subnet(spec, report)
        made = _image(spec, report)
        network.up(spec)
        _boot_all(spec, made, lock, report)
        _wait(spec, list(spec.hosts), report)
        return {host: disks.host_key(spec.lab, host) for host in spec.hosts}


def down(spec: LabSpec, report: Report, *, wipe: bool = False) -> list[str]:
    """No machine of the lab runs and its bridge is gone; with `wipe`, nothing of it is left."""
    state.prepare()
    with state.locked(spec.lab, report):
        state.refuse_foreign(spec.lab, spec.directory)
        stopped = machines.halt(spec.lab)
        if stopped:
            report(f"stopped {', '.join(stopped)}")
        machines.tidy(spec.lab)
        network.down(spec.bridge)
        if wipe:
            network.remove_guard(spec.subnet)
            shutil.rmtree(state.lab_path(spec.lab), ignore_errors=True)
        return stopped


def boot(spec: LabSpec, report: Report, *, host: str) -> dict[str, str]:
    """The one host runs and answers over SSH; the lab is up otherwise. Its public host key."""
    state.prepare()
    with state.locked(spec.lab, report) as lock:
        state.refuse_foreign(spec.lab, spec.directory)
        if host not in machines.running(spec.lab):
            machines.boot(spec, host, lock)
        _wait(spec, [host], report)
        return {host: disks.host_key(spec.lab, host)}


def power_off(spec: LabSpec, report: Report, *, host: str) -> list[str]:
    """The one host has lost power: every process gone at once, with no goodbye."""
    state.prepare()
    with state.locked(spec.lab, report):
        state.refuse_foreign(spec.lab, spec.directory)
        return machines.cut(spec.lab, [host])


def _leave_old_subnet(spec: LabSpec, report: Report) -> None:
    """If the inventory has moved the lab to another subnet, the old network goes first."""
    known = state.record(spec.lab)
    if known and known.subnet != spec.subnet:
        report(f"moving lab {spec.lab} from {known.subnet} to {spec.subnet}")
        machines.halt(spec.lab)
        network.down(spec.bridge)
        network.remove_guard(known.subnet)


def _image(spec: LabSpec, report: Report) -> str:
    """The image is there and recorded as in use, in one step, so that nobody removes it."""
    with state.locked("images", report) as lock:
        digest = image.ensure(spec.image, lock, report)
        state.write_record(spec.lab, state.Record(spec.directory, spec.subnet, digest))
    return digest


def _boot_all(spec: LabSpec, image_digest: str, lock: int, report: Report) -> None:
    """Start what is off, restart what is not as the spec wants it, stop what the spec lacks."""
    running = machines.running(spec.lab)
    wanted = {host: Make.wanted(spec, host, image_digest) for host in spec.hosts}
    changed = [
        host
        for host in running
        if host not in wanted or disks.make_of(spec.lab, host) != wanted[host]
    ]
    if changed:
        report(f"stopping what the inventory or the image has changed: {', '.join(changed)}")
        machines.halt(spec.lab, changed)
    off = [host for host in spec.hosts if host not in running or host in changed]
    if off:
        report(f"booting {len(off)} of {len(spec.hosts)} hosts")
    for host in off:
        disks.ready(spec.lab, host, wanted[host])
        machines.boot(spec, host, lock)


def _wait(spec: LabSpec, hosts: list[str], report: Report) -> None:
    """Wait until the hosts answer over SSH; LabError with the console of one that does not."""
    answered: list[str] = []

    def arrived(host: str) -> None:
        answered.append(host)
        if len(answered) % 10 == 0 and len(answered) < len(hosts):
            report(f"  {len(answered)} of {len(hosts)} answer over SSH")

    failed = asyncio.run(
        readiness.wait(
            {host: spec.hosts[host] for host in hosts},
            _BOOT_SECONDS,
            dead=lambda: set(hosts) - set(machines.running(spec.lab)),
            arrived=arrived,
        )
    )
    if failed:
        host, why = next(iter(failed.items()))
        error = machines.did_not_come_up(spec.lab, host, why)
        others = [other for other in failed if other != host]
        more = f"\nNor did {', '.join(others)}." if others else ""
        raise LabError(error.what + more, error.fix)
    report(f"{len(hosts)} hosts answer over SSH")


VERBS: Mapping[str, Callable[..., Any]] = {
    "up": up,
    "down": down,
    "boot": boot,
    "power_off": power_off,
}


def main() -> None:
    """Serve one request from standard input."""

    def tell(**message: object) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    try:
        request = json.load(sys.stdin)
        spec = LabSpec.from_json(request["spec"])
        verb = VERBS[request["verb"]]
        result = verb(spec, lambda text: tell(report=text), **request["options"])
    except LabError as error:
        tell(error=error.what, fix=error.fix)
        sys.exit(2)
    tell(result=result)


if __name__ == "__main__":
    main()

"""What needs root, behind one door: a request in, reports and a result out.

Run as root it is called in-process. Otherwise the unprivileged side starts `sudo python -m
lab.hosts.privileged` with one JSON object on standard input, `{"verb": …, "spec": …,
"options": …}`, and reads JSON lines: any number of `{"report": …}`, then `{"result": …}` or
`{"error": …, "fix": …}`.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lab.errors import LabError
from lab.hosts import disks, image, machines, network, preflight, state
from lab.hosts.disks import Make
from lab.hosts.spec import LabSpec
from lab.hosts.state import Report


@contextmanager
def _holding(spec: LabSpec, report: Report) -> Iterator[int]:
    """Hold the lab: no other command works on it, and no other checkout owns it."""
    state.prepare()
    with preflight.disk_full_explained(), state.locked(spec.lab, report) as lock:
        state.refuse_foreign(spec.lab, spec.directory)
        yield lock


def up(spec: LabSpec, report: Report) -> dict[str, str]:
    """Every host of the lab has been started as the spec says. Their public host keys."""
    with _holding(spec, report) as lock:
        preflight.check_machine(spec)
        _leave_old_subnet(spec, report)
        network.refuse_overlap(spec)
        made = _image(spec, report)
        network.up(spec)
        for warning in network.warnings():
            report(warning)
        _boot_all(spec, made, lock, report)
        return {host: disks.host_key(spec.lab, host) for host in spec.hosts}


def down(spec: LabSpec, report: Report, *, wipe: bool = False) -> list[str]:
    """No machine of the lab runs and its bridge is gone; with `wipe`, nothing of it is left."""
    with _holding(spec, report):
        stopped = machines.halt(spec.lab)
        if stopped:
            report(f"stopped {', '.join(stopped)}")
        machines.tidy(spec.lab)
        network.down(spec.bridge)
        if wipe:
            _forget(spec.lab)
        return stopped


def boot(spec: LabSpec, report: Report, *, host: str) -> None:
    """The one host has been started; the lab is up otherwise."""
    with _holding(spec, report) as lock:
        network.demand_up(spec)
        if host not in machines.running(spec.lab):
            machines.boot(spec, host, lock)


def power_off(spec: LabSpec, report: Report, *, host: str) -> list[str]:
    """The one host has lost power: every process gone at once, with no goodbye."""
    with _holding(spec, report):
        return machines.cut(spec.lab, [host])


def console(spec: LabSpec, _report: Report, *, host: str) -> str:
    """The end of what the host has printed since it was switched on."""
    return machines.console(spec.lab, host)


def _leave_old_subnet(spec: LabSpec, report: Report) -> None:
    """If the inventory has moved the lab to another subnet, the old network goes first."""
    known = state.record(spec.lab)
    if known and known.subnet != spec.subnet:
        report(f"moving lab {spec.lab} from {known.subnet} to {spec.subnet}")
        machines.halt(spec.lab)
        network.down(spec.bridge)
        _remove_guard(spec.lab, known.subnet)


def _forget(lab: str) -> None:
    """Remove the lab's disks, its guard route, and last the record that it was there."""
    known = state.record(lab)
    if known:
        _remove_guard(lab, known.subnet)
    shutil.rmtree(state.lab_path(lab), ignore_errors=True)


def _remove_guard(lab: str, subnet: str) -> None:
    """Take the route away unless another lab, whose hosts may be off, has the same subnet."""
    others = (known for name, known in state.records().items() if name != lab)
    if subnet not in {known.subnet for known in others}:
        network.remove_guard(subnet)


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


VERBS: Mapping[str, Callable[..., Any]] = {
    "up": up,
    "down": down,
    "boot": boot,
    "power_off": power_off,
    "console": console,
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
    except KeyboardInterrupt:  # whoever asked has got it too, and says so
        sys.exit(130)
    tell(result=result)


if __name__ == "__main__":
    main()

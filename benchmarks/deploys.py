"""How long a deploy takes: to fresh hosts, with nothing to do, and after one app was edited."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

from benchmarks.figures import Figure, Tell
from benchmarks.stand import Stand

_EDITED = "tcp_echo"


def deploy(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Deploy all patterns to six hosts: first, unchanged, and with one app edited."""
    stand.fab("down", "local", "--wipe")
    stand.fab("up", "local")
    shutil.rmtree(stand.tree / ".lab" / "build", ignore_errors=True)
    tell("deploying all patterns to six fresh hosts")
    first = stand.fab("deploy", "local")
    note = "builds the wheelhouse too, from pip's index or its cache"
    yield Figure("deploy", "first deploy, six fresh hosts", "s", (first.seconds,), 60, note=note)

    tell(f"deploying unchanged, {runs} times")
    same = [stand.fab("deploy", "local") for _ in range(runs)]
    changed = sum(int(count) for run in same for count in re.findall(r"changed=(\d+)", run.output))
    note = f"{changed} tasks reported a change" if changed else ""
    yield Figure(
        "deploy", "deploy, nothing changed", "s", tuple(r.seconds for r in same), 15, note=note
    )
    for what, options in (("alone", ("--only", _EDITED)), ("with all others", ())):
        tell(f"editing {_EDITED} and deploying it {what}, {runs} times")
        seconds = []
        for _ in range(runs):
            _edit(stand)
            seconds.append(stand.fab("deploy", "local", *options).seconds)
        yield Figure("deploy", f"deploy, one app edited, {what}", "s", tuple(seconds), 8)


def _edit(stand: Stand) -> None:
    """Append a comment to a file of the copy; each is another edit."""
    with (stand.tree / "apps" / _EDITED / "server.py").open("a") as file:
        file.write("# edited by a benchmark\n")

"""The command line: python -m benchmarks."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from benchmarks import (
    appends,
    boot,
    calls,
    checkers,
    deploys,
    edge,
    elections,
    encodings,
    faults,
    growing,
    kademlia,
    kept,
    metrics,
    mqtt,
    multicast,
    pages,
    paxos,
    plot,
    report,
    rest,
    sockets,
    zeromq,
)
from benchmarks.figures import Figure, Tell
from benchmarks.machine import circumstances
from benchmarks.stand import Stand
from lab import screen
from lab.errors import LabError


@dataclass(frozen=True)
class Part:
    """Some figures that are measured together, and the peers' programs that this takes."""

    measure: Callable[[Stand, int, Tell], Iterator[Figure]]
    programs: tuple[str, ...] = ()
    publish: Callable[[Mapping[str, str], Sequence[Figure]], None] | None = None
    """Writes a page of its own, whenever it was measured to its end."""


PARTS = {
    "image": Part(boot.image),
    "fifty": Part(boot.fifty, ("mn", "brctl")),
    "six": Part(boot.six, ("mn", "brctl")),
    "deploy": Part(deploys.deploy),
    "growing": Part(growing.growing),
    "sockets": Part(sockets.sockets, ("sockperf",)),
    "rest": Part(rest.rest, ("wrk",)),
    "calls": Part(calls.calls, publish=plot.publish),
    "encodings": Part(encodings.encodings),
    "elections": Part(elections.elections),
    "kademlia": Part(kademlia.kademlia),
    "multicast": Part(multicast.multicast),
    "faults": Part(faults.faults, ("sockperf",)),
    "metrics": Part(metrics.metrics),
    "mqtt": Part(mqtt.mqtt),
    "zeromq": Part(zeromq.zeromq),
    "edge": Part(edge.edge, ("wrk",)),
    "paxos": Part(paxos.paxos),
    "appends": Part(appends.appends),
    "checkers": Part(checkers.judging),
    "report": Part(pages.pages, ("chromium",)),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--only", metavar="PARTS", help=f"Some of {', '.join(PARTS)}, with commas between.")
@click.option(
    "--runs", type=click.IntRange(1), default=3, help="Of what is short; the median counts."
)
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON on standard output.")
def main(only: str | None, runs: int, *, as_json: bool) -> None:
    """Measure the lab beside the field's own tools, and print a table.

    Each part that was measured to its end takes its place in benchmarks/README.md as well. The part
    `calls` draws docs/remote-calls.svg, and writes its table into the page beside it.
    """
    chosen = _chosen(only)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: tidy up and end
    on, began = circumstances(), time.monotonic()
    found: list[Figure] = []
    status = 0
    try:
        _check_programs(chosen)
        with Stand() as stand:
            for place, part in enumerate(chosen, 1):
                tell = _teller(f"[{place}/{len(chosen)}] {part}: ", began)
                found.extend(_measured(part, on, PARTS[part].measure(stand, runs, tell)))
    except LabError as error:
        screen.progress.print(f"error: {error}", markup=False)
        status = 2
    except KeyboardInterrupt:
        screen.progress.print("interrupted; this is what was measured so far", markup=False)
        status = 130
    if as_json:
        screen.as_json({"on": on, "figures": [figure.as_json() for figure in found]})
    else:
        report.show(on, found)
    sys.exit(status)


def _measured(part: str, on: Mapping[str, str], measuring: Iterator[Figure]) -> list[Figure]:
    """Measure a part to its end, keep what was found, and publish it."""
    found = list(measuring)
    kept.keep(part, on, found)
    report.write_all(kept.kept(list(PARTS)))
    if (publish := PARTS[part].publish) is not None:
        publish(on, found)
    return found


def _chosen(only: str | None) -> list[str]:
    names = [name.strip() for name in (only or ",".join(PARTS)).split(",")]
    for name in names:
        if name not in PARTS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(PARTS)}", param_hint="--only")
    return [part for part in PARTS if part in names]


def _check_programs(chosen: list[str]) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [
        program
        for part in chosen
        for program in PARTS[part].programs
        if shutil.which(program, path=path) is None
    ]
    if missing:
        raise LabError(
            f"to compare with, this machine lacks {', '.join(dict.fromkeys(missing))}",
            "lab/bootstrap.sh hosts bench installs it, and so does make bench",
        )


def _teller(prefix: str, began: float) -> Tell:
    def tell(text: str) -> None:
        seconds = f"{time.monotonic() - began:4.0f} s"
        screen.progress.print(f"{seconds}  {prefix}{text}", markup=False, soft_wrap=True)

    return tell


if __name__ == "__main__":
    main()

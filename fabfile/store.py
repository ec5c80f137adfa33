"""Stored runs: list them, look at them, compare two, serve them as a site."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from invoke.context import Context
from invoke.exceptions import Exit

from fabfile.verb import tell, verb
from lab.errors import LabError

if TYPE_CHECKING:
    from lab.evidence.stored import Stored

PORT = 8800
S = TypeVar("S", bound="Stored")


@verb(
    "only",
    "json",
    verdict="Those with such a verdict: violated, unknown, holds, shown.",
    state="Those in this state: running, finished, interrupted, died, damaged.",
    keep="Remove all of them but so many of the newest, and those that run.",
)
def runs(
    c: Context,
    only: str = "",
    verdict: str = "",
    state: str = "",
    keep: int = -1,
    json: bool = False,
) -> None:
    """List the stored runs, newest first; remove old ones with --keep."""
    from lab import screen
    from lab.catalogue import select
    from lab.evidence import store
    from lab.evidence.stored import STATES
    from lab.evidence.verdict import WORDS

    for value, words in ((verdict, WORDS), (state, STATES)):
        if value and value not in words:
            raise LabError(f"no run can be {value!r}", f"choose from: {', '.join(words)}")
    patterns = [pattern.name for pattern in select(only)] if only else []
    found = _kept(store.runs(wanted=store.Wanted(patterns, verdict, state).has), keep)
    if json:
        screen.as_json([run.as_json() for run in found])
        return
    screen.table(
        ["run", "state", "seconds", "seed", "verdicts"],
        [
            (
                run.name,
                run.state,
                "" if run.seconds is None else run.seconds,
                "" if run.seed is None else run.seed,
                "; ".join(run.damage) or ", ".join(f"{n} {word}" for word, n in run.counts.items()),
            )
            for run in found
        ],
    )


@verb("json", keep="Remove all of them but so many of the newest, and those that are being played.")
def matrices(c: Context, keep: int = -1, json: bool = False) -> None:
    """List the stored matrices, newest first; remove old ones with --keep, and their runs."""
    from lab import screen
    from lab.evidence import store

    listed = [matrix.as_json() for matrix in _kept(store.matrices(), keep)]
    if json:
        screen.as_json(listed)
        return
    screen.table(
        ["matrix", "state", "seconds", "seed", "cells"],
        [
            (
                told["matrix"],
                told["state"],
                "" if told["seconds"] is None else told["seconds"],
                "" if told["seed"] is None else told["seed"],
                ", ".join(f"{n} {word}" for word, n in told["cells"].items()),
            )
            for told in listed
        ],
    )


@verb(
    run="Its name, or how its name begins, or its path.",
    open_="Open the page in the browser.",
)
def report(c: Context, run: str = "latest", open_: bool = False) -> None:
    """Build a run's page anew, and say where it is."""
    import webbrowser

    from lab.evidence import store
    from lab.evidence.report import build

    page = build(store.find(run).path)
    print(page)
    if open_ and not webbrowser.open(page.as_uri()):
        raise LabError("no browser was found", f"open it yourself: {page}")


@verb("json", a="The first run: its name, or how its name begins, or its path.", b="The second.")
def compare(c: Context, a: str, b: str, json: bool = False) -> None:
    """Compare two runs; exit status 1 if their schedules or verdicts differ."""
    from lab import screen
    from lab.evidence import store
    from lab.evidence.comparison import Comparison

    both = Comparison(store.find(a), store.find(b))
    if json:
        screen.as_json(both.as_json())
    else:
        print(both)
        for line in both.differences:
            print(f"  {line}")
        screen.table(
            ["pattern", "figure", both.a.name, both.b.name, "change"],
            [
                (f.pattern, f.name, *(_number(n) for n in (f.a, f.b)), _change(f.change))
                for f in both.figures
            ],
        )
    raise Exit(code=0 if both.same_schedule and both.same_verdicts else 1)


@verb(port="On which port of the loopback.")
def serve(c: Context, port: int = PORT) -> None:
    """Serve the stored runs as a site, to this machine alone, until Ctrl-C."""
    from lab.evidence.site.server import serve

    serve(port, tell)


@verb(
    run="The run: its name, or how its name begins, or its path.",
    out="The directory that the pictures go to.",
)
def pictures(c: Context, run: str = "latest", out: str = "docs/pictures") -> None:
    """Take pictures of a run's page and of the newest matrix, as on a laptop and on a phone."""
    from pathlib import Path

    from lab.evidence import store
    from lab.evidence.report import build
    from lab.evidence.screenshots import LAPTOP, PHONE, screenshot

    chosen = store.find(run)
    top = build(chosen.path).as_uri()
    pages = {"verdicts": top, "run": f"{top}#{chosen.patterns[0]}" if chosen.patterns else top}
    made = [matrix.page for matrix in store.matrices() if matrix.page]
    pages |= {"matrix": made[0].as_uri()} if made else {}
    home = Path(out)
    home.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        for device, size in (("laptop", LAPTOP), ("phone", PHONE)):
            picture = home / f"{name}-{device}.png"
            screenshot(page, picture, *size)
            print(picture)


def _kept(found: list[S], keep: int) -> list[S]:
    """Remove all but so many of the newest, if a number is given; give those that are left."""
    from lab.evidence import store

    old = store.superfluous(found, keep) if keep >= 0 else []
    for one in old:
        one.remove()
        tell(f"removed {one.name}")
    return [one for one in found if one not in old]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _change(value: float | None) -> str:
    return "" if value is None or not round(value, 2) else f"{value:+.0%}"

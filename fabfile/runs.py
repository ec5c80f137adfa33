"""Runs: play demos, or workloads under faults, and keep their evidence."""

from __future__ import annotations

import random
from collections.abc import Sequence
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from invoke.context import Context
from invoke.exceptions import Exit

from fabfile.verb import LOCAL, choose, load, tell, verb
from lab.errors import LabError

if TYPE_CHECKING:
    from lab.catalogue import Pattern
    from lab.evidence.plans import Plan
    from lab.evidence.runs import Run

NEMESIS_SECONDS = "20s"


@verb(
    "only",
    "json",
    inventory="Which hosts: a directory of inventory/; a replay's are those of its run.",
    seed="Of all that is random in the run; drawn and told if not given.",
    schedule="A file of faults (docs/faults.md): workloads are played under it, not demos.",
    nemesis="Play workloads under faults that are drawn from the seed.",
    faults="What the nemesis draws from, comma-separated: kill,partition; all if not given.",
    seconds="How long workloads go on under faults; with a nemesis 20s if not given.",
    replay="A run to play again: same patterns, seed, and faults; then both are compared.",
)
def run_demo(
    c: Context,
    inventory: str = "",
    only: str = "",
    seed: int = -1,
    schedule: str = "",
    nemesis: bool = False,
    faults: str = "",
    seconds: str = "",
    replay: str = "",
    json: bool = False,
) -> None:
    """Play demos on the hosts and judge their claims; the evidence stays in runs/.

    Exit status: 0 all promised claims hold, 1 one is violated, 2 could not tell. A replay that
    differs from what it repeats ends with 1, too.
    """
    if replay:
        if only or schedule or nemesis or faults or seconds or seed >= 0:
            raise LabError("a replay takes all from its run", "give --replay alone")
        _replay(replay, inventory, json=json)
    from lab import screen
    from lab.evidence.runs import exit_status, playable, with_workload

    inventory = inventory or LOCAL
    loaded = load(inventory)
    chosen = playable(loaded, choose(only, loaded))
    if (nemesis or schedule) and not only:
        chosen = with_workload(chosen)
    seed = seed if seed >= 0 else random.randrange(2**31)
    options = {"schedule": schedule, "faults": faults, "seconds": seconds}
    plan = _plan(loaded, seed, nemesis=nemesis, **options)
    words = ["fab run-demo", f"--inventory {inventory} --seed {seed}"]
    words += ["--nemesis"] if nemesis else []
    words += [f"--{k} {v}" for k, v in ({"only": only} | options).items() if v]
    run = _played(loaded, chosen, plan, seed, " ".join(words))
    if json:
        screen.as_json([verdict.as_json() for verdict in run.verdicts])
    else:
        _show(run)
    raise Exit(code=exit_status(run.verdicts))


def _plan(
    inventory: Any, seed: int, *, nemesis: bool, schedule: str, faults: str, seconds: str
) -> Plan:
    """Give the plan that the options ask for; LabError if they contradict each other."""
    from lab.evidence import plans
    from lab.faults import quantities
    from lab.faults.aims import chosen

    if schedule and nemesis:
        raise LabError("both a schedule and a nemesis", "give one: --schedule or --nemesis")
    if faults and not nemesis:
        raise LabError("--faults is what a nemesis draws from", "add --nemesis")
    if seconds and not (schedule or nemesis):
        raise LabError("--seconds is how long workloads go on", "add --nemesis or --schedule")
    if schedule:
        length = quantities.seconds(seconds) if seconds else None
        return plans.from_file(Path(schedule), inventory, length)
    if nemesis:
        length = quantities.seconds(seconds or NEMESIS_SECONDS)
        return plans.from_nemesis(seed, chosen(faults), inventory, length)
    return plans.demos


def _replay(name: str, inventory: str, *, json: bool) -> NoReturn:
    """Play a stored run again, and say in what it differs."""
    from lab import screen
    from lab.evidence import plans, store, stored
    from lab.evidence.comparison import Comparison
    from lab.evidence.runs import VIOLATED, exit_status, playable

    before = store.find(name)
    if before.seed is None or not before.patterns:
        raise LabError(f"{before.name} does not say what it played", "play another: fab runs")
    inventory = inventory or str(before.manifest.get("inventory", LOCAL))
    loaded = load(inventory)
    chosen = playable(loaded, choose(",".join(before.patterns), loaded))
    plan = plans.from_run(before, loaded)
    command = f"fab run-demo --replay {before.reference} --inventory {inventory}"
    run = _played(loaded, chosen, plan, before.seed, command)
    compared = Comparison(before, stored.read(run.path))
    same = compared.same_schedule and compared.same_verdicts
    if json:
        screen.as_json(compared.as_json())
    else:
        rows = (*compared.faults, *compared.verdicts)
        screen.table(
            ["pattern", "what", "before", "now"],
            [(row.pattern, row.what, row.a or "-", row.b or "-") for row in rows],
        )
    tell(str(compared))
    raise Exit(code=exit_status(run.verdicts) or (0 if same else VIOLATED))


def _played(inventory: Any, chosen: Sequence[Pattern], plan: Plan, seed: int, command: str) -> Run:
    """Play patterns as planned; what cannot be planned is said before any is played."""
    from lab.evidence.runs import Run
    from lab.hosts.remote import Remote

    planned = [(pattern, plan(pattern)) for pattern in chosen]
    what = "-".join(p.name for p in chosen) if len(chosen) <= 2 else "demos"
    with Remote(inventory) as remote:
        run = Run(remote, seed, command, what)
        tell(f"seed {seed}, evidence in {relpath(run.path)}")
        try:
            for number, (pattern, schedule) in enumerate(planned, 1):
                tell(f"[{number}/{len(chosen)}] {pattern.name}: {pattern.about}")
                run.play(pattern, lambda text: tell(f"    {text}"), schedule)
        except BaseException:
            run.finish("interrupted")
            raise
        run.finish()
    for trouble in run.trouble:
        tell(f"trouble: {trouble}")
    return run


def _show(run: Run) -> None:
    from lab import screen

    screen.table(
        ["pattern", "claim", "kind", "verdict", "what was seen"],
        [(v.pattern, v.claim, v.kind, v.verdict, v.detail) for v in run.verdicts],
    )

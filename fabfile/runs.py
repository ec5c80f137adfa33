"""Runs: play demos, keep their evidence."""

from __future__ import annotations

import random

from invoke.context import Context
from invoke.exceptions import Exit

from fabfile.verb import LOCAL, ROOT, load, tell, verb


@verb("only", "json", seed="Of all that is random in the run; drawn and told if not given.")
def run_demo(
    c: Context,
    inventory: str = LOCAL,
    only: str = "",
    seed: int = -1,
    json: bool = False,
) -> None:
    """Play demos on the hosts and judge their claims; the evidence stays in runs/.

    Exit status: 0 all promised claims hold, 1 one is violated, 2 could not tell.
    """
    from lab import screen
    from lab.catalogue import select
    from lab.evidence.runs import Run, playable
    from lab.hosts.remote import Remote

    loaded = load(inventory)
    chosen = playable(loaded, select(only))
    seed = seed if seed >= 0 else random.randrange(2**31)
    command = f"fab run-demo --inventory {inventory} --seed {seed}" + (
        f" --only {only}" if only else ""
    )
    what = "-".join(p.name for p in chosen) if len(chosen) <= 2 else "demos"
    with Remote(loaded) as remote:
        run = Run(remote, seed, command, what)
        tell(f"seed {seed}, evidence in {run.path.relative_to(ROOT)}")
        try:
            for number, pattern in enumerate(chosen, 1):
                tell(f"[{number}/{len(chosen)}] {pattern.name}: {pattern.about}")
                run.play(pattern, lambda text: tell(f"    {text}"))
        except BaseException:
            run.finish("interrupted")
            raise
        code = run.finish()
    for trouble in run.trouble:
        tell(f"trouble: {trouble}")
    if json:
        screen.as_json([verdict.as_json() for verdict in run.verdicts])
    else:
        screen.table(
            ["pattern", "claim", "kind", "verdict", "what was seen"],
            [(v.pattern, v.claim, v.kind, v.verdict, v.detail) for v in run.verdicts],
        )
    raise Exit(code=code)

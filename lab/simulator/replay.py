"""Play a scenario's seed again: its trace, and what its judge finds.

    python -m lab.simulator.replay tests.simulation.test_x:partitions --seed 417 --trace

`--trace` prints every event, one JSON object a line; `--count` plays so many seeds from there, to
hunt. Exit status: 0 every claim holds, 1 one is violated, 2 the scenario cannot be found.
"""

from __future__ import annotations

import importlib
import json

import click

from lab.errors import LabError
from lab.simulator.scenario import Scenario, Violation


def find(address: str) -> Scenario:
    """Import `module:name`; LabError if it is no scenario."""
    module, _, name = address.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise LabError(f"no scenario {address}: {error}", "name it as module:function") from error
    if not isinstance(found, Scenario):
        raise LabError(f"{address} is no scenario", "decorate it with @scenario(judge)")
    return found


@click.command()
@click.argument("address", metavar="MODULE:SCENARIO")
@click.option("--seed", default=0, show_default=True, help="The first seed to play.")
@click.option("--count", default=1, show_default=True, help="How many seeds to play from there.")
@click.option("--trace", is_flag=True, help="Print every event of every run, one a line.")
def main(address: str, seed: int, count: int, trace: bool) -> None:  # noqa: FBT001 - click's flag
    """Play a scenario again, and judge it."""
    try:
        found = find(address)
    except LabError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(2) from error
    for number in range(seed, seed + count):
        run = found.play(number)
        if trace:
            click.echo("".join(f"{json.dumps(event)}\n" for event in run.trace), nl=False)
        findings = found.judge(run.trace)
        for claim, finding in findings.items():
            if finding.holds is False:
                click.echo(found.explain(Violation(number, claim, finding)), err=True)
                raise click.exceptions.Exit(1)
            if count == 1:
                click.echo(f"{claim}: {finding.detail}", err=True)
    click.echo(f"no violation in {count} seeds from {seed}", err=True)


if __name__ == "__main__":
    main()

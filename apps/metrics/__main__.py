"""Samples into InfluxDB: `store` runs it, `collector` feeds it, each host's `agent` takes samples.

`publish` sends numbered samples and waits until they are kept, `stored` tells which of them the
database has, `sample` hands one to this host's agent, and `query` asks InfluxQL.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.metrics.core import BATCH_MOST
from apps.metrics.influx import DATABASE

STORE, COLLECTOR = AddressType(8086), AddressType(5600)
cli = Pattern("metrics", __doc__)

_database = click.option("--database", default=DATABASE, help="The database's name.")


@cli.component
@listens(8086)
@click.option(
    "--series", type=click.IntRange(100), default=20000, help="Most series that it keeps."
)
def store(events: Events, *, listen: str, port: int, series: int) -> None:
    """Run InfluxDB, in the working directory."""
    from apps.metrics.store import Influxd

    run_service(events, Influxd(Address(listen, port), events, Path(), series))


@cli.component
@listens(5600)
@click.option("--store", type=STORE, required=True, help="Where InfluxDB listens.")
@_database
@click.option("--spool", type=click.IntRange(1), default=64, help="Most MiB that wait on the disk.")
def collector(
    events: Events, *, listen: str, port: int, store: Address, database: str, spool: int
) -> None:
    """Collect the samples of all agents, and write them to InfluxDB."""
    from apps.metrics.collector import Collector
    from apps.metrics.influx import Influx
    from apps.metrics.spool import Spool

    spooling = Spool(Path("spool"), spool << 20)
    run_service(events, Collector(Address(listen, port), Influx(store, database), spooling, events))


@cli.component
@click.option("--collector", type=COLLECTOR, required=True, help="Where the collector listens.")
@click.option("--spool", type=click.IntRange(1), default=16, help="Most MiB that wait on the disk.")
def agent(events: Events, *, collector: Address, spool: int) -> None:
    """Take the samples of every process on this host, and hand them on."""
    from apps.metrics.agent import Agent
    from apps.metrics.spool import Spool

    run_service(events, Agent(collector, Spool(Path("spool"), spool << 20), events))


@cli.client
@click.argument("collector", type=COLLECTOR)
@click.option("--count", type=click.IntRange(1), help="So many samples; 1000 if nothing is given.")
@click.option("--for", "seconds", type=click.FloatRange(0.0), help="For so many seconds.")
@click.option("--batch", type=click.IntRange(1, BATCH_MOST), default=100, help="Samples together.")
@click.option(
    "--rate", type=click.FloatRange(0.0), default=0.0, help="Samples a second; 0: flat out."
)
@click.option("--twice", is_flag=True, help="Each batch twice, as if its answer were lost.")
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=30.0, help="Seconds to wait for the collector."
)
def publish(
    events: Events,
    *,
    collector: Address,
    count: int | None,
    seconds: float | None,
    batch: int,
    rate: float,
    twice: bool,
    timeout: float,
) -> None:
    """Publish numbered samples to COLLECTOR, and wait until it keeps them all."""
    from apps.metrics.client import Amount, Publisher

    if count is None and seconds is None:
        count = 1000
    amount = Amount(count, seconds, batch, rate, twice, timeout)

    asyncio.run(Publisher(collector, events, amount).publish())


@cli.client
@click.argument("operation")
@click.argument("ms", type=click.FloatRange(0.0))
@click.option("--count", type=click.IntRange(1), default=1, help="So many times, at once.")
def sample(events: Events, *, operation: str, ms: float, count: int) -> None:
    """Hand a sample to this host's agent: OPERATION took so many MS."""
    from apps.metrics.client import hand_over

    hand_over(events, operation, ms, count)


@cli.client
@click.argument("store", type=STORE)
@click.argument("text")
@_database
def query(events: Events, *, store: Address, text: str, database: str) -> None:
    """Ask STORE some InfluxQL: query hub 'SELECT count(ms) FROM latency GROUP BY pattern'."""
    from apps.metrics.client import query

    query(store, events, database, text)


@cli.client
@click.argument("store", type=STORE)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@_database
def stored(events: Events, *, store: Address, sources: tuple[str, ...], database: str) -> None:
    """Tell which samples of each publisher's SOURCE the database in STORE has."""
    from apps.metrics.client import stored

    stored(store, events, database, sources)


if __name__ == "__main__":
    cli()

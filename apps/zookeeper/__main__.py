"""ZooKeeper: `server` is one of an ensemble; `client` uses it, `load` is many that do."""

from __future__ import annotations

import asyncio

import click

from apps.kit.address import Address
from apps.kit.cli import PORT, AddressesType, Misspelt, Pattern, PeerType, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.summary import Load

cli = Pattern("zookeeper", __doc__)
COUNT = click.IntRange(1)
SERVERS = AddressesType(2181)
PATIENCE = click.option(
    "--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds per operation."
)
SESSION = click.option(
    "--session",
    type=click.FloatRange(0.1),
    default=4.0,
    help="Seconds that the ensemble waits for us before it gives our session up.",
)


@cli.component
@listens(2181)
@click.option(
    "--member", "members", type=PeerType(), multiple=True, help="A server; once for each, in order."
)
@click.option("--quorum-port", type=PORT, default=2888, help="Port for the followers.")
@click.option("--election-port", type=PORT, default=3888, help="Port for elections.")
@click.option("--tick", type=COUNT, default=500, help="Milliseconds; a session has 2 to 20 ticks.")
@click.option("--heap", type=click.IntRange(32), default=96, help="Most memory of Java's, in MiB.")
@click.option("--connections", type=COUNT, default=60, help="Most of one address at once.")
def server(
    events: Events,
    *,
    listen: str,
    port: int,
    members: tuple[tuple[str, Address], ...],
    quorum_port: int,
    election_port: int,
    tick: int,
    heap: int,
    connections: int,
) -> None:
    """Be one server of the ensemble."""
    from apps.zookeeper.server import Configuration, ZooKeeper

    configuration = Configuration(
        events.node,
        Address(listen, port),
        members or ((events.node, Address(listen, port)),),
        quorum_port,
        election_port,
        tick,
        heap,
        connections,
    )
    run_service(events, ZooKeeper(configuration, events))


@cli.client
@click.argument("servers", type=SERVERS)
@click.argument("words", nargs=-1, metavar="[VERB WORD...]")
@PATIENCE
@SESSION
def client(
    events: Events,
    *,
    servers: tuple[Address, ...],
    words: tuple[str, ...],
    timeout: float,
    session: float,
) -> None:
    r"""Use the ensemble of SERVERS, as in n1,n2,n3.

    \b
    create PATH [DATA]          a new node, and those above it
    get PATH                    its data, after a sync
    set PATH DATA [VERSION]     if that is its version still
    delete PATH
    clear PATH                  delete it with all below it
    ls PATH                     the names below it

    Without a verb, converse: a verb a line, Ctrl-D ends it.
    """
    from apps.kit.zookeeper import Session
    from apps.zookeeper.client import Verbs

    with Session(servers, events, timeout=timeout, session=session) as opened:
        verbs = Verbs(opened, events)
        if not words:
            verbs.converse(typed("> "))
            return
        try:
            verbs.do(list(words))
        except Misspelt as error:
            raise click.UsageError(str(error)) from error


@cli.client
@click.argument("servers", type=SERVERS)
@click.argument("below", default="/distlab/load")
@loads
@click.option("--writes", type=click.FloatRange(0, 1), default=0.5, help="The part that writes.")
@PATIENCE
@SESSION
def load(
    events: Events,
    *,
    servers: tuple[Address, ...],
    below: str,
    load: Load | None,
    writes: float,
    timeout: float,
    session: float,
) -> None:
    """Add nodes below BELOW, write a register there and read it; 100 times, if not told.

    Each caller has a session of its own.
    """
    from apps.zookeeper.load import measure

    how = {"writes": writes, "patience": timeout, "session": session}
    asyncio.run(measure(servers, events, load or Load(count=100), below, **how))


if __name__ == "__main__":
    cli()

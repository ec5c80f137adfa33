"""A ledger over CORBA: `naming` knows its name, `server` keeps it; `client` and `watch` use it."""

from __future__ import annotations

import asyncio
import math
import random
import signal
import sys
from collections.abc import Mapping
from typing import Any

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.summary import Load

cli = Pattern("corba", __doc__)
NAMING = AddressType(2809)
PATIENCE = click.option(
    "--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds per call."
)


@cli.component
@listens(2809)
@click.option("--threads", type=click.IntRange(1), default=16, help="Requests answered at once.")
@click.option(
    "--idle", type=click.IntRange(1), default=5, help="Seconds of silence, in a message too."
)
def naming(events: Events, *, listen: str, port: int, threads: int, idle: int) -> None:
    """Know names: omniORB's naming service, ended if it answers no longer."""
    from apps.corba.naming import NamingService

    run_service(events, NamingService(Address(listen, port), events, idle=idle, threads=threads))


@cli.component
@listens(2810)
@click.option(
    "--name-service",
    type=NAMING,
    default="127.0.0.1",
    help="Where the naming service is.",
)
@click.option("--threads", type=click.IntRange(1), default=16, help="Requests served at once.")
@click.option(
    "--idle", type=click.IntRange(1), default=5, help="Seconds of silence, in a message too."
)
@click.option("--watchers", type=click.IntRange(1), default=50, help="Most watchers at once.")
@click.option("--accounts", type=click.IntRange(1), default=10_000, help="Most accounts kept.")
def server(
    events: Events,
    *,
    listen: str,
    port: int,
    name_service: Address,
    threads: int,
    idle: int,
    watchers: int,
    accounts: int,
) -> None:
    """Keep the ledger, bound to its name in the naming service."""
    from apps.corba.server import LedgerServer

    serving = LedgerServer(
        Address(listen, port),
        events,
        naming=name_service,
        threads=threads,
        idle=idle,
        watchers=watchers,
        accounts=accounts,
    )
    run_service(events, serving)


@cli.client
@click.argument("naming", type=NAMING)
@click.argument("words", nargs=-1, metavar="[VERB WORD...]")
@loads
@PATIENCE
def client(
    events: Events, *, naming: Address, words: tuple[str, ...], load: Load | None, timeout: float
) -> None:
    r"""Use the ledger that the naming service at NAMING knows.

    \b
    post ACCOUNT AMOUNT [MEMO]   a negative amount goes out
    move FROM TO AMOUNT          two entries, or none
    balance ACCOUNT
    recent ACCOUNT               the last entries
    remark TEXT                  a note in the server's log, oneway

    Without a verb, converse: a verb a line, Ctrl-D ends it.
    """
    from apps.corba.client import Client, Misspelt, converse, do
    from apps.corba.load import measure
    from apps.corba.orb import Trace, start

    trace = Trace(events)
    orb = _begun(start, {})

    def connect(rng: random.Random) -> Client:
        return Client(orb, trace, naming, events, timeout=timeout, rng=rng)

    if load is not None:
        asyncio.run(measure(connect, events, load))
        return
    with connect(random.Random()) as book:
        if not words:
            converse(book, events, typed("> "))
            return
        try:
            do(book, events, words)
        except Misspelt as error:
            raise click.UsageError(str(error)) from error


@cli.client
@click.argument("naming", type=NAMING)
@click.option("--for", "seconds", type=click.FloatRange(0), help="End after so many seconds.")
@PATIENCE
def watch(events: Events, *, naming: Address, seconds: float | None, timeout: float) -> None:
    """Be called back for every entry, until Ctrl-C."""
    from apps.corba import watcher
    from apps.corba.client import Client
    from apps.corba.orb import Trace, start

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    trace = Trace(events)
    try:
        here = Address(watcher.own_address(naming), 0)
    except OSError as error:
        raise click.ClickException(f"no way to {naming}: {error}") from error
    orb = _begun(start, {"endPoint": f"giop:tcp:{here}", **watcher.IN_ORDER})
    client = Client(orb, trace, naming, events, timeout=timeout)
    watcher.watch(orb, trace, client, events, math.inf if seconds is None else seconds)


def _begun(start: Any, options: Mapping[str, object]) -> Any:
    """Start an ORB; a usage error says why it cannot be."""
    try:
        return start(options)
    except OSError as error:
        raise click.ClickException(str(error)) from error


cli.commands["client"].ignore_unknown_options = True  # so that -3 is an amount

if __name__ == "__main__":
    cli()

"""A greeter over Ice: `server` greets, `client` is greeted, `listen` hears every greeting."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.summary import Load

cli = Pattern("ice", __doc__)
SERVER = AddressType(4061)
PATIENCE = click.option(
    "--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds per call."
)


@cli.component
@listens(4061)
@click.option("--threads", type=click.IntRange(1), default=8, help="Threads that read requests.")
@click.option(
    "--idle", type=click.IntRange(1), default=60, help="Seconds of silence that are allowed."
)
@click.option("--message", type=click.IntRange(1), default=64, help="Longest message, in KiB.")
@click.option(
    "--waiting", type=click.IntRange(1), default=1000, help="Most greetings that wait at once."
)
@click.option("--ears", type=click.IntRange(1), default=50, help="Most ears at once.")
def server(
    events: Events,
    *,
    listen: str,
    port: int,
    threads: int,
    idle: int,
    message: int,
    waiting: int,
    ears: int,
) -> None:
    """Greet guests, and let ears hear it."""
    from apps.ice.server import GreeterServer

    serving = GreeterServer(
        Address(listen, port),
        events,
        threads=threads,
        idle=idle,
        message=message,
        waiting=waiting,
        ears=ears,
    )
    run_service(events, serving)


@cli.client
@click.argument("server", type=SERVER)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--language", help="Two letters, as in: de.")
@click.option("--times", type=int, help="How often each is greeted.")
@click.option("--after", type=int, help="Milliseconds that the greeter waits before it greets.")
@click.option("--count-greeted", is_flag=True, help="Ask how many were greeted.")
@loads
@PATIENCE
def client(
    events: Events,
    *,
    server: Address,
    names: tuple[str, ...],
    language: str | None,
    times: int | None,
    after: int | None,
    count_greeted: bool,
    load: Load | None,
    timeout: float,
) -> None:
    """Have SERVER greet each NAME; without one, each line that is typed, until Ctrl-D."""
    from apps.ice import client as asking

    if count_greeted:
        asked = asking.count(server, events, patience=timeout)
    elif load is not None:
        asked = asking.measure(server, events, load, after=after, patience=timeout)
    else:
        given: Iterable[str] = names or typed("name> ")
        guests = (asking.Guest(name, language, times) for name in given)
        asked = asking.converse(
            server, events, guests, after=after, patience=timeout, persist=not names
        )
    asyncio.run(asked)


@cli.client
@click.argument("server", type=SERVER)
@click.option("--for", "seconds", type=click.FloatRange(0), help="End after so many seconds.")
@PATIENCE
def listen(events: Events, *, server: Address, seconds: float | None, timeout: float) -> None:
    """Hear every greeting of SERVER over this client's own connection, until Ctrl-C."""
    from apps.ice import client as asking

    long = math.inf if seconds is None else seconds
    asyncio.run(asking.listen(server, events, seconds=long, patience=timeout))


if __name__ == "__main__":
    cli()

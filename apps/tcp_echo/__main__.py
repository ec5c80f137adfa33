"""Echo over TCP: `server` answers each line with its time and the line; `client` asks."""

from __future__ import annotations

import asyncio

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens, loads, typed
from apps.kit.events import Events
from apps.kit.framing import Lines
from apps.kit.lifecycle import run_service
from apps.kit.summary import Load
from apps.kit.tcp import FramedServer, Limits
from apps.tcp_echo.client import converse, measure
from apps.tcp_echo.server import complain, sessions

cli = Pattern("tcp_echo", __doc__)


@cli.component
@listens(8080)
@click.option(
    "--connections", type=click.IntRange(1), default=1000, help="Most connections at once."
)
@click.option(
    "--idle", type=click.FloatRange(0.1), default=60.0, help="Seconds without a line allowed."
)
@click.option(
    "--line-limit",
    type=click.IntRange(256),
    default=65536,
    help="Longest line in bytes, of a reply too.",
)
def server(
    events: Events, *, listen: str, port: int, connections: int, idle: float, line_limit: int
) -> None:
    """Echo every line, with the server's time before it."""
    serving = FramedServer(
        Address(listen, port),
        sessions(line_limit),
        events,
        framing=lambda: Lines(line_limit),
        complain=complain,
        limits=Limits(connections=connections, idle=idle),
    )
    run_service(events, serving)


@cli.client
@click.argument("server", type=AddressType(8080))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@loads
@click.option("--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds per call.")
def client(
    events: Events,
    *,
    server: Address,
    texts: tuple[str, ...],
    load: Load | None,
    timeout: float,
) -> None:
    """Have SERVER echo each TEXT; without one, converse (Ctrl-D ends it)."""
    if load is not None:
        asked = measure(server, events, load, patience=timeout)
    else:
        given = texts or typed("> ")
        asked = converse(server, events, given, patience=timeout, persist=not texts)
    asyncio.run(asked)


if __name__ == "__main__":
    cli()

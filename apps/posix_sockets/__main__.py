"""Bare sockets: `server` is written right; `wrong` ones are met by `meet`; `client` asks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens, loads, typed
from apps.kit.events import Events
from apps.kit.outcome import Refused, Unknown
from apps.kit.store import state_directory
from apps.kit.summary import Load
from apps.posix_sockets import client as asking
from apps.posix_sockets import peers
from apps.posix_sockets.right.client import Client
from apps.posix_sockets.right.server import Limits, serve
from apps.posix_sockets.wire import LONGEST
from apps.posix_sockets.wrong import NAMES
from apps.posix_sockets.wrong import wrong as wrong_one

cli = Pattern("posix_sockets", __doc__)
AT = AddressType()
TIMEOUT = click.option(
    "--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds per call."
)


class ServerType(click.ParamType[Address | Path]):
    """`host[:port]`, or the path of a Unix-domain socket, which has a slash in it."""

    name = "host[:port] or path"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address | Path:
        """Read it; the error says what is wrong with it."""
        if isinstance(value, Path) or "/" in str(value):
            return Path(value)
        return AddressType(4040).convert(value, param, ctx)


SERVER = ServerType()


@cli.component
@listens(4040)
@click.option("--path", default="socket", help="Unix-domain socket, in its state directory.")
@click.option(
    "--connections", type=click.IntRange(1), default=2000, help="Most connections at once."
)
@click.option(
    "--idle", type=click.FloatRange(0.1), default=60.0, help="Seconds without a message allowed."
)
@click.option(
    "--text-limit", type=click.IntRange(64, LONGEST), default=65536, help="Longest text in bytes."
)
def server(
    events: Events,
    *,
    listen: str,
    port: int,
    path: str,
    connections: int,
    idle: float,
    text_limit: int,
) -> None:
    """Echo every message, over TCP, UDP and a Unix-domain socket."""
    limits = Limits(connections=connections, idle=idle, text=text_limit)
    serve(Address(listen, port), state_directory() / path, events, limits)


@cli.client
@click.argument("server", type=SERVER)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--udp", is_flag=True, help="Over UDP.")
@loads
@TIMEOUT
def client(
    events: Events,
    *,
    server: Address | Path,
    texts: tuple[str, ...],
    udp: bool,
    load: Load | None,
    timeout: float,
) -> None:
    """Have SERVER (a host, or a socket's path) echo each TEXT; without one, converse."""

    def make() -> Client:
        return asking.client_of(server, events, udp=udp, timeout=timeout)

    if load is not None:
        asyncio.run(asking.measure(make, events, load))
    else:
        asking.converse(make(), events, texts or typed("> "), persist=not texts)


@cli.client
@click.argument("server", type=SERVER)
@click.option("--connections", type=click.IntRange(1, 20_000), default=1000, help="How many.")
@click.option("--timeout", type=click.FloatRange(0.1), default=30.0, help="Seconds for all.")
def many(events: Events, *, server: Address | Path, connections: int, timeout: float) -> None:
    """Open many connections to SERVER at once, and echo over each, a byte at a time."""
    asking.many(server, events, connections, timeout)


@cli.client
@click.argument("server", type=SERVER)
@click.argument("name", type=click.Choice(tuple(peers.PEERS)))
@click.option("--timeout", type=click.FloatRange(0.1), default=30.0, help="Seconds for all.")
def peer(events: Events, *, server: Address | Path, name: str, timeout: float) -> None:
    """Be an awkward peer of SERVER, and look whether it bears it."""
    peers.be(name, server, events, timeout)


@cli.client
@click.argument("name", type=click.Choice(NAMES))
@click.argument("listen", type=AT)
def wrong(events: Events, *, name: str, listen: Address) -> None:
    """Run a wrong server at LISTEN, for one who meets it."""
    try:
        wrong_one(name).serve(listen, events)
    except OSError as error:
        raise Refused(f"{listen}: {error}") from error


@cli.client
@click.argument("name", type=click.Choice(NAMES))
@click.argument("server", type=AT)
def meet(events: Events, *, name: str, server: Address) -> None:
    """Meet the wrong server at SERVER, and see what it loses."""
    try:
        wrong_one(name).provoke(server, events)
    except OSError as error:
        raise Unknown(f"{server}: {error}") from error


if __name__ == "__main__":
    cli()

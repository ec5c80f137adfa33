"""A replicated log: `master` takes messages, `secondary` keeps them too, `client` asks either."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import click

from apps.kit.address import Address
from apps.kit.cli import Misspelt, Pattern, PeerType, UrlType, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import notify, run_service
from apps.kit.store import NoRoom, state_directory
from apps.kit.summary import Load
from apps.kit.transport import TcpTransport
from apps.replicated_log.clients import ClientTable
from apps.replicated_log.core import Master
from apps.replicated_log.entries import Entry
from apps.replicated_log.follower import Follower
from apps.replicated_log.stages import STAGES
from apps.replicated_log.storage import Damaged, LogFile, Seen

cli = Pattern("replicated_log", __doc__)
MOST = click.IntRange(1)
ENTRIES_READ_SOON = 10_000
"""So many are read well within the time that systemd gives."""
SECONDS = click.FloatRange(0.01)
REPLICATION = click.option(
    "--replication-port", type=click.IntRange(1, 65535), default=5100, help="Port for the nodes."
)
CONNECTIONS = click.option(
    "--connections", type=MOST, default=1000, help="Most connections at once."
)


@cli.component
@listens(5000)
@REPLICATION
@click.option(
    "--secondary",
    "secondaries",
    type=PeerType(),
    multiple=True,
    help="A secondary's name and its replication port; once for each.",
)
@click.option("--stage", type=click.IntRange(1, 3), default=3, help="Which of the three stages.")
@click.option(
    "--patience", type=SECONDS, default=10.0, help="Seconds that a message waits for its disks."
)
@click.option("--clients", type=MOST, default=100_000, help="Most clients that are remembered.")
@CONNECTIONS
def master(
    events: Events,
    *,
    listen: str,
    port: int,
    replication_port: int,
    secondaries: tuple[tuple[str, Address], ...],
    stage: int,
    patience: float,
    clients: int,
    connections: int,
) -> None:
    """Take messages: POST /messages; have the secondaries keep them; GET /messages."""
    from apps.kit.http_server import Bounds
    from apps.replicated_log.master import MasterServer

    known = ClientTable(clients)
    with _opened(events, known.add) as log:
        if not log.identity:
            log.append((), secrets.token_hex(16))
        here = Address(listen, replication_port)
        server = MasterServer(
            Address(listen, port),
            Master(
                [name for name, _ in secondaries], log, known, STAGES[stage], rng=random.Random()
            ),
            log,
            TcpTransport(events.node, here, dict(secondaries), events),
            stage=STAGES[stage],
            events=events,
            bounds=Bounds(connections, idle=patience + 10.0, answer=None),
            patience=patience,
        )
        run_service(events, server)


@cli.component
@listens(5001)
@REPLICATION
@click.option(
    "--master", type=PeerType(), required=True, help="The master's name and its replication port."
)
@click.option(
    "--delay",
    type=click.FloatRange(0.0),
    default=0.0,
    help="Seconds that each write waits before it is made, to show what waiting costs.",
)
@CONNECTIONS
def secondary(
    events: Events,
    *,
    listen: str,
    port: int,
    replication_port: int,
    master: tuple[str, Address],
    delay: float,
    connections: int,
) -> None:
    """Keep what the master has, and let everybody read it: GET /messages."""
    from apps.kit.http_server import Bounds
    from apps.replicated_log.secondary import SecondaryServer

    name, address = master
    with _opened(events) as log:
        server = SecondaryServer(
            Address(listen, port),
            Follower(name, log),
            log,
            TcpTransport(events.node, Address(listen, replication_port), {name: address}, events),
            events=events,
            bounds=Bounds(connections),
            delay=delay,
        )
        run_service(events, server)


@cli.client
@click.argument("server", type=UrlType(5000), metavar="URL")
@click.argument("words", nargs=-1, metavar="[VERB [ARGUMENT]]")
@loads
@click.option("--w", default="majority", help="So many disks: a number, majority, or all.")
@click.option("--size", type=MOST, default=16, help="With a load: bytes of a message.")
@click.option(
    "--reads", type=click.FloatRange(0.0, 1.0), default=0.0, help="With a load: part of reads."
)
@click.option("--from", "first", type=click.IntRange(0), default=0, help="Where reads begin.")
@click.option("--timeout", type=SECONDS, default=10.0, help="Seconds per operation.")
def client(
    events: Events,
    *,
    server: Address,
    words: tuple[str, ...],
    load: Load | None,
    w: str,
    size: int,
    reads: float,
    first: int,
    timeout: float,
) -> None:
    r"""Append to the log of URL, or read it there; a secondary can only be read.

    \b
    append TEXT     acknowledged once it is on --w disks
    read            the messages from --from on
    health          how the node is

    Without a verb, converse: a verb a line, Ctrl-D ends it. With --count or --for, append again and
    again, and read now and then.
    """
    from apps.replicated_log.client import Log
    from apps.replicated_log.verbs import Mix, converse, do, measure

    try:
        if load is not None:
            asyncio.run(measure(server, events, load, Mix(w, size, reads, first, timeout)))
            return
        with Log(server, events, timeout=timeout, rng=random.Random()) as log:
            if words:
                do(log, events, list(words), w, first)
            else:
                converse(log, events, typed("> "), w, first)
    except Misspelt as error:
        raise click.UsageError(str(error)) from error


@contextmanager
def _opened(events: Events, seen: Seen = lambda _offset, _entry: None) -> Iterator[LogFile]:
    """Open the log in the unit's state directory; what is wrong with it is said to a person.

    A long log takes long to read; as long as that goes on, systemd is told to wait.
    """

    def still_reading(offset: int, entry: Entry) -> None:
        seen(offset, entry)
        if offset % ENTRIES_READ_SOON == 0:
            notify("EXTEND_TIMEOUT_USEC=30000000")

    try:
        with LogFile(state_directory() / "log", still_reading) as log:
            events.emit("opened", length=log.length, log=log.identity, repaired=log.repaired)
            yield log
    except (Damaged, NoRoom) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    cli()

"""The bully election: `node` is one of those that elect; `client` asks it who leads."""

from __future__ import annotations

import asyncio
import shlex

import click

from apps.bully.client import USAGE, converse
from apps.bully.client import command as command_by
from apps.bully.client import survey as survey_all
from apps.bully.core import Bully, Timing
from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, PeerType, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.node import Node
from apps.kit.store import Store, state_directory
from apps.kit.summary import Load
from apps.kit.transport import UdpTransport

cli = Pattern("bully", __doc__)
SECONDS = click.FloatRange(0.01)


@cli.component
@listens(7200)
@click.option(
    "--peer",
    "peers",
    type=PeerType(),
    multiple=True,
    help="A node, this one too; once for each of them, the lowest first.",
)
@click.option(
    "--answer", type=SECONDS, default=Timing.answer, help="Seconds that an answer may take."
)
@click.option(
    "--check", type=SECONDS, default=Timing.check, help="Seconds between a coordinator's checks."
)
@click.option(
    "--silence",
    type=SECONDS,
    default=Timing.silence,
    help="Seconds without a word of the coordinator after which it is asked whether it is there.",
)
def node(
    events: Events,
    *,
    listen: str,
    port: int,
    peers: tuple[tuple[str, Address], ...],
    answer: float,
    check: float,
    silence: float,
) -> None:
    """Be one of the nodes; messages by UDP, clients by TCP on the same port."""
    here = Address(listen, port)
    nodes = [name for name, _ in peers] or [events.node]
    if events.node not in nodes:
        raise click.UsageError(f"{events.node} is none of the nodes: {', '.join(nodes)}")
    store = Store(state_directory() / "node.json")
    core = Bully(events.node, nodes, store.values, Timing(answer, check, silence))
    others = {name: address for name, address in peers if name != events.node}
    transport = UdpTransport(here, others, events)
    run_service(events, Node(core, events.node, here, transport, events=events, store=store))


@cli.client
@click.argument("server", type=AddressType(7200))
@click.argument("words", nargs=-1, metavar="[REQUEST]...")
@click.option("--timeout", type=SECONDS, default=5.0, help="Seconds per request.")
def client(events: Events, *, server: Address, words: tuple[str, ...], timeout: float) -> None:
    """Ask the node SERVER one REQUEST; without one, converse (Ctrl-D ends it).

    A request is one of: who, order TEXT. Only who leads gives orders.
    """
    if not words:
        events.say(USAGE)
    lines = [list(words)] if words else map(shlex.split, filter(str.strip, typed("> ")))
    asyncio.run(converse(server, events, lines, patience=timeout, persist=not words))


@cli.client
@click.argument("nodes", type=PeerType(), nargs=-1, required=True)
@click.option("--timeout", type=SECONDS, default=5.0, help="Seconds per request.")
def survey(events: Events, *, nodes: tuple[tuple[str, Address], ...], timeout: float) -> None:
    """Ask all NODES who leads, each given as name=host:port."""
    asyncio.run(survey_all(dict(nodes), events, patience=timeout))


@cli.client
@click.argument("nodes", type=PeerType(), nargs=-1, required=True)
@loads
@click.option("--timeout", type=SECONDS, default=2.0, help="Seconds per request.")
def command(
    events: Events,
    *,
    nodes: tuple[tuple[str, Address], ...],
    load: Load | None,
    timeout: float,
) -> None:
    """Give orders through whoever leads, found out anew each time; 10 of them, if not told.

    NODES are all that elect, each as name=host:port.
    """
    asyncio.run(command_by(dict(nodes), events, load or Load(count=10), patience=timeout))


if __name__ == "__main__":
    cli()

"""Lamport's clock: `node` is one process; `client` asks it; `contend` fights for the resource."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import TextIO

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, PeerType, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.node import Node
from apps.kit.store import Store, state_directory
from apps.kit.summary import Load
from apps.kit.transport import UdpTransport
from apps.lamport_clock.client import USAGE, converse
from apps.lamport_clock.client import contend as contend_for
from apps.lamport_clock.core import LamportNode
from apps.lamport_clock.shiviz import shiviz as render

cli = Pattern("lamport_clock", __doc__)
SECONDS = click.FloatRange(0.01)


@cli.component
@listens(7000)
@click.option(
    "--peer", "peers", type=PeerType(), multiple=True, help="Another node; once for each of them."
)
def node(events: Events, *, listen: str, port: int, peers: tuple[tuple[str, Address], ...]) -> None:
    """Be one of the processes; messages by UDP, clients by TCP on the same port."""
    here = Address(listen, port)
    addresses = {name: address for name, address in peers if name != events.node}
    store = Store(state_directory() / "node.json")
    core = LamportNode(events.node, addresses, store.values)
    transport = UdpTransport(here, addresses, events)
    run_service(events, Node(core, events.node, here, transport, events=events, store=store))


@cli.client
@click.argument("server", type=AddressType(7000))
@click.argument("words", nargs=-1, metavar="[REQUEST]...")
@click.option("--timeout", type=SECONDS, default=60.0, help="Seconds per request.")
def client(events: Events, *, server: Address, words: tuple[str, ...], timeout: float) -> None:
    """Ask the node SERVER one REQUEST; without one, converse (Ctrl-D ends it).

    A request is one of: acquire [HOLD [WAIT]], release NUMBER NODE, event NAME, tell NODE TEXT,
    state. Times are in seconds; the fence of a grant is NUMBER NODE.
    """
    if not words:
        events.say(USAGE)
    lines = [list(words)] if words else map(shlex.split, filter(str.strip, typed("> ")))
    asyncio.run(converse(server, events, lines, patience=timeout, persist=not words))


@cli.client
@click.argument("server", type=AddressType(7000))
@loads
@click.option("--stay", type=click.FloatRange(0.0), default=0.02, help="Seconds inside, about.")
@click.option("--wait", type=SECONDS, help="Seconds to wait for a grant; for ever if not given.")
@click.option("--timeout", type=SECONDS, default=60.0, help="Seconds per request.")
def contend(
    events: Events,
    *,
    server: Address,
    load: Load | None,
    stay: float,
    wait: float | None,
    timeout: float,
) -> None:
    """Enter the critical section again and again through the node SERVER; 10 times, if not told."""
    load = load or Load(count=10)
    asyncio.run(contend_for(server, events, load, stay=stay, wait=wait, patience=timeout))


@cli.command
@click.argument("history", type=click.File())
def shiviz(history: TextIO) -> None:
    """Turn the history.jsonl of a run into a ShiViz log, on standard output."""
    click.echo(render(json.loads(line) for line in history), nl=False)


if __name__ == "__main__":
    cli()

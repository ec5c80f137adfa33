"""A hash table on all hosts: `node` is a part of it; `client` asks one; publishers are found in it.

`publish` and `subscribe` meet by topic alone, and then speak by ZeroMQ.
"""

from __future__ import annotations

import asyncio
import math

import click

from apps.kademlia.client import USAGE, exercise, one, parse
from apps.kademlia.client import meet as all_met
from apps.kademlia.client import survey as survey_all
from apps.kademlia.node import Habits, KademliaNode
from apps.kit import cli as kit
from apps.kit.address import Address
from apps.kit.cli import AddressType, Misspelt, Pattern, listens, loads
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.store import Store, state_directory
from apps.kit.summary import Load

cli = Pattern("kademlia", __doc__)
PORT = 8468
NODE = AddressType(PORT)
SECONDS = click.FloatRange(0.01)


@cli.component
@listens(PORT)
@click.option(
    "--peer",
    "peers",
    type=NODE,
    multiple=True,
    help="A node to join by, this one or another; once for each. Without any it is the first.",
)
@click.option(
    "--k", type=click.IntRange(1, 64), default=20, help="Nodes that keep a key; size of a bucket."
)
@click.option("--alpha", type=click.IntRange(1, 64), default=3, help="Nodes asked at once.")
@click.option(
    "--refresh",
    type=SECONDS,
    default=Habits.refresh,
    help="Seconds without a search among some ids, after which one is made.",
)
@click.option(
    "--republish",
    type=SECONDS,
    default=Habits.republish,
    help="Seconds after which a key is stored again that nobody has stored meanwhile.",
)
@click.option(
    "--rejoin",
    type=SECONDS,
    default=Habits.rejoin,
    help="Seconds between two questions after nodes that are missing; more for one long away.",
)
def node(
    events: Events,
    *,
    listen: str,
    port: int,
    peers: tuple[Address, ...],
    k: int,
    alpha: int,
    refresh: float,
    republish: float,
    rejoin: float,
) -> None:
    """Be a node; others by UDP, clients by TCP on the same port."""
    store = Store(state_directory() / "node.json")
    habits = Habits(refresh=refresh, republish=republish, rejoin=rejoin)
    here = Address(listen, port)
    serving = KademliaNode(here, peers, events, store, ksize=k, alpha=alpha, habits=habits)
    run_service(events, serving)


@cli.client
@click.argument("server", type=NODE, metavar="NODE")
@click.argument("words", nargs=-1, metavar="[REQUEST]...")
@click.option("--timeout", type=SECONDS, default=10.0, help="Seconds per request.")
def client(events: Events, *, server: Address, words: tuple[str, ...], timeout: float) -> None:
    r"""Ask a NODE one REQUEST; without one, converse (Ctrl-D ends it).

    \b
    get KEY                  the newest value that is found
    set KEY VALUE [COPIES]   on as many of the nearest nodes, k if not told
    holds KEY                what this very node keeps of it
    lookup TOPIC             the publishers of a topic
    status                   the node itself, and whom it knows
    """
    with asyncio.Runner() as runner:

        def do(typed: list[str]) -> None:
            runner.run(one(server, events, parse(typed), timeout))

        if words:
            try:
                do(list(words))
            except Misspelt as error:
                raise click.UsageError(str(error)) from error
        else:
            events.say(USAGE)
            kit.converse(events, kit.typed("> "), lambda line: do(kit.split(line)))


@cli.client
@click.argument("nodes", type=NODE, nargs=-1, required=True)
@click.option("--key", "keys", multiple=True, required=True, help="Once for each.")
@click.option("--holds", is_flag=True, help="Ask what each node keeps itself.")
@click.option("--timeout", type=SECONDS, default=15.0, help="Seconds per request.")
def survey(
    events: Events,
    *,
    nodes: tuple[Address, ...],
    keys: tuple[str, ...],
    holds: bool,
    timeout: float,
) -> None:
    """Get each key from each of the NODES."""
    asyncio.run(survey_all(nodes, keys, events, "holds" if holds else "get", timeout))


@cli.client
@click.argument("nodes", type=NODE, nargs=-1, required=True)
@click.option("--within", type=SECONDS, default=10.0, help="Seconds that it may take.")
def meet(events: Events, *, nodes: tuple[Address, ...], within: float) -> None:
    """Wait until the NODES know each other."""
    asyncio.run(all_met(nodes, events, within))


@cli.client
@click.argument("nodes", type=NODE, nargs=-1, required=True)
@loads
@click.option("--name", default="made-up", help="What the keys begin with.")
@click.option("--copies", type=click.IntRange(1, 64), default=20, help="Nodes that keep each key.")
@click.option("--timeout", type=SECONDS, default=10.0, help="Seconds per request.")
def fill(
    events: Events,
    *,
    nodes: tuple[Address, ...],
    load: Load | None,
    name: str,
    copies: int,
    timeout: float,
) -> None:
    """Set and get made-up keys by any of the NODES; 10 times, if not told."""
    asyncio.run(
        exercise(nodes, events, load or Load(count=10), name=name, copies=copies, patience=timeout)
    )


@cli.client
@click.argument("server", type=NODE, metavar="NODE")
@click.argument("topic")
@click.option(
    "--listen", type=AddressType(0), default=None, help="Where to publish; any port of this host."
)
@click.option("--lease", type=click.FloatRange(0.3), default=5.0, help="Seconds to be found for.")
@click.option("--rate", type=click.FloatRange(0.1, 1000.0), default=5.0, help="Updates a second.")
@click.option("--for", "seconds", type=SECONDS, default=math.inf, help="Seconds; without end.")
def publish(
    events: Events,
    *,
    server: Address,
    topic: str,
    listen: Address | None,
    lease: float,
    rate: float,
    seconds: float,
) -> None:
    """Publish updates on a TOPIC, and be found by it through a NODE; Ctrl-C ends it."""
    from apps.kademlia import exchange

    here = exchange.bound_to(listen)
    pace = exchange.Pace(rate, seconds)
    asyncio.run(exchange.publish(server, events, topic, listen=here, lease=lease, pace=pace))


@cli.client
@click.argument("server", type=NODE, metavar="NODE")
@click.argument("topic")
@click.option("--every", type=SECONDS, default=0.5, help="Seconds between two searches.")
@click.option("--for", "seconds", type=SECONDS, default=math.inf, help="Seconds; without end.")
def subscribe(events: Events, *, server: Address, topic: str, every: float, seconds: float) -> None:
    """Hear whoever publishes on a TOPIC, found through a NODE; Ctrl-C ends it."""
    from apps.kademlia import exchange

    asyncio.run(exchange.subscribe(server, events, topic, every=every, seconds=seconds))


if __name__ == "__main__":
    cli()

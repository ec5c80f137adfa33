"""Images from the edge: `canonical` has them, each `edge` caches them, `client` gets them."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from apps.bully.core import Bully
from apps.edge_cache.canonical import CanonicalServer, Collection
from apps.edge_cache.client import USAGE, Taste, do_all, do_one
from apps.edge_cache.client import load as load_edges
from apps.edge_cache.core import Cache
from apps.edge_cache.edge import Edge, Neighbours
from apps.edge_cache.shelf import Shelf
from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, PeerType, listens, loads, typed
from apps.kit.events import Events
from apps.kit.http_server import Bounds
from apps.kit.lifecycle import run_service
from apps.kit.node import Node
from apps.kit.store import Store, state_directory
from apps.kit.summary import Load
from apps.kit.transport import UdpTransport

cli = Pattern("edge_cache", __doc__)
SECONDS = click.FloatRange(0.01)
MOST = click.IntRange(1)


@cli.component
@listens(9000)
@click.option("--images", type=MOST, default=500, help="How many images there are.")
@click.option(
    "--max-age", type=click.IntRange(0), default=5, help="Seconds that a copy of one stays fresh."
)
@click.option("--connections", type=MOST, default=1000, help="Most connections at once.")
def canonical(
    events: Events, *, listen: str, port: int, images: int, max_age: int, connections: int
) -> None:
    """Serve the images themselves: GET /images/ID."""
    collection = Collection(state_directory() / "images", images, max_age)
    bounds = Bounds(connections)
    run_service(events, CanonicalServer(Address(listen, port), collection, events, bounds))


@cli.component
@listens(8001)
@click.option(
    "--canonical", type=AddressType(9000), required=True, help="Where the images come from."
)
@click.option(
    "--peer",
    "peers",
    type=PeerType(),
    multiple=True,
    help="An edge, this one too; once for each of them, the lowest first.",
)
@click.option("--capacity", type=MOST, default=32 << 20, help="Bytes of images that are kept.")
@click.option("--connections", type=MOST, default=1000, help="Most connections at once.")
def edge(
    events: Events,
    *,
    listen: str,
    port: int,
    canonical: Address,
    peers: tuple[tuple[str, Address], ...],
    capacity: int,
    connections: int,
) -> None:
    """Serve images from a cache: GET /images/ID; elect by UDP on the same port."""
    here, names = Address(listen, port), [name for name, _ in peers] or [events.node]
    if events.node not in names:
        raise click.UsageError(f"{events.node} is none of the edges: {', '.join(names)}")
    others = {name: address for name, address in peers if name != events.node}
    store = Store(state_directory() / "election.json")
    election = Bully(events.node, names, store.values)
    transport = UdpTransport(here, others, events)
    server = Edge(
        here,
        Neighbours(canonical, others),
        election,
        cache=Cache(capacity),
        shelf=Shelf(state_directory() / "images", events),
        events=events,
        bounds=Bounds(connections),
    )

    @asynccontextmanager
    async def serving() -> AsyncIterator[None]:
        node = Node(election, events.node, None, transport, events=events, store=store)
        async with node, server:
            yield

    run_service(events, serving())


@cli.client
@click.argument("edges", metavar="EDGES")
@click.argument("words", nargs=-1, metavar="[REQUEST]...")
@loads
@click.option("--images", type=MOST, default=64, help="With a load: so many different ones.")
@click.option("--skew", type=click.FloatRange(0.0), default=1.0, help="With a load: Zipf's s.")
@click.option("--image", type=click.IntRange(0), help="With a load: this one alone.")
@click.option("--timeout", type=SECONDS, default=20.0, help="Seconds per request.")
def client(
    events: Events,
    *,
    edges: str,
    words: tuple[str, ...],
    load: Load | None,
    images: int,
    skew: float,
    image: int | None,
    timeout: float,
) -> None:
    """Ask the EDGES, given as n1:8001,n2:8002,n3:8003, one REQUEST; without one, converse.

    An image is asked of edge number ID mod n, and of the next one if that one is away. A request
    is one of: get_image ID [FILE], get_image_size ID, leader, stats.
    """
    try:
        addresses = [Address.parse(text, 8001) for text in edges.split(",")]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="EDGES") from error
    if load is not None:
        taste = Taste(images, skew, image)
        asyncio.run(load_edges(addresses, events, load, taste, timeout))
    elif words:
        asyncio.run(do_one(addresses, events, list(words), timeout))
    else:
        events.say(USAGE)
        lines = map(shlex.split, filter(str.strip, typed("> ")))
        asyncio.run(do_all(addresses, events, lines, timeout))


if __name__ == "__main__":
    cli()

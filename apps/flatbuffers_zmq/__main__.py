"""FlatBuffers over ZeroMQ: a publisher, subscribers of either schema, and what it costs."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from apps.flatbuffers_zmq.client import MadeUp, listen_to, say
from apps.flatbuffers_zmq.client import publish as publish_to_all
from apps.flatbuffers_zmq.codec import MOST, Schema, decode
from apps.flatbuffers_zmq.compare import SIZES, fields, table
from apps.flatbuffers_zmq.compare import compare as compare_formats
from apps.flatbuffers_zmq.publisher import Publisher, PublisherService
from apps.flatbuffers_zmq.subscriber import Subscriber, SubscriberService, reachable
from apps.flatbuffers_zmq.verifier import LONGEST, Malformed
from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.outcome import Rejected

cli = Pattern("flatbuffers_zmq", __doc__)
PUBLISHER = AddressType(5580)
WAITING = click.IntRange(1, 1000)
NUMBERS = click.IntRange(0, MOST)
READS = click.Choice([schema.value for schema in Schema])
WRITES = click.Choice([*(schema.value for schema in Schema), "both"])


def written_with(schema: str) -> list[Schema]:
    """Give the schemas to write with, in turn."""
    return list(Schema) if schema == "both" else [Schema(schema)]


@cli.component
@listens(5580)
@click.option("--rate", type=click.FloatRange(0.1), default=4.0, help="Messages a second.")
@click.option("--numbers", type=NUMBERS, default=16, help="Numbers of each.")
@click.option("--schema", type=WRITES, default="both", help="To write with; both: in turn.")
@click.option(
    "--waiting", type=WAITING, default=1000, help="Most messages that wait for a subscriber."
)
def publisher(
    events: Events, *, listen: str, port: int, rate: float, numbers: int, schema: str, waiting: int
) -> None:
    """Publish made-up messages to whoever subscribes."""
    publishing = Publisher(
        Address(listen, port), events, schemas=written_with(schema), waiting=waiting
    )
    run_service(events, PublisherService(publishing, rate, numbers))


@cli.component
@click.option(
    "--publisher",
    "publishers",
    type=PUBLISHER,
    multiple=True,
    help="Where to subscribe; once for each of them.",
)
@click.option("--schema", type=READS, default="new", help="To read with.")
@click.option("--waiting", type=WAITING, default=1000, help="Most messages that wait to be read.")
@click.option(
    "--every", type=click.FloatRange(0.1), default=1.0, help="Seconds between two reports."
)
def subscriber(
    events: Events, *, publishers: tuple[Address, ...], schema: str, waiting: int, every: float
) -> None:
    """Take all that the publishers publish; refuse what must not be read, and count."""
    subscribing = Subscriber(
        publishers, events, schema=Schema(schema), prefixes=[""], waiting=waiting
    )
    run_service(events, SubscriberService(subscribing, every))


@cli.client
@click.argument("publishers", nargs=-1, required=True, type=PUBLISHER, metavar="PUBLISHER...")
@click.option("--topic", "prefixes", multiple=True, default=[""], help="Names that begin so alone.")
@click.option("--schema", type=READS, default="new", help="To read with.")
@click.option("--count", type=click.IntRange(1), help="End when so many came.")
@click.option("--for", "seconds", type=click.FloatRange(0), help="End after so many seconds.")
@click.option("--quiet", type=click.FloatRange(0.1), help="End when nothing came for so long.")
def subscribe(
    events: Events,
    *,
    publishers: tuple[Address, ...],
    prefixes: tuple[str, ...],
    schema: str,
    count: int | None,
    seconds: float | None,
    quiet: float | None,
) -> None:
    """Show what the PUBLISHERs publish (Ctrl-C ends it)."""
    reachable(publishers)
    subscribing = Subscriber(
        publishers, events, schema=Schema(schema), prefixes=prefixes, waiting=1000
    )
    asyncio.run(listen_to(subscribing, events, count, seconds, quiet))


@cli.client
@click.argument("words", nargs=-1, metavar="[NAME [NUMBER]...]")
@listens(5581)
@click.option("--schema", type=WRITES, default="new", help="To write with; both: in turn.")
@click.option("--wait", type=click.IntRange(0), default=0, help="Begin at so many subscriptions.")
@click.option("--count", type=click.IntRange(1), help="Publish so many made-up messages.")
@click.option("--rate", type=click.FloatRange(0), default=0.0, help="A second; 0: all at once.")
@click.option("--numbers", type=NUMBERS, default=16, help="With --count: numbers of each.")
@click.option(
    "--hostile", type=click.FloatRange(0, 1), default=0.0, help="With --count: share to spoil."
)
@click.option("--seed", default=0, help="Of what is made up.")
@click.option("--timeout", type=click.FloatRange(0.1), default=30.0, help="Seconds to --wait.")
def publish(
    events: Events,
    *,
    words: tuple[str, ...],
    listen: str,
    port: int,
    schema: str,
    wait: int,
    count: int | None,
    rate: float,
    numbers: int,
    hostile: float,
    seed: int,
    timeout: float,
) -> None:
    """Publish NAME with NUMBERs; without them, lines of the same that are typed (Ctrl-D ends it).

    Nobody hears it who has not subscribed by then: --wait for them.
    """
    publishing = Publisher(
        Address(listen, port), events, schemas=written_with(schema), waiting=1000
    )
    what: MadeUp | Iterable[str] = [" ".join(words)] if words else typed("> ")
    if count is not None:
        what = MadeUp(count, rate, numbers, hostile, random.Random(seed))
    asyncio.run(publish_to_all(publishing, events, what, wait=wait, patience=timeout))


@cli.client
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--schema", type=READS, default="new", help="To read with.")
def check(events: Events, *, file: str, schema: str) -> None:
    """Verify the buffer in FILE (- is the standard input), and show it if it may be read."""
    buffer = sys.stdin.buffer.read(LONGEST + 1) if file == "-" else Path(file).read_bytes()
    try:
        topic = decode(buffer, Schema(schema))
    except Malformed as error:
        raise Rejected(str(error)) from None
    events.emit("read", **say(topic))
    events.say(" ".join(f"{name}={value}" for name, value in say(topic).items()))


@cli.client
@click.option(
    "--numbers", "sizes", type=NUMBERS, multiple=True, default=SIZES, help="Of each message."
)
@click.option(
    "--seconds", type=click.FloatRange(0.001), default=0.05, help="That each timing takes."
)
@click.option("--seed", default=0, help="Of the numbers.")
def compare(events: Events, *, sizes: tuple[int, ...], seconds: float, seed: int) -> None:
    """Compare FlatBuffers with JSON and msgpack: bytes, and microseconds on this machine."""
    rows = []
    for row in compare_formats(sizes, seconds, seed):
        events.emit("compared", **fields(row))
        rows.append(row)
    events.say(table(rows))


if __name__ == "__main__":
    cli()

"""Publish and subscribe: `broker`, `subscriber` and `publisher` are units; `publish`, `subscribe`.

The broker is Mosquitto. Topics are words with slashes between; `+` in a subscriber's filter is any
one word, `#` at its end all that may follow.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.store import state_directory
from apps.kit.summary import Load
from apps.mqtt import client, topics
from apps.mqtt.broker import Broker, Limits
from apps.mqtt.core import Message
from apps.mqtt.publisher import Publisher
from apps.mqtt.subscriber import Subscriber
from apps.mqtt.wire import VERSIONS, Terms

cli = Pattern("mqtt", __doc__)
BROKER = AddressType(1883)
QOS = click.IntRange(0, 2)
MOST = click.IntRange(1)
F = TypeVar("F", bound=Callable[..., Any])

_BROKER = click.option("--broker", type=BROKER, required=True, help="Where the broker is.")
_VERSION = click.option(
    "--version", type=click.Choice(list(VERSIONS)), default="5", help="Of MQTT."
)
_KEEPALIVE = click.option(
    "--keepalive",
    type=click.IntRange(1, 65535),
    default=2,
    help="Seconds of silence allowed; after half as many again the broker publishes the will.",
)


@cli.component
@listens(1883)
@click.option("--connections", type=MOST, default=1000, help="Most connections at once.")
@click.option("--packet", type=click.IntRange(100), default=65536, help="Longest packet, in bytes.")
@click.option(
    "--queued", type=click.IntRange(1, 65535), default=10_000, help="Most that wait for a client."
)
@click.option(
    "--autosave",
    type=click.IntRange(0),
    default=1,
    help="Changes after which all is saved; 0: only when it ends.",
)
@click.option("--hours", type=MOST, default=24, help="How long it keeps an absent one's session.")
def broker(
    events: Events,
    *,
    listen: str,
    port: int,
    connections: int,
    packet: int,
    queued: int,
    autosave: int,
    hours: int,
) -> None:
    """Take what is published and give it to who subscribed: Debian's Mosquitto."""
    limits = Limits(connections, packet, queued, autosave, hours)
    run_service(events, Broker(Address(listen, port), state_directory(), limits, events))


@cli.component
@_BROKER
@_VERSION
@click.option("--group", default="pool", help="With whom it shares the jobs.")
@_KEEPALIVE
def subscriber(
    events: Events, *, broker: Address, version: str, group: str, keepalive: int
) -> None:
    """Record all readings and a share of the jobs, through restarts of both sides."""
    terms = Terms(f"subscriber-{events.node}", version, resume=True, keepalive=keepalive)
    run_service(events, Subscriber(broker, terms, group, state_directory(), events))


@cli.component
@_BROKER
@_VERSION
@click.option(
    "--interval", type=click.FloatRange(0.001), default=0.5, help="Seconds between two readings."
)
@_KEEPALIVE
def publisher(
    events: Events, *, broker: Address, version: str, interval: float, keepalive: int
) -> None:
    """Be a sensor: publish each reading at QoS 0, 1 and 2."""
    terms = Terms(f"publisher-{events.node}", version, keepalive=keepalive)
    run_service(events, Publisher(broker, terms, interval, events))


def connects(function: F) -> F:
    """Add the options of a client; the function gets them as `terms`, and `timeout`."""

    @functools.wraps(function)
    def collected(
        events: Events,
        *args: Any,
        v5: bool,
        session: str,
        keepalive: int,
        will_topic: str,
        will: str,
        will_retain: bool,
        **kwargs: Any,
    ) -> Any:
        last = Message(will_topic, will.encode(), 1, will_retain) if will_topic else None
        name, version = session or client.named(events), "5" if v5 else "3.1.1"
        terms = Terms(name, version, resume=bool(session), keepalive=keepalive, will=last)
        return function(events, *args, terms=terms, **kwargs)

    for option in (
        click.option(
            "--timeout", type=click.FloatRange(0.01), default=10.0, help="Seconds per message."
        ),
        click.option("--will-retain", is_flag=True, help="Have the will retained."),
        click.option("--will", default="gone", help="What the broker publishes there then."),
        click.option("--will-topic", default="", help="Where, if this client is cut off."),
        click.option(
            "--keepalive", type=click.IntRange(1, 65535), default=5, help="Seconds of silence."
        ),
        click.option(
            "--session", default="", help="Name of a session that outlives this client; or none."
        ),
        click.option("--v5/--v311", default=True, help="MQTT 5, or 3.1.1."),
    ):
        collected = option(collected)
    return cast("F", collected)


@cli.client
@click.argument("broker", type=BROKER)
@click.argument("topic")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--qos", type=QOS, default=1, help="0: at most once, 1: at least, 2: exactly.")
@click.option("--retain", is_flag=True, help="Keep the last one for who subscribes later.")
@click.option("--expiry", type=MOST, help="Seconds it is good for (MQTT 5).")
@click.option(
    "--property", "properties", multiple=True, metavar="NAME=VALUE", help="User's own (MQTT 5)."
)
@loads
@click.option("--size", type=click.IntRange(0, 60_000), default=0, help="Of a made-up one, bytes.")
@connects
def publish(
    events: Events,
    *,
    broker: Address,
    topic: str,
    texts: tuple[str, ...],
    qos: int,
    retain: bool,
    expiry: int | None,
    properties: tuple[str, ...],
    load: Load | None,
    size: int,
    terms: Terms,
    timeout: float,
) -> None:
    """Publish each TEXT to TOPIC by BROKER; without one, what is typed."""
    if not terms.modern and (expiry is not None or properties):
        raise click.UsageError("MQTT 3.1.1 has neither --expiry nor --property")
    own = tuple(_pair(text) for text in properties)
    message = Message(topic, b"", qos, retain, expiry=expiry, properties=own)
    if load is not None:
        done = client.publish_load(
            broker, terms, message, load, events, size=size, patience=timeout
        )
    else:
        given = texts or (line for line in typed("message> ") if line.strip())
        done = client.publish_all(
            broker, terms, message, given, events, patience=timeout, persist=not texts
        )
    asyncio.run(done)


@cli.client
@click.argument("broker", type=BROKER)
@click.argument("filters", nargs=-1, required=True, metavar="FILTER...")
@click.option("--qos", type=QOS, default=2, help="At most so much; the publisher's, if less.")
@click.option("--share", default="", help="Group of which one gets each message; or none.")
@click.option("--count", type=MOST, help="Only so many messages.")
@click.option("--for", "seconds", type=click.FloatRange(0), help="Only for so many seconds.")
@connects
def subscribe(
    events: Events,
    *,
    broker: Address,
    filters: tuple[str, ...],
    qos: int,
    share: str,
    count: int | None,
    seconds: float | None,
    terms: Terms,
    timeout: float,
) -> None:
    """Show what is published by BROKER to topics that a FILTER matches, until Ctrl-C."""
    wanted = {topics.shared(share, name) if share else name: qos for name in filters}
    shown = client.subscribe(
        broker, terms, wanted, events, count=count, seconds=seconds, patience=timeout
    )
    asyncio.run(shown)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--property takes NAME=VALUE, not {text!r}")
    return name, value


if __name__ == "__main__":
    cli()

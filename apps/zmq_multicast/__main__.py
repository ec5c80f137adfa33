"""Reliable multicast: `publish` and `subscribe` on any host, `probe` tells why it would fail."""

from __future__ import annotations

import functools
import itertools
import os
import random
import socket
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from apps.kit.cli import Pattern, listens, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.outcome import Rejected

if TYPE_CHECKING:
    from apps.zmq_multicast.network import Network, Transport

cli = Pattern("zmq_multicast", __doc__)
F = TypeVar("F", bound=Callable[..., Any])
TRANSPORT = click.option(
    "--transport",
    type=click.Choice(["epgm", "norm", "tcp"]),
    default="epgm",
    help="How; tcp sends a copy to each.",
)
GROUP = click.option(
    "--group", default="239.192.18.1", help="Where they meet; with tcp, the publisher's address."
)
BANDWIDTH = click.option(
    "--bandwidth",
    type=click.IntRange(1, 1_000_000),
    default=10_000,
    help="kbit/s at most, repairs included (ZMQ_RATE).",
)
RECOVERY = click.option(
    "--recovery",
    type=click.FloatRange(0.001, 600),
    default=20.0,
    help="Seconds at that bandwidth that can be repaired (ZMQ_RECOVERY_IVL).",
)


def own_address() -> str:
    """Give what this host's name means, as libzmq would take it; on a lab host, its address."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""


INTERFACE = click.option(
    "--interface",
    default=own_address,
    show_default="what this host's name means",
    help="This host's numeric address in the network.",
)
PORT = click.option("--port", type=click.IntRange(1, 65535), default=5590, help="The group's port.")


def meets(function: F) -> F:
    """Add the options of the network; the function gets what they come to as `network`."""

    @functools.wraps(function)
    def collected(
        *args: Any,
        transport: Transport,
        group: str,
        port: int,
        bandwidth: int,
        recovery: float,
        listen: str = "",
        interface: str = "",
        **kwargs: Any,
    ) -> Any:
        from apps.zmq_multicast.network import CannotOpen, Network

        try:
            network = Network(transport, listen or interface, group, port, bandwidth, recovery)
        except CannotOpen as error:
            raise click.UsageError(str(error)) from None
        return function(*args, network=network, **kwargs)

    for option in (RECOVERY, BANDWIDTH, GROUP, TRANSPORT):
        collected = option(collected)
    return cast("F", collected)


@cli.component
@listens(5590)
@meets
@click.option("--topic", default="tick", help="What it is about.")
@click.option("--rate", type=click.FloatRange(0.01, 1000), default=2.0, help="Messages a second.")
def publisher(events: Events, *, network: Network, topic: str, rate: float) -> None:
    """Publish a little to the group, all the time."""
    from apps.zmq_multicast.publisher import PublisherService

    run_service(events, PublisherService(network, events, topic=topic, rate=rate))


@cli.component
@listens(5590)
@meets
@click.option("--topic", default="", help="Topics that begin so; all do with nothing.")
def subscriber(events: Events, *, network: Network, topic: str) -> None:
    """Subscribe to the group, and follow each stream by its numbers."""
    from apps.zmq_multicast.subscriber import SubscriberService

    run_service(events, SubscriberService(network, events, topic=topic))


@cli.client
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@INTERFACE
@PORT
@meets
@click.option("--topic", default="news", help="What it is about.")
@click.option("--count", type=click.IntRange(1), help="Publish so many made-up messages.")
@click.option(
    "--for", "seconds", type=click.FloatRange(0), help="Publish made-up ones for so many seconds."
)
@click.option("--size", type=click.IntRange(0, 50_000), default=64, help="Their bytes.")
@click.option(
    "--rate", type=click.FloatRange(0), default=0.0, help="Messages a second; 0: all at once."
)
@click.option(
    "--stay",
    type=click.FloatRange(0, 600),
    default=1.0,
    help="Seconds to go on repairing after the last.",
)
@click.option(
    "--subscribers", type=click.IntRange(0), default=0, help="With tcp: wait for so many."
)
@click.option("--seed", default=0, help="Of the made-up messages.")
def publish(
    events: Events,
    *,
    network: Network,
    texts: tuple[str, ...],
    topic: str,
    count: int | None,
    seconds: float | None,
    size: int,
    rate: float,
    stay: float,
    subscribers: int,
    seed: int,
) -> None:
    """Publish each TEXT to the group; without one, each line that is typed, until Ctrl-D."""
    from apps.zmq_multicast import client

    payloads: Iterable[bytes] = (os.fsencode(text) for text in texts or typed("> "))
    if count is not None or seconds is not None:
        made_up = random.Random(seed).randbytes(size)
        payloads = itertools.repeat(made_up, sys.maxsize if count is None else count)
    client.publish(
        network,
        events,
        payloads,
        topic=topic,
        rate=rate,
        seconds=seconds,
        stay=stay,
        subscribers=subscribers,
    )


@cli.client
@INTERFACE
@PORT
@meets
@click.option("--topic", default="", help="Topics that begin so; all do with nothing.")
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
@click.option("--for", "seconds", type=click.FloatRange(0), help="End after so many seconds.")
def subscribe(
    events: Events, *, network: Network, topic: str, count: int | None, seconds: float | None
) -> None:
    """Tell what is published to the group, until Ctrl-C."""
    from apps.zmq_multicast import client

    client.subscribe(network, events, topic=topic, count=count, seconds=seconds)


@cli.client
@INTERFACE
@PORT
@TRANSPORT
@GROUP
@BANDWIDTH
@click.option(
    "--wait", type=click.FloatRange(0, 600), default=2.0, help="Seconds to listen for datagrams."
)
def probe(
    events: Events,
    *,
    interface: str,
    port: int,
    transport: Transport,
    group: str,
    bandwidth: int,
    wait: float,
) -> None:
    """Tell what the installed libzmq can do, and why a transport would not work on this host."""
    from apps.zmq_multicast.probe import checks

    broken = []
    for check in checks(transport, (interface, group, port), bandwidth=bandwidth, wait=wait):
        word = {True: "ok", False: "NO", None: "--"}[check.ok]
        events.say(f"{word}  {check.name:<11} {check.detail}")
        if check.fix and not check.ok:
            events.say(f"    {'':<11} {check.fix}")
        events.emit("check", **check.as_json())
        if check.ok is False:
            broken.append(check.name)
    events.emit("summary", transport=transport, works=not broken, broken=broken)
    if broken:
        raise Rejected(f"{transport} does not work on this host: {', '.join(broken)}")


if __name__ == "__main__":
    cli()

"""Heartbeats: `sender` says that it lives; `monitor` judges; `status` and `watch` show."""

from __future__ import annotations

import asyncio
import time

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens, loads
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.store import Store, state_directory
from apps.kit.summary import Load
from apps.udp_heartbeat.client import follow, poll, show_status
from apps.udp_heartbeat.core import Monitor
from apps.udp_heartbeat.detectors import PhiRules
from apps.udp_heartbeat.heart import Heart
from apps.udp_heartbeat.monitor import monitor as serving
from apps.udp_heartbeat.sender import Sender, resolved
from apps.udp_heartbeat.tracking import Rules

cli = Pattern("udp_heartbeat", __doc__)

SECONDS = click.FloatRange(0.001)


@cli.component
@click.option("--listen", default="127.0.0.1", help="Address to send from; on a host, the lab's.")
@click.option(
    "--monitor",
    "monitors",
    type=AddressType(12346),
    multiple=True,
    help="Who is told, by unicast; once for each.",
)
@click.option(
    "--broadcast", default="", help="Broadcast address, as host:port; tells the whole subnet."
)
@click.option("--interval", type=SECONDS, default=0.25, help="Seconds between two heartbeats.")
def sender(
    events: Events, *, listen: str, monitors: tuple[Address, ...], broadcast: str, interval: float
) -> None:
    """Send heartbeats."""
    try:
        wanted = [*monitors, *([Address.parse(broadcast, 12346)] if broadcast else [])]
        if not wanted:
            raise ValueError("nobody is told: give --monitor or --broadcast")
        targets = resolved(wanted)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    store = Store(state_directory() / "sender.json")
    heart = Heart(events.node, list(targets), interval, store.values, at_least=int(time.time()))
    run_service(events, Sender(heart, listen, targets, events=events, store=store))


@cli.component
@listens(12346)
@click.option("--broadcast", default="", help="Subnet's broadcast address, to hear those too.")
@click.option("--timeout", type=SECONDS, default=1.5, help="Fixed: silence that is suspect.")
@click.option("--interval", type=SECONDS, default=0.25, help="Phi: expected between heartbeats.")
@click.option(
    "--threshold", type=click.FloatRange(0.1, 100.0), default=8.0, help="Phi: level of suspicion."
)
@click.option("--window", type=click.IntRange(2), default=100, help="Phi: intervals remembered.")
@click.option("--deviation", type=SECONDS, default=0.1, help="Phi: least standard deviation.")
@click.option(
    "--pause", type=click.FloatRange(0.0), default=0.7, help="Phi: silence accepted on top."
)
@click.option("--ceiling", type=SECONDS, default=5.0, help="Phi: silence suspect in any case.")
@click.option("--dead-after", type=SECONDS, default=3.0, help="Suspected so long is dead.")
@click.option("--held-up", type=SECONDS, default=0.25, help="Own lateness that is forgiven others.")
@click.option("--senders", type=click.IntRange(1), default=1000, help="Most senders known.")
def monitor(
    events: Events,
    *,
    listen: str,
    port: int,
    broadcast: str,
    timeout: float,
    interval: float,
    threshold: float,
    window: int,
    deviation: float,
    pause: float,
    ceiling: float,
    dead_after: float,
    held_up: float,
    senders: int,
) -> None:
    """Judge the senders of heartbeats; times are in seconds."""
    phi = PhiRules(interval, threshold, window, deviation, pause, ceiling)
    core = Monitor(Rules(timeout, phi, dead_after, held_up), senders=senders)
    run_service(events, serving(core, Address(listen, port), broadcast, events))


@cli.client
@click.argument("server", type=AddressType(12346), metavar="MONITOR")
@loads
@click.option("--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds to answer.")
def status(events: Events, *, server: Address, load: Load | None, timeout: float) -> None:
    """Show who is alive, suspected, dead, and for how long; or ask so as a load."""
    asyncio.run(
        poll(server, events, timeout, load) if load else show_status(server, events, timeout)
    )


@cli.client
@click.argument("server", type=AddressType(12346), metavar="MONITOR")
@click.option("--count", type=click.IntRange(1), help="End after so many transitions.")
@click.option("--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds to answer.")
def watch(events: Events, *, server: Address, count: int | None, timeout: float) -> None:
    """Follow the transitions as they happen; Ctrl-C ends it."""
    asyncio.run(follow(server, events, timeout, count))


if __name__ == "__main__":
    cli()

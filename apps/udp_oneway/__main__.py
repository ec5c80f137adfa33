"""One-way over UDP: `receiver` counts what comes, `send` fires and forgets, `report` asks."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
import time
from collections.abc import Iterable
from typing import Any

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.udp import RECEIVE_BUFFER
from apps.udp_oneway.receiver import MOST_SENDERS, ReceiverService
from apps.udp_oneway.report import confirm, show
from apps.udp_oneway.sender import Sender, paced
from apps.udp_oneway.trouble import Trouble
from apps.udp_oneway.wire import LONGEST_PAYLOAD

cli = Pattern("udp_oneway", __doc__)
RECEIVER = AddressType(12345)
SHARE = click.FloatRange(0, 1)


@cli.component
@listens(12345)
@click.option(
    "--senders", type=click.IntRange(1, MOST_SENDERS), default=1000, help="Most streams kept."
)
@click.option(
    "--window",
    type=click.IntRange(1, 1 << 20),
    default=4096,
    help="Numbers of a stream remembered, to know a copy or a late one.",
)
@click.option(
    "--buffer",
    type=click.IntRange(1),
    default=RECEIVE_BUFFER,
    help="Bytes of receive buffer to ask of the kernel.",
)
@click.option(
    "--every", type=click.FloatRange(0.1), default=1.0, help="Seconds between two reports."
)
def receiver(
    events: Events, *, listen: str, port: int, senders: int, window: int, buffer: int, every: float
) -> None:
    """Receive datagrams over UDP and count them; answer `counts` over TCP on the same port."""
    serving = ReceiverService(
        Address(listen, port),
        events,
        senders=senders,
        window=window,
        receive_buffer=buffer,
        every=every,
    )
    run_service(events, serving)


@cli.client
@click.argument("receiver", type=RECEIVER)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--count", type=click.IntRange(1), help="Send so many made-up payloads.")
@click.option(
    "--for", "seconds", type=click.FloatRange(0), help="Send made-up payloads for so many seconds."
)
@click.option("--size", type=click.IntRange(0, LONGEST_PAYLOAD), default=64, help="Their bytes.")
@click.option(
    "--rate", type=click.FloatRange(0), default=0.0, help="Datagrams a second; 0: all at once."
)
@click.option("--confirm", "ask", is_flag=True, help="Then ask the receiver what it counted.")
@click.option("--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds to ask.")
@click.option("--corrupt", type=SHARE, default=0.0, help="Share to damage, after the checksum.")
@click.option("--duplicate", type=SHARE, default=0.0, help="Share to send twice.")
@click.option("--reorder", type=SHARE, default=0.0, help="Share to send after the next one.")
@click.option("--seed", default=0, help="Of the payloads and of the trouble.")
def send(
    events: Events,
    *,
    receiver: Address,
    texts: tuple[str, ...],
    count: int | None,
    seconds: float | None,
    size: int,
    rate: float,
    ask: bool,
    timeout: float,
    corrupt: float,
    duplicate: float,
    reorder: float,
    seed: int,
) -> None:
    """Send each TEXT to RECEIVER, and forget it; without one, what is typed (Ctrl-D ends it)."""
    rng = random.Random(seed)
    if corrupt + duplicate + reorder > 1:
        raise click.UsageError("--corrupt, --duplicate and --reorder are more than 1 together")
    payloads: Iterable[bytes] = (os.fsencode(text) for text in texts or typed("> "))
    if count is not None or seconds is not None:
        payloads = itertools.repeat(rng.randbytes(size), sys.maxsize if count is None else count)
    trouble = Trouble(rng, corrupt, duplicate, reorder)
    began = time.perf_counter()
    with Sender(receiver, events, trouble) as sender:
        for payload in paced(payloads, rate, seconds):
            sender.send(payload)
        took = time.perf_counter() - began
    figures = {**sender.figures(), "rate": round(sender.sent / took, 1)}
    events.say(_told(figures))
    try:
        if ask:
            counted = asyncio.run(confirm(receiver, events, sender.stream, patience=timeout))
            events.say(_told(counted))
            figures |= counted
    finally:
        events.emit("summary", **figures)


def _told(figures: dict[str, Any]) -> str:
    """Give the figures for a person: without those that are nothing, but losses."""
    shown = {name: value for name, value in figures.items() if value or name == "lost"}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


@cli.client
@click.argument("receiver", type=RECEIVER)
@click.option("--sender", default="", help="This sender's streams alone.")
@click.option("--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds to wait.")
def report(events: Events, *, receiver: Address, sender: str, timeout: float) -> None:
    """Ask RECEIVER what it counted, by stream: a sender, and when its run began."""
    asyncio.run(show(receiver, events, sender, patience=timeout))


if __name__ == "__main__":
    cli()

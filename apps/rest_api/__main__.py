"""Items over HTTP: `server` keeps them on its disk; `client` creates, reads and changes them."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import click

from apps.kit.address import Address
from apps.kit.cli import Pattern, UrlType, loads, serves_http, typed
from apps.kit.events import Events
from apps.kit.store import state_directory
from apps.kit.summary import Load

if TYPE_CHECKING:
    from apps.kit.wsgi import Serving

cli = Pattern("rest_api", __doc__)


@cli.component
@serves_http(5151)
@click.option("--items", type=click.IntRange(1), default=100_000, help="Most items kept.")
@click.option(
    "--keys", type=click.IntRange(1), default=1_000_000, help="Most idempotency keys remembered."
)
@click.option(
    "--key-life",
    type=click.FloatRange(1.0),
    default=86_400.0,
    help="Seconds that an idempotency key is remembered.",
)
def server(events: Events, *, serving: Serving, items: int, keys: int, key_life: float) -> None:
    """Keep items, durably, and serve them at /items; /openapi.json says how."""
    from apps.kit.wsgi import Server
    from apps.rest_api.server import Items
    from apps.rest_api.storage import Bounds

    database, bounds = state_directory() / "items.db", Bounds(items, keys, key_life)
    try:
        application = Items(database, bounds, events, serving.body_limit)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    Server(application, serving, events).run()


@cli.client
@click.argument("server", type=UrlType(5151), metavar="URL")
@click.argument("words", nargs=-1, metavar="[VERB [ID] [JSON]]")
@loads
@click.option("--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds per operation.")
def client(
    events: Events,
    *,
    server: Address,
    words: tuple[str, ...],
    load: Load | None,
    timeout: float,
) -> None:
    r"""Create, read and change the items of URL.

    \b
    create JSON        a new item, as in: create '{"name": "nut", "quantity": 7}'
    get ID             read it
    list [AFTER]       the first items, or the first after an id
    list all [AFTER]   all of them
    replace ID JSON    it is this from now on
    patch ID JSON      it differs in this; null removes
    delete ID          it goes

    Without a verb, converse: a verb a line, Ctrl-D ends it. A change goes to the version that was
    seen last: in a conversation that is the one shown, else the current one is read first. With
    --count or --for, do that again and again, or a mix of everything.
    """
    from apps.rest_api.client import Items
    from apps.rest_api.load import measure
    from apps.rest_api.verbs import Misspelt, converse, do

    line = " ".join(words)
    try:
        if load is not None:
            asyncio.run(measure(server, events, load, line or None, patience=timeout))
            return
        with Items(server, events, timeout=timeout, rng=random.Random()) as items:
            if not words:
                converse(items, events, typed("> "))
                return
            do(items, events, line)
    except Misspelt as error:
        raise click.UsageError(str(error)) from error


if __name__ == "__main__":
    cli()

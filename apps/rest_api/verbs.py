"""What a person types: `create {"name": "nut"}`, `get 3`, `list`, `replace`, `patch`, `delete`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

from apps.kit.events import Events
from apps.kit.outcome import CallFailed
from apps.rest_api.client import OWN, Item, Items, content_of

USAGE = """\
create JSON        a new item, as in: create {"name": "nut", "quantity": 7}
get ID             read it
list [AFTER]       the first items, or the first after an id
list all [AFTER]   all of them
replace ID JSON    it is this from now on
patch ID JSON      it differs in this; null removes, as in: patch 3 {"note": null}
delete ID          it goes"""


class Misspelt(ValueError):
    """A line is no command; the text says what is wrong and what would be right."""


def do(items: Items, events: Events, line: str) -> None:
    """Carry out one line; Misspelt, or how the call failed."""
    verb, _, rest = line.strip().partition(" ")
    match verb:
        case "create":
            _show(events, items.create(_json(rest)))
        case "get":
            _show(events, items.get(_id(rest)))
        case "list":
            _list(items, events, rest.strip())
        case "replace":
            which, _, text = rest.strip().partition(" ")
            _show(events, items.replace(_id(which), _json(text)))
        case "patch":
            which, _, text = rest.strip().partition(" ")
            _show(events, items.patch(_id(which), _json(text)))
        case "delete":
            items.delete(_id(rest))
            events.say(f"{rest.strip()} is gone")
        case _:
            raise Misspelt(f"{verb!r} is no command; these are:\n{USAGE}")


def converse(items: Items, events: Events, lines: Iterable[str]) -> None:
    """Carry out line after line; what fails is said, and the next one comes."""
    for line in lines:
        if not line.strip():
            continue
        try:
            do(items, events, line)
        except Misspelt as error:
            events.say(str(error))
        except CallFailed as error:
            events.say(f"{type(error).__name__.lower()}: {error}")


def _list(items: Items, events: Events, which: str) -> None:
    everything = which.split()[:1] == ["all"]
    text = which.removeprefix("all").strip() if everything else which
    after = _id(text) if text else 0
    pages = items.pages(after) if everything else itertools.islice(items.pages(after, 20), 1)
    for page in pages:
        for item in page:
            _show(events, item)


def _show(events: Events, item: Item) -> None:
    own = {name: item[name] for name in OWN}
    events.say(f"{own['id']}  {json.dumps(content_of(item))}  (version {own['version']})")


def _id(text: str) -> int:
    text = text.strip()
    if not text.isascii() or not text.isdigit():
        raise Misspelt(f"{text!r} is no item's id; an id is a number, as in: get 3")
    return int(text)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Misspelt(f'{text!r} is not JSON ({error}); as in: {{"name": "nut"}}') from None

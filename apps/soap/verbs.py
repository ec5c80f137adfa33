"""What a person types: `add 2 3`, `quote bolt=3 nut=2`, `order alice bolt=3`, `orders`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from apps.kit.cli import Misspelt
from apps.kit.events import Events
from apps.soap.client import Client

USAGE = """\
add A B                              their sum
catalogue                            what there is to buy
quote ARTICLE=N...                   what it would cost, as in: quote bolt=3 nut=2
order CUSTOMER ARTICLE=N... [key=K]  order it, once for each key
orders [AFTER]                       what was ordered, or what was ordered after a number"""


def do(client: Client, events: Events, words: Sequence[str]) -> None:
    """Carry out one line; Misspelt, or how the call failed."""
    match list(words):
        case ["add", first, second]:
            events.say(str(client.add(_whole(first), _whole(second))))
        case ["catalogue"]:
            for article in client.catalogue():
                events.say("{name}  {price}  ({left} left)".format(**article))
        case ["quote", *lines] if lines:
            events.say(client.quote([_line(line) for line in lines]))
        case ["order", customer, *lines] if lines:
            keys = [line.removeprefix("key=") for line in lines if line.startswith("key=")]
            bought = [_line(line) for line in lines if not line.startswith("key=")]
            events.say(_shown(client.order(customer, bought, keys[0] if keys else None)))
        case ["orders", *after] if len(after) < 2:
            for order in client.orders(_whole(after[0]) if after else 0):
                events.say(_shown(order))
        case _:
            raise Misspelt(f"{' '.join(words)!r} is no command; these are:\n{USAGE}")


def operands(words: Sequence[str]) -> tuple[int, int]:
    """Read the numbers of `add A B`, the one operation that is made again and again; Misspelt."""
    match list(words):
        case ["add", first, second]:
            return _whole(first), _whole(second)
    raise Misspelt("what is made again and again is `add A B`, or without words a mix of calls")


def _whole(text: str) -> int:
    if not re.fullmatch("-?[0-9]{1,18}", text):
        raise Misspelt(f"{text!r} is no whole number")
    return int(text)


def _line(text: str) -> dict[str, Any]:
    article, equals, quantity = text.partition("=")
    if not equals:
        raise Misspelt(f"{text!r} is no ARTICLE=N, as in bolt=3")
    return {"article": article, "quantity": _whole(quantity)}


def _shown(order: dict[str, Any]) -> str:
    lines = " ".join(f"{line['article']}={line['quantity']}" for line in order["lines"])
    return "{number}  {customer}: ".format(**order) + f"{lines}, {order['total']} ({order['key']})"

"""The shop: what its articles cost, and orders that are taken once for each key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from apps.kit.ledger import Entry, Ledger

PRICES: Final = {
    "bolt": Decimal("0.10"),
    "nut": Decimal("0.05"),
    "washer": Decimal("0.02"),
    "gear": Decimal("12.50"),
    "unicorn": Decimal("1000000.00"),
}
STOCK: Final = {**dict.fromkeys(PRICES, 10**12), "unicorn": 0}
"""What of each article there is in the beginning."""

Line = Mapping[str, Any]
"""`article` and `quantity`."""


def price(lines: Sequence[Line]) -> Decimal:
    """Give what these lines cost together."""
    return sum((PRICES[line["article"]] * line["quantity"] for line in lines), Decimal("0.00"))


class Shop:
    """The orders of one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        """The ledger opened with `STOCK`."""
        self._ledger = ledger

    def order(self, key: str, customer: str, lines: Sequence[Line]) -> dict[str, Any]:
        """Take an order once for its key; Short, KeyReused, NoRoom."""
        document = {"customer": customer, "lines": [dict(line) for line in lines]}
        wanted: Counter[str] = Counter()
        for line in lines:
            wanted[line["article"]] += line["quantity"]
        taken = {article: -quantity for article, quantity in wanted.items()}
        return _shown(self._ledger.add(key, document, taken)[0])

    def orders(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Give the orders with numbers above `after`: what the shop itself says it took."""
        return [_shown(entry) for entry in self._ledger.entries(after, limit)]

    def left(self, article: str) -> int:
        """Give how many there are left of an article."""
        return self._ledger.total(article)


def _shown(entry: Entry) -> dict[str, Any]:
    shown = {"number": entry.number, "key": entry.key, **entry.document}
    return {**shown, "total": price(entry.document["lines"])}

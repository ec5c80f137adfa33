"""The interface: what can be called, with which types, and which faults. WSDL is made from this.

What the types say is checked against the schema before an operation runs: what breaks it is a
Client fault, and nothing was done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apps.kit.ledger import KeyReused, NoRoom, Short
from apps.soap.envelope import SHOP
from apps.soap.library import (
    Application,
    Array,
    ComplexModel,
    Decimal,
    Fault,
    Integer32,
    Integer64,
    Service,
    Soap11,
    Unicode,
    UnsignedInteger32,
    rpc,
)
from apps.soap.shop import PRICES, Shop, price

PAGE_MOST = 500
LINES_MOST = 50
_must = {"min_occurs": 1, "nillable": False}
_Text = Unicode(min_len=1, max_len=200, **_must)
_Key = Unicode(pattern="[!-~]{1,200}", **_must)
_Article = Unicode(values=[*PRICES], **_must)
_Count = UnsignedInteger32(**_must)
_Money = Decimal(20, 2, **_must)


class OrderLine(ComplexModel):  # type: ignore[misc]  # spyne has no types
    """So many of an article."""

    __namespace__ = SHOP
    article = _Article
    quantity = UnsignedInteger32(ge=1, le=1_000_000, **_must)


class Order(ComplexModel):  # type: ignore[misc]
    """An order that was taken."""

    __namespace__ = SHOP
    number = _Count
    key = _Key
    customer = _Text
    lines = Array(OrderLine, **_must)
    total = _Money


class Article(ComplexModel):  # type: ignore[misc]
    """What there is to buy."""

    __namespace__ = SHOP
    name = _Article
    price = _Money
    left = Integer64(**_must)


class OutOfStock(Fault):  # type: ignore[misc]
    """There is less of an article than was ordered; nothing was taken."""

    __namespace__ = SHOP
    article = _Article
    left = Integer64(**_must)


def out_of_stock(short: Short) -> Fault:
    """Give the fault with its detail where SOAP has it.

    spyne writes a fault's own members beside `faultcode`, where SOAP 1.1 (section 4.4) has none and
    clients do not look. So `OutOfStock` describes the fault in the WSDL, and this is what is sent.
    """
    fields = {f"{{{SHOP}}}article": short.name, f"{{{SHOP}}}left": str(short.left)}
    return Fault("Client.OutOfStock", str(short), detail={f"{{{SHOP}}}OutOfStock": fields})


class _Guard:
    """Has whatever an operation raises become a fault that says whose it is."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed

    def __call__(self, operation: Callable[[], Any]) -> Any:
        try:
            return operation()
        except Fault:
            raise
        except Short as error:
            raise out_of_stock(error) from error
        except KeyReused as error:
            raise Fault("Client.KeyReused", str(error)) from error
        except NoRoom as error:
            raise Fault("Server.NoRoom", str(error)) from error
        except Exception as error:
            self._failed(error)
            raise Fault("Server", "the operation failed; whether it was done is unknown") from error


def application(shop: Shop, failed: Callable[[Exception], None]) -> Application:
    """Give the application; `failed` is told when an operation fails that should not."""
    guarded = _Guard(failed)

    class Orders(Service):  # type: ignore[misc]
        """The operations; spyne gives each its context first."""

        @rpc(Integer32(**_must), Integer32(**_must), _returns=Integer64(**_must))  # type: ignore[untyped-decorator]
        def add(_ctx: Any, first: int, second: int) -> Any:  # noqa: N805
            """Give the sum: simple types."""
            return guarded(lambda: first + second)

        @rpc(_returns=Array(Article, **_must))  # type: ignore[untyped-decorator]
        def catalogue(_ctx: Any) -> Any:  # noqa: N805
            """Give what there is: an array of a complex type."""
            return guarded(lambda: _listed(shop))

        @rpc(Array(OrderLine, **_must), _returns=_Money)  # type: ignore[untyped-decorator]
        def quote(_ctx: Any, lines: list[OrderLine]) -> Any:  # noqa: N805
            """Give what an order would cost: an array in, a decimal number out."""
            return guarded(lambda: price(_bought(lines)))

        @rpc(_Key, _Text, Array(OrderLine, **_must), _returns=Order, _throws=OutOfStock)  # type: ignore[untyped-decorator]
        def order(_ctx: Any, key: str, customer: str, lines: list[OrderLine]) -> Any:  # noqa: N805
            """Take an order, once however often it comes by this key."""
            return guarded(lambda: _taken(shop.order(key, customer, _bought(lines))))

        @rpc(_Count, _Count, _returns=Array(Order, **_must))  # type: ignore[untyped-decorator]
        def orders(_ctx: Any, after: int, limit: int) -> Any:  # noqa: N805
            """Give the orders with numbers above `after`, at most so many."""
            most = min(limit, PAGE_MOST)
            return guarded(lambda: [_taken(order) for order in shop.orders(after, most)])

    return Application(
        [Orders],
        tns=SHOP,
        name="Shop",
        in_protocol=Soap11(validator="lxml"),
        out_protocol=Soap11(),
    )


def _listed(shop: Shop) -> list[Article]:
    return [Article(name=name, price=cost, left=shop.left(name)) for name, cost in PRICES.items()]


def _bought(lines: list[OrderLine]) -> list[dict[str, Any]]:
    """Give the lines as plain values; the schema has no word for how many there may be."""
    if not 1 <= len(lines) <= LINES_MOST or None in lines:
        raise Fault("Client.Lines", f"an order has from 1 to {LINES_MOST} lines")
    return [{"article": line.article, "quantity": int(line.quantity)} for line in lines]


def _taken(order: dict[str, Any]) -> Order:
    lines = [OrderLine(**line) for line in order["lines"]]
    return Order(**{**order, "lines": lines})

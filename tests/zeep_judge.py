"""zeep, a SOAP client that nobody here wrote, reads a server's WSDL and calls all that is there."""

from __future__ import annotations

import uuid
import warnings
from decimal import Decimal

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it is built upon is older than Python 3.11
    import zeep
    import zeep.exceptions


def judge(url: str) -> None:
    """Call every operation that the WSDL at `url` describes; what comes back must be right."""
    with zeep.Client(f"{url}/?wsdl") as client:  # type: ignore[no-untyped-call]
        service = client.service
        types = client.type_factory("ns0")
        (binding,) = client.wsdl.bindings.values()
        assert set(binding.all()) == {"add", "catalogue", "quote", "order", "orders"}

        assert service.add(2, 3) == 5
        articles = {article.name: article for article in service.catalogue()}
        assert articles["bolt"].price == Decimal("0.10")
        lines = types.OrderLineArray(
            [types.OrderLine("bolt", 3), types.OrderLine(article="nut", quantity=2)]
        )
        assert service.quote(lines) == Decimal("0.40")
        key = str(uuid.uuid4())
        made = service.order(key, "zeep", lines)
        assert (made.key, made.total) == (key, Decimal("0.40"))
        assert service.order(key, "zeep", lines) == made
        assert service.orders(made.number - 1, 1) == [made]

        with pytest.raises(zeep.exceptions.Fault) as out_of_stock:
            service.order(key + "2", "zeep", types.OrderLineArray([types.OrderLine("unicorn", 1)]))
        detail = client.get_element("ns0:OutOfStock").parse(
            out_of_stock.value.detail[0], client.wsdl.types
        )
        assert (detail.article, detail.left) == ("unicorn", 0)
        with pytest.raises(zeep.exceptions.Fault, match="xs:int") as invalid:
            service.add("x", 1)
        assert invalid.value.code.endswith("Client.SchemaValidationError")

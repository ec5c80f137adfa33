"""SOAP without a lab: hostile and broken envelopes, the interface, faults, claims, words typed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.address import Address
from apps.kit.cli import Misspelt
from apps.kit.events import Events
from apps.kit.wsgi import Serving, Wsgi
from apps.soap.claims import answers_are_right, orders_are_true
from apps.soap.envelope import (
    SHOP,
    SOAP,
    FaultTold,
    Malformed,
    content_of,
    fault,
    fault_of,
    parsed,
    plain,
    written,
)
from apps.soap.server import Operations
from apps.soap.shop import STOCK, price
from apps.soap.verbs import operands

ADD = written("add", {"first": 2, "second": 3})
LINES = {"OrderLine": [{"article": "bolt", "quantity": 3}, {"article": "nut", "quantity": 2}]}


class Http:
    """The application, asked without a network."""

    def __init__(self, application: Wsgi, out: io.StringIO) -> None:
        self._application = application
        self._out = out

    def __call__(self, body: bytes, **environ: str) -> tuple[int, bytes]:
        """Post a body; give the status and the answer."""
        statuses: list[str] = []
        asked = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "CONTENT_TYPE": "text/xml; charset=utf-8",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_HOST": "evil.example",
            "SERVER_NAME": "x",
            "SERVER_PORT": "8000",
            "wsgi.url_scheme": "http",
            **environ,
        }
        answer = self._application(
            asked | {"wsgi.input": io.BytesIO(body)}, lambda status, *_: statuses.append(status)
        )
        return int(statuses[0][:3]), b"".join(answer)

    def call(self, name: str, fields: Mapping[str, Any]) -> Any:
        """Call an operation; give its result, or its fault."""
        status, answer = self(written(name, fields))
        (element,) = content_of(parsed(answer))
        told = fault_of(element)
        assert status == (500 if told else 200)
        return told or plain(element)[f"{name}Result"]

    def errors(self) -> list[Any]:
        """Give the events of failures inside."""
        events = map(json.loads, self._out.getvalue().splitlines())
        return [event for event in events if event["event"] == "error"]


@pytest.fixture
def http(tmp_path: Path) -> Iterator[Http]:
    out = io.StringIO()
    serving = Serving(Address("198.18.0.11", 8000), 1, 1, 2, 5.0, 65536)
    operations = Operations(
        tmp_path / "shop.db", 10, Events("soap", "server", "n1", out=out), serving
    )
    yield Http(operations.open(), out)
    operations.close()


def bought(*lines: tuple[str, int]) -> dict[str, Any]:
    shown = [{"article": article, "quantity": quantity} for article, quantity in lines]
    return {"lines": {"OrderLine": shown}}


def order(**fields: Any) -> dict[str, Any]:
    return {"key": "k", "customer": "al", "lines": LINES} | fields


# Messages


def soap(body: str, before: str = "", header: str = "") -> bytes:
    start = f'<s:Envelope xmlns:s="{SOAP}" xmlns:t="{SHOP}">'
    return f"{before}{start}{header}<s:Body>{body}</s:Body></s:Envelope>".encode()


def add(first: str) -> str:
    return f"<t:add><t:first>{first}</t:first><t:second>1</t:second></t:add>"


TENFOLD = "".join(
    f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
LAUGHS = f"<!DOCTYPE x [<!ENTITY a '1'>{TENFOLD}]>"
HOSTILE = {
    "billion laughs": soap(add("&j;"), LAUGHS),
    "a file": soap(add("&f;"), "<!DOCTYPE x [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>"),
    "a place": soap(add("&f;"), "<!DOCTYPE x [<!ENTITY f SYSTEM 'http://198.18.0.1/'>]>"),
    "a parameter entity": soap(
        add("1"), "<!DOCTYPE x [<!ENTITY % p SYSTEM 'file:///etc/passwd'> %p;]>"
    ),
    "a DTD": soap(add("1"), "<!DOCTYPE x SYSTEM 'file:///etc/passwd'>"),
    "an unknown entity": soap(add("&nothing;")),
    "an instruction": soap(add("1") + "<?php evil ?>"),
    "a reference to itself": soap(
        '<t:add id="a"><t:first href="#a"/><t:second>1</t:second></t:add>'
    ),
    "depth": soap("<t:add>" * 1000 + "</t:add>" * 1000),
    "deeper": soap("<a>" * 100 + "</a>" * 100),
    "XInclude": soap('<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="/etc/passwd"/>'),
}
BROKEN = {
    "nothing": b"",
    "no XML": b"hello",
    "half": ADD[:-10],
    "zeros": b"\0" * 100,
    "an empty body": soap(""),
    "two calls": soap(add("1") * 2),
    "no body": f'<s:Envelope xmlns:s="{SOAP}"/>'.encode(),
    "wrong bytes": ADD.replace(b">2<", b">\xff<"),
    "no such operation": soap("<t:fly/>"),
    "an operation of elsewhere": soap("<add/>"),
    "a fault": fault("Client", "take that"),
    "a text for a number": soap(add("x")),
    "a number too large": soap(add("99999999999")),
    "a parameter missing": soap("<t:add><t:first>1</t:first></t:add>"),
    "a parameter too many": soap(add("1").replace("</t:add>", "<t:x/></t:add>")),
}


@pytest.mark.parametrize("body", [*HOSTILE.values(), *BROKEN.values()], ids=[*HOSTILE, *BROKEN])
def test_a_bad_message_is_the_clients_fault(http: Http, body: bytes) -> None:
    status, answer = http(body)
    told = fault_of(content_of(parsed(answer))[0])
    assert told
    assert status == 500
    assert told.code.partition(".")[0] == "Client"
    assert b"root:" not in answer
    assert http.errors() == []
    assert http.call("add", {"first": 2, "second": 3}) == "5"


def test_another_version_and_headers_that_nobody_understands(http: Http) -> None:
    other = ADD.replace(SOAP.encode(), b"http://www.w3.org/2003/05/soap-envelope")
    assert b":VersionMismatch<" in http(other)[1]
    header = '<s:Header><t:pay s:mustUnderstand="1"/></s:Header>'
    assert b":MustUnderstand<" in http(soap(add("1"), header=header))[1]
    ignored = header.replace('"1"', '"0"')
    assert http(soap(add("1"), header=ignored))[0] == 200


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_charsets(http: Http, encoding: str) -> None:
    text = soap(
        f"<t:order><t:key>{encoding}</t:key><t:customer>Ångström</t:customer><t:lines><t:OrderLine>"
        "<t:article>nut</t:article><t:quantity>1</t:quantity></t:OrderLine></t:lines></t:order>"
    ).decode()
    status, answer = http(text.encode(encoding), CONTENT_TYPE=f'text/xml; charset="{encoding}"')
    assert status == 200
    assert plain(content_of(parsed(answer))[0])["orderResult"]["customer"] == "Ångström"


def test_http_says_what_is_no_message(http: Http) -> None:
    assert http(ADD, CONTENT_TYPE="application/soap+xml")[0] == 415
    assert http(ADD, CONTENT_TYPE="")[0] == 415
    assert http(ADD, CONTENT_TYPE="text/xml; charset=x-nothing")[0] == 500
    assert http(ADD, REQUEST_METHOD="PUT")[0] == 405
    assert http(ADD, PATH_INFO="/there")[0] == 404
    assert http(b" " * 65537)[0] == 413
    assert http(ADD, CONTENT_LENGTH=str(len(ADD) + 5))[0] == 408


def test_the_wsdl_says_where_the_server_is_whoever_asks(http: Http) -> None:
    status, wsdl = http(b"", REQUEST_METHOD="GET", QUERY_STRING="wsdl")
    assert status == 200
    assert b'location="http://198.18.0.11:8000/"' in wsdl
    assert b"evil.example" not in wsdl


@given(
    st.recursive(
        st.text(), lambda inner: st.dictionaries(st.just("a"), inner, min_size=1), max_leaves=3
    )
)
def test_what_is_written_is_read(value: Any) -> None:
    try:
        envelope = written("x", {"value": value})
    except ValueError:
        return  # XML has no word for some characters
    (element,) = content_of(parsed(envelope))
    got = plain(element)["value"]
    assert got == (value or "") or "\r" in str(value)


@given(st.binary())
def test_whatever_comes_is_an_envelope_or_said_to_be_none(body: bytes) -> None:
    with pytest.raises(Malformed):
        parsed(body)


# Operations


def test_each_operation(http: Http) -> None:
    assert http.call("add", {"first": -2, "second": 3}) == "1"
    articles = http.call("catalogue", {})["Article"]
    assert {article["name"] for article in articles} == set(STOCK)
    assert http.call("quote", {"lines": LINES}) == "0.40"
    made = http.call("order", order())
    assert (made["number"], made["total"]) == ("1", "0.40")
    assert http.call("order", order()) == made
    assert http.call("orders", {"after": 0, "limit": 10})["Order"] == made
    assert http.call("orders", {"after": 1, "limit": 10}) == ""


def test_a_typed_fault_has_its_detail(http: Http) -> None:
    told = http.call("order", order(lines={"OrderLine": {"article": "unicorn", "quantity": 1}}))
    assert told.code == "Client.OutOfStock"
    assert (told.kind, told.detail) == ("OutOfStock", {"article": "unicorn", "left": "0"})


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"customer": "bob"}, "Client.KeyReused"),
        ({"key": ""}, "Client.SchemaValidationError"),
        ({"key": "a b"}, "Client.SchemaValidationError"),
        ({"lines": {}}, "Client.Lines"),
        (bought(*[("bolt", 1)] * 51), "Client.Lines"),
        (bought(("car", 1)), "Client.SchemaValidationError"),
        (bought(("nut", 0)), "Client.SchemaValidationError"),
    ],
)
def test_an_order_that_is_refused_changes_nothing(
    http: Http, wrong: dict[str, Any], code: str
) -> None:
    http.call("order", order())
    told = http.call("order", order(**wrong))
    assert isinstance(told, FaultTold)
    assert told.code == code
    assert http.call("orders", {"after": 1, "limit": 10}) == ""
    assert http.errors() == []


def test_a_full_ledger_is_a_fault_of_the_servers(http: Http) -> None:
    for number in range(10):
        http.call("order", order(key=str(number)))
    assert http.call("order", order(key="more")).code == "Server.NoRoom"


# Claims, and what a person types

ASKED = {"key": "k", "customer": "al", "lines": LINES["OrderLine"]}
KEPT = {**ASKED, "number": 1, "total": "0.40"}


def told(outcome: str, result: Any = None, f: str = "order", value: Any = ASKED) -> list[Any]:
    fixed = {"op": "1", "f": f, "node": "n1", "t": 1.0}
    result = value if result is None else result
    return [
        {"event": "invoke", "value": value, **fixed},
        {"event": outcome, "value": result, **fixed},
    ]


def test_orders_are_held_against_the_shops_list() -> None:
    assert orders_are_true(told("ok", KEPT), [KEPT]).holds
    assert orders_are_true(told("ok", KEPT), []).holds is False
    assert orders_are_true(told("ok", KEPT), [KEPT, {**KEPT, "number": 2}]).holds is False
    assert orders_are_true(told("fail"), [KEPT]).holds is False
    assert orders_are_true(told("unknown"), [KEPT]).holds is None


@pytest.mark.parametrize(
    ("f", "value", "right", "wrong"),
    [
        ("add", {"first": 2, "second": 3}, 5, 6),
        ("quote", {"lines": LINES}, "0.40", "0.41"),
        ("order", ASKED, KEPT, {**KEPT, "total": "4.00"}),
    ],
)
def test_answers_are_checked(f: str, value: Any, right: Any, wrong: Any) -> None:
    assert answers_are_right(told("ok", right, f, value)).holds
    assert answers_are_right(told("ok", wrong, f, value)).holds is False
    assert answers_are_right([]).holds is None


def test_money_is_decimal() -> None:
    assert price([{"article": "bolt", "quantity": 3}]) == Decimal("0.30")


@pytest.mark.parametrize("words", [["add", "1"], ["add", "1", "x"], ["orders"], []])
def test_only_sums_are_repeated(words: list[str]) -> None:
    with pytest.raises(Misspelt):
        operands(words)


def test_it_says_which_python_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (Path("apps/soap/library.py")).read_text().split("with warnings")[0]
    monkeypatch.setattr(
        "sys.version_info", type("Version", (tuple,), {"major": 3, "minor": 12})((3, 12))
    )
    run: Callable[[str, dict[str, Any]], None] = exec
    with pytest.raises(ImportError, match=r"Python 3\.11"):
        run(code, {"__name__": "library"})

"""The server: envelopes by HTTP POST to spyne, as `apps.kit.wsgi` serves it, and WSDL at `?wsdl`.

Each message is read and checked before spyne sees it: spyne follows references between elements,
and ends in an exception where a body is empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.message import Message
from http import HTTPStatus
from pathlib import Path

from lxml import etree

from apps.kit.events import Events
from apps.kit.ledger import Ledger
from apps.kit.wsgi import Body, Serving, Wsgi
from apps.kit.wsgi_front import (
    Environ,
    StartResponse,
    Unfit,
    body_of,
    respond,
    traced,
    with_body,
)
from apps.soap.envelope import XML, Malformed, content_of, fault, fault_of, parsed
from apps.soap.library import WsgiApplication
from apps.soap.service import application
from apps.soap.shop import STOCK, Shop

_TYPE = f"{XML}; charset=utf-8"


class Operations:
    """The operations over one ledger, over HTTP."""

    def __init__(self, ledger: Path, most: int, events: Events, serving: Serving) -> None:
        """ValueError if the ledger cannot be used: said once, before any worker tries.

        The WSDL says that the service is where it listens.
        """
        Ledger(ledger, STOCK, most).close()
        self._path = ledger
        self._most = most
        self._events = events
        self._address = serving.listen
        self._body_limit = serving.body_limit
        self._ledger: Ledger
        self._spyne: WsgiApplication

    def open(self) -> Wsgi:
        """Open the ledger and give the application; each worker does so for itself."""
        self._ledger = Ledger(self._path, STOCK, self._most)
        self._spyne = WsgiApplication(
            application(Shop(self._ledger), self._failed), max_content_length=2 * self._body_limit
        )
        # Else the first request's Host header would say where the service is, for good.
        self._spyne.doc.wsdl11.build_interface_document(f"http://{self._address}/")
        return traced(self._serve, self._events)

    def close(self) -> None:
        """Close what `open` opened."""
        self._ledger.close()

    def probe(self) -> int:
        """Ask the ledger."""
        return self._ledger.count()

    def complain(self, status: HTTPStatus, detail: str) -> Body:
        """Say it in a fault."""
        code = "Client" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "Server"
        return Body(_TYPE, fault(code, detail))

    def _serve(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            if environ.get("PATH_INFO", "/") not in {"", "/"}:
                raise Unfit(HTTPStatus.NOT_FOUND, "nothing is here; calls go to /, WSDL is /?wsdl")
            if self._spyne.is_wsdl_request(environ):
                wsdl = self._spyne.doc.wsdl11.get_interface_document()
                return respond(start_response, HTTPStatus.OK, Body(_TYPE, wsdl))
            body = body_of(environ, [XML], self._body_limit)
            envelope = _call_in(body, _charset(environ))
        except Unfit as unfit:
            complaint = self.complain(unfit.status, str(unfit))
            return respond(start_response, unfit.status, complaint, **unfit.headers)
        except Malformed as malformed:
            answer = Body(_TYPE, fault(malformed.code, str(malformed)))
            return respond(start_response, HTTPStatus.INTERNAL_SERVER_ERROR, answer)
        return self._answered(with_body(environ, envelope, XML), start_response)

    def _answered(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        statuses: list[str] = []
        try:
            parts = self._spyne(environ, lambda status, *_: statuses.append(status))
            text = b"".join(parts)
        except Exception as failure:  # whatever spyne trips over, the caller is answered
            self._failed(failure)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return respond(start_response, status, self.complain(status, "the server failed"))
        status = HTTPStatus(int(statuses[-1][:3]))
        return respond(start_response, status, Body(_TYPE, text))

    def _failed(self, failure: Exception) -> None:
        self._events.emit("error", error=repr(failure))


def _call_in(body: bytes, charset: str | None) -> bytes:
    """Give the envelope of a call again, in UTF-8; Malformed."""
    envelope = parsed(body, charset)
    if fault_of(content_of(envelope)[0]):
        raise Malformed("a fault is no call")
    return bytes(etree.tostring(envelope, encoding="UTF-8"))


def _charset(environ: Environ) -> str | None:
    """Give the charset that the request's Content-Type names, if any (RFC 7303, section 3)."""
    header = Message()
    header["Content-Type"] = environ.get("CONTENT_TYPE", "")
    return header.get_content_charset()

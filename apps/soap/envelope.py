"""SOAP 1.1 envelopes: read with bounds and without trust, and written.

A SOAP message has no document type declaration and no processing instruction (section 3), so the
classic attacks on XML parsers have no place in it: entities that expand to gigabytes, or that are
files of the server. References from one element to another (section 5.4.1) could be made to expand
just so, and are refused as well; nobody sends them in document/literal messages.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from lxml import etree

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
SHOP: Final = "urn:distlab:shop"
XML: Final = "text/xml"
DEPTH_MOST = 24
"""Of elements in each other, in a message."""

Element: TypeAlias = Any
"""An element of lxml, which has no types."""


class Malformed(ValueError):
    """A message is none; the text says why, `code` whose fault that is (section 4.4.1)."""

    def __init__(self, why: str, code: str = "Client") -> None:
        """`code` is `Client`, `VersionMismatch` or `MustUnderstand`."""
        super().__init__(why)
        self.code = code


class FaultTold(NamedTuple):
    """A fault, as it came: its code, what it says, and the fields of its detail."""

    code: str
    text: str
    kind: str = ""
    detail: Mapping[str, Any] = {}


def parsed(body: bytes, charset: str | None = None) -> Element:
    """Read an envelope of one call; Malformed."""
    try:
        if charset is not None:
            codecs.lookup(charset)
        parser = etree.XMLParser(
            encoding=charset,
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
            remove_comments=True,
        )
        envelope = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, LookupError, ValueError) as error:
        raise Malformed(f"this is not XML: {error}") from None
    if envelope.getroottree().docinfo.internalDTD is not None:
        raise Malformed("a SOAP message must not have a document type declaration")
    _check(envelope, DEPTH_MOST)
    if envelope.tag != f"{{{SOAP}}}Envelope":
        raise Malformed(f"the envelope must be one of {SOAP}", "VersionMismatch")
    for header in envelope.findall(f"{{{SOAP}}}Header/*"):
        if header.get(f"{{{SOAP}}}mustUnderstand") == "1":
            raise Malformed(f"nobody here understands the header {header.tag}", "MustUnderstand")
    if len(envelope.findall(f"{{{SOAP}}}Body")) != 1 or len(content_of(envelope)) != 1:
        raise Malformed("an envelope must have one Body, and that one call")
    return envelope


def content_of(envelope: Element) -> list[Element]:
    """Give what is in the body of an envelope."""
    return list(envelope.iterfind(f"{{{SOAP}}}Body/*"))


def written(call: str, fields: Mapping[str, Any]) -> bytes:
    """Give the envelope of a call; a list's members stand in it under the name they are given."""
    envelope = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"soap": SOAP, None: SHOP})
    body = etree.SubElement(envelope, f"{{{SOAP}}}Body")
    _fill(etree.SubElement(body, f"{{{SHOP}}}{call}"), fields)
    return bytes(etree.tostring(envelope, xml_declaration=True, encoding="UTF-8"))


def fault(code: str, text: str) -> bytes:
    """Give the envelope of a fault without a detail."""
    envelope = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"soap": SOAP})
    told = etree.SubElement(etree.SubElement(envelope, f"{{{SOAP}}}Body"), f"{{{SOAP}}}Fault")
    etree.SubElement(told, "faultcode").text = f"soap:{code}"
    etree.SubElement(told, "faultstring").text = text
    return bytes(etree.tostring(envelope, xml_declaration=True, encoding="UTF-8"))


def plain(element: Element) -> Any:
    """Give an element's content: a text, or a dict of its children; of repeated ones, a list."""
    if not len(element):
        return element.text or ""
    fields: dict[str, Any] = {}
    for child in element:
        name, value = etree.QName(child).localname, plain(child)
        if name in fields:
            before = fields[name]
            fields[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            fields[name] = value
    return fields


def fault_of(element: Element) -> FaultTold | None:
    """Read a fault, if the element is one."""
    if element.tag != f"{{{SOAP}}}Fault":
        return None
    code = (element.findtext("faultcode") or "").partition(":")[2]
    text = element.findtext("faultstring") or ""
    detail = next(element.iterfind("detail/*"), None)
    if detail is None:
        return FaultTold(code, text)
    fields = plain(detail)
    return FaultTold(
        code, text, etree.QName(detail).localname, fields if isinstance(fields, dict) else {}
    )


def _check(element: Element, most: int) -> None:
    if not isinstance(element.tag, str):
        raise Malformed("a SOAP message must not have processing instructions or entities")
    if most == 0:
        raise Malformed(f"the message is nested more than {DEPTH_MOST} deep")
    if element.get("href") is not None:
        raise Malformed("references between elements are not taken: write what they refer to")
    for child in element:
        _check(child, most - 1)


def _fill(element: Element, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        for member in value if isinstance(value, list) else [value]:
            child = etree.SubElement(element, f"{{{SHOP}}}{name}")
            if isinstance(member, Mapping):
                _fill(child, member)
            else:
                child.text = str(member)

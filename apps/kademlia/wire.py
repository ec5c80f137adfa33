"""What the nodes' datagrams hold, checked to the last byte before anybody acts on it.

The framing is the library's (rpcudp): a byte that tells a request (0) from a response (1), twenty
bytes of id, and MessagePack: `[name, [argument, …]]`, or the result. The requests ping, stun,
store, find_node and find_value are the library's own, and a program that uses nothing but the
library can ask our nodes. Between our nodes there are three more:

    find  ID KEY           ->  [ID, ENTRIES, CONTACTS]  the value, and who is nearer, in one answer
    keep  ID KEY ENTRIES   ->  [BOOL, …]                whether each, or a later one, is kept
    join  ID               ->  True                     I begin anew: hand me what I should keep

An entry is `[name, version, writer, value, seconds that remain, copies]`, a contact
`[id, address, port]`. The library believes whatever arrives: a wrong number of arguments, a key
that is no key, an address that is none, end as an exception in a task that nobody awaits.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import umsgpack
from kademlia.node import Node

from apps.kademlia.core import Entry, Value, remaining
from apps.kit.address import Address

LONGEST = 8192 + 21
"""Bytes of a datagram: rpcudp sends no longer ones."""
LONGEST_NAME = 100
"""Bytes of an entry's name, and of its writer's."""
LONGEST_VALUE = 4096
MOST_CONTACTS = 64
"""In one answer."""
MOST_ENTRIES = 64
LONGEST_LEASE = 7 * 86400.0
_VERSIONS = 1 << 62


class Malformed(ValueError):
    """What came is none of this protocol; the text says why."""


class Request(NamedTuple):
    """Somebody asks."""

    id: bytes
    name: str
    arguments: list[Any]


class Response(NamedTuple):
    """Somebody answers."""

    id: bytes
    result: Any


def encode(message: Request | Response) -> bytes:
    """Give it as a datagram."""
    if isinstance(message, Request):
        body: bytes = umsgpack.packb([message.name, message.arguments])
        return b"\0" + message.id + body
    body = umsgpack.packb(message.result)
    return b"\1" + message.id + body


def decode(datagram: bytes) -> Request | Response:
    """Read a datagram; Malformed."""
    if not 22 <= len(datagram) <= LONGEST:
        raise Malformed(f"it has {len(datagram)} bytes, and 22 to {LONGEST} are a message")
    message_id = datagram[1:21]
    try:
        body = umsgpack.unpackb(datagram[21:])
    except (umsgpack.UnpackException, ValueError, TypeError, OverflowError) as error:
        raise Malformed(f"no MessagePack: {type(error).__name__}") from None
    except RecursionError:
        raise Malformed("it nests too deep") from None
    match datagram[0], body:
        case 0, [str() as name, list() as arguments]:
            return Request(message_id, name, arguments)
        case 1, _:
            return Response(message_id, body)
    raise Malformed("neither a request nor a response")


def identity(value: Any) -> bytes:
    """Read a node's id or a key; Malformed."""
    if not isinstance(value, bytes) or len(value) != 20:
        raise Malformed("an id and a key are 20 bytes")
    return value


def address(host: Any, port: Any) -> Address:
    """Read where a node is; Malformed if no node can be there."""
    try:
        ip = ipaddress.ip_address(host if isinstance(host, str) else "")
    except ValueError:
        raise Malformed(f"no address: {str(host)[:50]!r}") from None
    if ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255":
        raise Malformed(f"{ip} is no host's address")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise Malformed("a port is a number from 1 to 65535")
    return Address(str(ip), port)


def contacts(value: Any) -> list[Node]:
    """Read nodes that a node tells of; Malformed."""
    if not isinstance(value, list) or len(value) > MOST_CONTACTS:
        raise Malformed(f"contacts are a list of {MOST_CONTACTS} at most")
    found = []
    for one in value:
        if not isinstance(one, list) or len(one) != 3:
            raise Malformed("a contact is an id, an address and a port")
        found.append(Node(identity(one[0]), *address(one[1], one[2])))
    return found


def told(nodes: Iterable[Node]) -> list[list[Any]]:
    """Give nodes as `contacts` reads them."""
    return [[node.id, node.ip, node.port] for node in nodes]


def entries(value: Any) -> list[Entry]:
    """Read entries; `expires` is what remains of each lease. Malformed."""
    if not isinstance(value, list) or len(value) > MOST_ENTRIES:
        raise Malformed(f"entries are a list of {MOST_ENTRIES} at most")
    return [_entry(one) for one in value]


def listed(kept: Iterable[Entry], now: float) -> list[list[Any]]:
    """Give entries of this node as `entries` reads them."""
    return [
        [e.name, e.version, e.writer, e.value, e.expires, e.copies]
        for e in (remaining(entry, now) for entry in kept)
    ]


def plain(value: Any) -> Value:
    """Read a value; Malformed if the library cannot store it, or it is too long."""
    match value:
        case bool() | float():
            return value
        case int() if -(1 << 63) <= value < 1 << 64:  # MessagePack has no others
            return value
        case str() if len(_utf8(value)) <= LONGEST_VALUE:
            return value
        case bytes() if len(value) <= LONGEST_VALUE:
            return value
    whole = "a text, bytes, a number of 64 bits, true or false"
    raise Malformed(f"a value is {whole}, and has at most {LONGEST_VALUE} bytes")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Malformed("a text has half of a pair of surrogates") from None


def _entry(one: Any) -> Entry:
    if not isinstance(one, list) or len(one) != 6:
        raise Malformed("an entry has six fields")
    name, version, writer, value, lease, copies = one
    return Entry(
        _name(name),
        _number(version, _VERSIONS),
        _name(writer),
        None if value is None else plain(value),
        _lease(lease),
        _number(copies, MOST_CONTACTS),
    )


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(_utf8(value)) > LONGEST_NAME:
        raise Malformed(f"a name is a text of at most {LONGEST_NAME} bytes")
    return value


def _number(value: Any, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise Malformed(f"no number from 1 to {most}")
    return value


def _lease(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Malformed("a lease is a number of seconds")
    return min(float(value), LONGEST_LEASE)

"""What a client asks of the master: a message, on how many disks, and as which of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from apps.replicated_log.entries import CLIENT_MOST, MESSAGE_MOST, SEQ_MOST, Entry
from apps.replicated_log.stages import Stage

_KNOWN = {"message", "w", "client", "seq"}


class BadRequest(ValueError):
    """What was asked for cannot be; the text says what can."""


class Asked(NamedTuple):
    """An append."""

    entry: Entry
    w: int
    """So many nodes have it on their disks, the master among them, before it is acknowledged."""


def asked(body: Any, nodes: int, stage: Stage) -> Asked:
    """Read a request to append to the log of so many nodes; BadRequest."""
    if not isinstance(body, Mapping) or not isinstance(body.get("message"), str):
        raise BadRequest('send a JSON object with a text: {"message": "…"}')
    if unknown := sorted(set(body) - _KNOWN):
        raise BadRequest(f"{unknown[0]!r:.40} is none of {', '.join(sorted(_KNOWN))}")
    message, client = body["message"], body.get("client", "")
    _text(message, "message", MESSAGE_MOST)
    if not isinstance(client, str):
        raise BadRequest(f"client is a text, not {client!r:.40}")
    _text(client, "client", CLIENT_MOST)
    seq = body.get("seq", 0)
    if ("client" in body) != ("seq" in body) or ("client" in body and not client):
        raise BadRequest("client and seq go together: whose request it is, and which one")
    if type(seq) is not int or not 0 <= seq <= SEQ_MOST:
        raise BadRequest(f"seq is a whole number from 0, not {seq!r:.40}")
    return Asked(Entry(message, client, seq), _concern(body.get("w"), nodes, stage))


def majority(nodes: int) -> int:
    """Give how many of so many nodes are a majority."""
    return nodes // 2 + 1


def _concern(w: Any, nodes: int, stage: Stage) -> int:
    if not stage.chooses:
        if w is not None:
            raise BadRequest(f"in stage {stage.number} a message goes to all nodes: leave out w")
        return nodes
    if w in (None, "majority"):
        return majority(nodes)
    if w == "all":
        return nodes
    if type(w) is int and 1 <= w <= nodes:
        return w
    raise BadRequest(f'w is "majority", "all", or a number from 1 to {nodes}, not {w!r:.40}')


def _text(value: str, what: str, most: int) -> None:
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        raise BadRequest(f"{what} has a lone surrogate, which no UTF-8 can carry") from None
    if length > most:
        raise BadRequest(f"{what} has {length} bytes, the most is {most}")

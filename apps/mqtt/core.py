"""What a receiver must remember of its session, so that its own crash loses and repeats nothing.

The rule for QoS 2 (MQTT 5, section 4.3.3; 3.1.1 has the same): a message that came with a packet
identifier is held and confirmed (PUBREC), and if it comes again it is the same one. When the sender
releases it (PUBREL) it is delivered, forgotten, and that confirmed (PUBCOMP). Section 4.1 counts
what is held among the session's state, which outlives the connection; so it has to outlive the
process, too, or a message that was confirmed and not yet delivered is lost with it.

    PUBLISH m7  ->  hold    -> write -> PUBREC          QoS 2
    PUBLISH m7  ->  (held)           -> PUBREC          again: the PUBREC was lost
    PUBREL  m7  ->  deliver -> write -> PUBCOMP
    PUBREL  m7  ->  (gone)           -> PUBCOMP         again: the PUBCOMP was lost
    PUBLISH m8  ->  deliver -> write -> PUBACK          QoS 1: again is delivered again

An inbox is that state. Each change gives a line, and the shell sends no confirmation before the
line is on the disk; the lines, read again in order, give the inbox that was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

Line = dict[str, Any]
"""A change, as JSON has it."""
LONGEST = 1000
"""Characters of a topic."""
TAIL = 500
"""Deliveries that an inbox can still tell."""


@dataclass(frozen=True, slots=True)
class Message:
    """An application message, as a subscriber gets it or a publisher gives it."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    """As published: keep it for those who subscribe later. As received: it was kept so."""
    again: bool = False
    """It may have been sent before (DUP)."""
    expiry: int | None = None
    """Seconds after which the broker need not deliver it any more (MQTT 5)."""
    properties: tuple[tuple[str, str], ...] = ()
    """The user's own, by name (MQTT 5)."""

    @property
    def id(self) -> str:
        """What its publisher calls it: a property or a member of its JSON; empty if it has none."""
        named = dict(self.properties).get("id")
        if named is None:
            try:
                body = json.loads(self.payload)
            except (ValueError, RecursionError):
                return ""
            named = body.get("id") if isinstance(body, dict) else None
        return named[:200] if isinstance(named, str) else ""

    @property
    def text(self) -> str:
        """Its payload for people."""
        return self.payload.decode(errors="replace")

    def as_json(self) -> Line:
        """Give it as a line has it."""
        return {
            "topic": self.topic,
            "payload": self.payload.hex(),
            "qos": self.qos,
            "retain": self.retain,
            "properties": [list(pair) for pair in self.properties],
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave; KeyError, TypeError or ValueError if it is nothing of ours."""
        properties = tuple((str(name), str(value)) for name, value in line["properties"])
        payload = bytes.fromhex(line["payload"])
        return cls(line["topic"], payload, line["qos"], line["retain"], properties=properties)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that was handed over, and its place among all that were."""

    number: int
    message: Message


def is_topic(text: str) -> bool:
    """Tell whether something can be published there."""
    return _is_name(text) and not set(text) & {"+", "#"}


def is_filter(text: str) -> bool:
    """Tell whether one can subscribe to it: `+` is any level, `#` is all the last ones."""
    *levels, last = text.split("/")
    wild = [level for level in levels if "#" in level] + [last] * ("#" in last and last != "#")
    return _is_name(text) and not wild and all(v == "+" or "+" not in v for v in (*levels, last))


def _is_name(text: str) -> bool:
    return 0 < len(text) <= LONGEST and "\0" not in text and _is_unicode(text)


def _is_unicode(text: str) -> bool:
    """Whether it has an encoding: what a person types may be bytes that are none."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


class Inbox:
    """What is held, and what was delivered."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.held: dict[int, Message] = {}
        self.delivered = 0
        self.tail: list[tuple[int, str]] = []
        """The latest deliveries: number, and the message's id."""

    def hold(self, mid: int, message: Message) -> Line | None:
        """Keep a message of QoS 2 under its packet identifier; None if it is held already.

        Another one under the same identifier means that the sender has forgotten the first.
        """
        message = replace(message, again=False)
        if self.held.get(mid) == message:
            return None
        self.held[mid] = message
        return {"hold": mid, **message.as_json()}

    def deliver(self, message: Message, mid: int | None = None) -> tuple[Delivery, Line]:
        """Hand a message over; with `mid` it was held (QoS 2), and is no longer."""
        if mid is not None:
            self.held.pop(mid, None)
        self.delivered += 1
        self._remember(self.delivered, message.id)
        line = {"deliver": self.delivered, "id": message.id, "mid": mid}
        return Delivery(self.delivered, message), line

    def take(self, line: Mapping[str, Any]) -> None:
        """Repeat a change that was written; KeyError, TypeError or ValueError if it is none."""
        if "hold" in line:
            self.held[int(line["hold"])] = Message.from_json(line)
        elif "deliver" in line:
            self.delivered = int(line["deliver"])
            self._remember(self.delivered, str(line["id"]))
            if line["mid"] is not None:
                self.held.pop(line["mid"], None)
        else:
            raise KeyError("neither hold nor deliver")

    def lines(self) -> Iterable[Line]:
        """Give the fewest lines that make this inbox."""
        for number, id_ in self.tail:
            yield {"deliver": number, "id": id_, "mid": None}
        for mid, message in self.held.items():
            yield {"hold": mid, **message.as_json()}

    def _remember(self, number: int, id_: str) -> None:
        self.tail.append((number, id_))
        if len(self.tail) > TAIL:
            del self.tail[:-TAIL]

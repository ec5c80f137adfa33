"""What is published where, and what a reading is.

readings/<node>/<qos>   a reading: {"id": …, "seq": …, "value": …}
jobs/<node>             work for one of a group
state/<client>          online or offline, retained; offline is also each client's will
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

from apps.kit.outcome import CallFailed
from apps.mqtt.core import Message
from apps.mqtt.session import Session
from apps.mqtt.wire import Terms

READINGS = "readings/#"
JOBS = "jobs/#"
STATES = "state/#"
ONLINE = b"online"
OFFLINE = b"offline"
_PATIENCE = 1.0


def shared(group: str, name: str) -> str:
    """Give the filter by which a group shares a subscription: each message goes to one of it."""
    return f"$share/{group}/{name}"


def present(terms: Terms) -> Terms:
    """Have a client's state said: by itself when it is there, by its will when it is cut off."""
    topic = f"state/{terms.client_id}"
    return replace(
        terms,
        will=Message(topic, OFFLINE, qos=1, retain=True),
        birth=Message(topic, ONLINE, qos=1, retain=True),
    )


async def leave(session: Session) -> None:
    """Say goodbye in good order: then the broker publishes no will, and the client has to."""
    will = session.terms.will
    if session.up and will is not None:
        with contextlib.suppress(CallFailed):
            await session.publish(will, _PATIENCE)


def client_of(topic: str) -> str | None:
    """Give the client whose state stands there, if one's does."""
    return topic.removeprefix("state/") if topic.startswith("state/") else None


def reading(
    topic: str, id_: str, seq: int, value: float, qos: int, *, size: int = 0, retain: bool = False
) -> Message:
    """Make a reading of at least `size` bytes."""
    body = {"id": id_, "seq": seq, "value": round(value, 2)}
    text = json.dumps(body, separators=(",", ":"))
    return Message(topic, text.ljust(size).encode(), qos, retain)

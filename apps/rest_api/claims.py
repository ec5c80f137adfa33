"""What the resource promises, judged over a history of operations and what is there at the end.

Items have a chain of versions, and each change names the version that it was made from. So an item
at the end is either what an acknowledged write made, or what a write of unknown outcome would have
made; and no version is below an acknowledged one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

from apps.kit.claims import Event, Finding, History
from apps.kit.faults import injections
from apps.rest_api.core import Content, with_defaults

Item: TypeAlias = Mapping[str, Any]
_CHANGES = {"replace", "patch"}


@dataclass(slots=True)
class _Life:
    """What a history says of one item."""

    acknowledged: dict[int, Event] = field(default_factory=dict)
    """By the version that the write made."""
    possible: dict[int, list[Content]] = field(default_factory=lambda: defaultdict(list))
    """What changes of unknown outcome would have made, by version."""
    deleted: Event | None = None
    deletion_unknown: bool = False


def acknowledged_writes_survive(history: History, final: Iterable[Item]) -> Finding:
    """Every acknowledged write is there at the end, or a later one on top of it."""
    lives = _lives(history)
    there = {item["id"]: item for item in final}
    acknowledged = sum(len(life.acknowledged) + bool(life.deleted) for life in lives.values())
    unknown = sum(map(len, (made for life in lives.values() for made in life.possible.values())))
    if not acknowledged:
        return Finding(None, "no write was acknowledged")
    for item_id, life in lives.items():
        fault = _fault(life, there.get(item_id))
        if fault:
            shown = (*life.acknowledged.values(), *([life.deleted] if life.deleted else []))
            return Finding(False, f"item {item_id} {fault}", shown[-3:])
    told = f"{acknowledged} acknowledged writes of {len(lives)} items are there at the end"
    return Finding(True, f"{told}; {unknown} of unknown outcome may be")


def keys_create_once(history: History, final: Iterable[Item]) -> Finding:
    """All answers to one idempotency key name one item, and at most one is there at the end.

    An item shows its key in the label `key`, as those of the load do.
    """
    sent: dict[str, int] = defaultdict(int)
    made: dict[str, Event] = {}
    for event in history:
        if event.get("f") != "create":
            continue
        key = event["key"]
        if event["event"] == "invoke":
            sent[key] += 1
        elif event["event"] == "ok":
            first = made.setdefault(key, event)
            if first["value"]["id"] != event["value"]["id"]:
                return Finding(False, f"key {key} created two items", (first, event))
    for item in created_again(item for item in final if item["labels"].get("key") in sent):
        return Finding(False, f"item {item['id']} is a second one of its key: {item['labels']}")
    again = sum(times > 1 for times in sent.values())
    if not again:
        return Finding(None, "no key was sent twice")
    return Finding(True, f"{again} of {len(sent)} keys were sent again, and each made one item")


def nothing_is_served_while_away(history: History) -> Finding:
    """Shown if clients asked while the only server was cut off, and nobody was answered.

    The first and the last moments of a partition do not count: it comes and goes host by host.
    """
    events = list(history)
    ends = {event["id"]: event["t"] for event in events if event["event"] == "heal"}
    for cut in injections(events, "partition"):
        began, healed = cut["t"], ends.get(cut["id"], cut["t"])
        served = sorted(e["t"] for e in events if e["event"] == "ok" and began < e["t"] < healed)
        since, until = max(pairwise([began, *served, healed]), key=lambda gap: gap[1] - gap[0])
        asked = [e for e in events if e["event"] == "invoke" and since < e["t"] < until]
        if asked and until - since > (healed - began) / 2:
            told = f"for {until - since:.1f} s, in which {len(asked)} operations were begun"
            return Finding(True, told, (cut, *asked[:2]))
    return Finding(None, "no partition kept all clients from the server while they asked")


def unanswered(history: History) -> list[Event]:
    """Give the operations (their `invoke`) that nobody answered, with a yes or a no."""
    asked: dict[str, Event] = {}
    for event in history:
        if event["event"] == "invoke":
            asked[event["op"]] = event
        elif event["event"] == "ok" or event.get("how") == "rejected":
            asked.pop(event["op"], None)
    return list(asked.values())


def created_again(final: Iterable[Item]) -> list[Item]:
    """Give the items of a key that has another one already."""
    holders: dict[str, int] = {}
    return [
        item
        for item in final
        if (key := item["labels"].get("key")) and holders.setdefault(key, item["id"]) != item["id"]
    ]


def every_outcome_known(history: History) -> Finding:
    """Every operation of the clients was answered in the end, however many answers were lost."""
    events = list(history)
    left = unanswered(events)
    done = sum(event["event"] == "invoke" for event in events) - len(left)
    if not done:
        return Finding(None, "no operation was answered")
    sent = {event["id"] for event in events if event["event"] == "send"}
    sent -= {e["id"].removesuffix("/answer") for e in events if e["event"] == "recv"}
    told = f"{done} operations answered, {len(left)} not; {len(sent)} requests got no answer"
    return Finding(not left, told, tuple(left[:3]))


def _lives(history: History) -> dict[int, _Life]:
    lives: dict[int, _Life] = defaultdict(_Life)
    open_changes: dict[str, Event] = {}
    for event in history:
        f, kind = event.get("f"), event["event"]
        if kind == "ok" and f == "create":
            lives[event["value"]["id"]].acknowledged[event["value"]["version"]] = event
        elif f in _CHANGES or f == "delete":
            if kind == "invoke":
                open_changes[event["op"]] = event
            elif kind in {"ok", "fail"}:
                open_changes.pop(event["op"], None)
            if kind == "ok":
                _acknowledge(lives[event["value"]["id"]], event)
    for event in open_changes.values():  # unknown, or the client never said
        life, value = lives[event["value"]["id"]], event["value"]
        if event["f"] == "delete":
            life.deletion_unknown = True
        else:
            life.possible[value["from"] + 1].append(with_defaults(value["content"]))
    return lives


def _acknowledge(life: _Life, event: Event) -> None:
    if event["f"] == "delete":
        life.deleted = event
    else:
        life.acknowledged[event["value"]["version"]] = event


def _fault(life: _Life, found: Item | None) -> str:
    """Say what of an item's life contradicts what was found; nothing if it all agrees."""
    if found is None:
        return "" if life.deleted or life.deletion_unknown else "is gone, and nobody deleted it"
    if life.deleted:
        return "is there, and its deletion was acknowledged"
    version = found["version"]
    latest = max(life.acknowledged, default=0)
    if version < latest:
        return f"is at version {version}, and version {latest} was acknowledged"
    acknowledged = life.acknowledged.get(version)
    if acknowledged is not None:
        same = _content(acknowledged["value"]) == _content(found)
        return "" if same else f"has another content than version {version} was acknowledged with"
    if life.acknowledged and _content(found) not in life.possible[version]:
        return f"is at version {version}, which no write of unknown outcome would have made"
    return ""


def _content(item: Item) -> Content:
    own = {"id", "version", "created", "updated"}
    return {name: value for name, value in item.items() if name not in own}

"""An item is one object to all clients at once: the strongest claim, as a model of the item.

A state is `None` before the item was made, `(version, content)` while it is there, and `GONE` once
it was deleted; ids are never given again. A change names the version that it was made from, so it
is a compare-and-swap. A creation that is repeated with its key is answered as the first time, and
changes nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from apps.kit.checkers.linearizability import linearizable
from apps.kit.checkers.models import Model
from apps.kit.claims import Event, Finding, History
from apps.kit.history import Operation, frozen, operations
from apps.rest_api.core import with_defaults

GONE: Final = "gone"
CHANGES = ("replace", "patch", "delete")
SKEW = 0.01
"""Seconds by which the clocks of clients' hosts may differ."""
_OWN = {"id", "version", "created", "updated"}


class ItemModel(Model):
    """`create`, `get`, `replace`, `patch` and `delete` of one item."""

    def step(self, state: Any, op: Operation) -> tuple[Hashable, ...]:
        """As the module says."""
        match op.f:
            case "get":
                there = None if state == GONE else state
                return (state,) if op.told(there) else ()
            case "create":
                made = (1, op.value)
                return (made if state is None else state,) if op.told(made) else ()
        version, content = op.value
        if state in (None, GONE) or state[0] != version:
            return () if op.outcome == "ok" else (state,)
        if op.f == "delete":
            return (GONE,)
        made = (version + 1, content)
        return (made,) if op.told(made) else ()

    def looks(self, op: Operation) -> bool:
        """A read changes nothing."""
        return op.f == "get"


def items_are_linearizable(history: History) -> Finding:
    """For each item there is an order of all that was done to it that explains every answer.

    Judged are the items whose creation is in the history, for nobody knows what befell the others
    before. A page of a list is a read of each of them that lies on it, or would have to.
    """
    events = list(history)
    ids = _ids(events)
    done = operations(
        events, {f: f for f in ("create", "get", *CHANGES)}, value=_given, result=_state
    )
    named = [replace(op, key=_item_of(op.invoked, ids)) for op in done]
    known = set(ids.values())
    judged = [op for op in named if op.key in known]
    return linearizable([*judged, *_listed(events, known)], ItemModel, skew=SKEW)


def _ids(events: Sequence[Event]) -> Mapping[str, int]:
    """Give the items by the keys of their creations, as any answer showed them.

    A creation without an answer is known by the label `key` of what it made.
    """
    keys = {e["key"] for e in events if e["event"] == "invoke" and e["f"] == "create"}
    ids: dict[str, int] = {}
    for event in events:
        if event["event"] != "ok" or event["value"] is None:
            continue
        if event["f"] == "create":
            ids[event["key"]] = event["value"]["id"]
        found = event["value"].get("items", [event["value"]])
        for item in found:
            key = item.get("labels", {}).get("key")
            if key in keys:
                ids.setdefault(key, item["id"])
    return ids


def _item_of(invoked: Event, ids: Mapping[str, int]) -> int | None:
    if invoked["f"] == "create":
        return ids.get(invoked["key"])
    item_id: int = invoked["value"]["id"]
    return item_id


def _given(invoked: Event) -> Hashable:
    value = invoked["value"]
    match invoked["f"]:
        case "get":
            return None
        case "create":
            return frozen(with_defaults(value))
        case "delete":
            return value["from"], None
    return value["from"], frozen(with_defaults(value["content"]))


def _state(answered: Event) -> Hashable:
    value = answered["value"]
    return None if value is None or "version" not in value else _seen(value)


def _seen(item: Mapping[str, Any]) -> Hashable:
    content = {name: value for name, value in item.items() if name not in _OWN}
    return item["version"], frozen(content)


def _listed(events: Sequence[Event], known: set[int]) -> Iterator[Operation]:
    """Give a read of each known item for each page: a page is what was there at one moment."""
    for page in operations(events, {"list": "get"}):
        if page.outcome != "ok":
            continue
        there = {item["id"]: item for item in page.result["items"]}
        after = int(page.value["path"].partition("after=")[2].partition("&")[0] or 0)
        last = max(there, default=after) if "next" in page.result else max(known, default=after)
        for item_id in sorted(known):
            if after < item_id <= last:
                item = there.get(item_id)
                seen = None if item is None else _seen(item)
                yield replace(page, key=item_id, value=None, result=seen)

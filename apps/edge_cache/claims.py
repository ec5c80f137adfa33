"""What a run of the edges is judged by; of their election, `apps.bully.claims` judges the rest.

Promised, whatever befalls the hosts: what a client gets are the canonical server's bytes; no edge
keeps a write of an earlier epoch than one that it took part in. Promised of a crowd that asks for
one image at once, while the leader stays: the canonical server gave it once. Promised while the
canonical server is off: what is kept is still given, and marked stale.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from apps.bully.claims import TURNS
from apps.kit.claims import Event, Finding, History


def bytes_are_canonical(history: History) -> Finding:
    """Every image that a client got is one that the canonical server served, by its SHA-256.

    An image has one digest for as long as nobody replaces its file, so a history that begins after
    it was fetched lacks the canonical server's word: then all clients must have got the same.
    """
    served: dict[int, set[str]] = {}
    got: dict[int, Event] = {}
    count = 0
    events = list(history)
    for event in events:
        if event["event"] == "served":
            served.setdefault(event["image"], set()).add(event["digest"])
    for event in _images(events):
        image, digest = event["value"]["image"], event["value"]["digest"]
        known = served.get(image)
        first = got.setdefault(image, event)
        if known is not None and digest not in known:
            return Finding(False, f"image {image} is not what the canonical server has", (event,))
        if known is None and first["value"]["digest"] != digest:
            return Finding(False, f"image {image} came as two different ones", (first, event))
        count += 1
    if not count:
        return Finding(None, "no client got an image in this history")
    return Finding(True, f"{count} images, each as the canonical server has it")


def deposed_writes_are_refused(history: History) -> Finding:
    """No edge keeps a write of an earlier epoch than one that it took part in before."""
    latest: dict[str, Event] = {}
    kept = refused = 0
    for event in history:
        if event["event"] == "replica_refused":
            refused += 1
        elif event["event"] in (*TURNS, "replica_kept"):
            before = latest.setdefault(event["node"], event)
            kept += event["event"] == "replica_kept"
            if event["epoch"] < before["epoch"] and event["event"] == "replica_kept":
                text = f"{event['node']} kept a deposed leader's write"
                return Finding(False, text, (before, event))
            if event["epoch"] > before["epoch"]:
                latest[event["node"]] = event
    if not kept + refused:
        return Finding(None, "no edge was written to in this history")
    return Finding(True, f"{kept} writes kept, each of its edge's epoch; {refused} refused")


def one_origin_fetch(
    history: History, image: int, crowd: int, max_age: float = math.inf
) -> Finding:
    """A crowd got an image, and the canonical server was asked for it once.

    Who comes when it is no longer fresh, `max_age` seconds later, has it confirmed (304): that is
    due, and no other fetch.
    """
    events = list(history)
    answered = [event for event in _images(events) if event["value"]["image"] == image]
    served = [e for e in events if e["event"] == "served" and e["image"] == image]
    if len(answered) < crowd:
        return Finding(None, f"only {len(answered)} of {crowd} clients got image {image}")
    if not served:
        return Finding(None, f"image {image} was fresh at the edge already")
    due = sum(
        event["status"] == 304 and event["t"] - before["t"] >= max_age
        for before, event in itertools.pairwise(served)
    )
    count = len(served) - due
    text = f"{len(answered)} clients got image {image}, which was fetched {count} times"
    return Finding(count == 1, text, tuple(served))


def stale_is_served(answers: Iterable[Event]) -> Finding:
    """All these answers to clients are images, marked stale."""
    answers = list(answers)
    for event in answers:
        if event["event"] in ("fail", "unknown"):
            return Finding(False, "an image that was kept was not given", (event,))
        if event["event"] == "ok" and event["value"]["cache"] != "stale":
            return Finding(False, "an image was given as if it were fresh", (event,))
    given = [event for event in answers if event["event"] == "ok"]
    if not given:
        return Finding(None, "nobody asked")
    return Finding(True, f"{len(given)} images were given, and marked stale", tuple(given[:2]))


def every_call_succeeds(history: History) -> Finding:
    """No client was left without what it asked for."""
    ends = [e for e in history if e["event"] in ("ok", "fail", "unknown")]
    failed = [event for event in ends if event["event"] != "ok"]
    if failed:
        return Finding(False, f"{len(failed)} of {len(ends)} calls failed", tuple(failed[:3]))
    if not ends:
        return Finding(None, "nobody asked")
    return Finding(True, f"all {len(ends)} calls succeeded")


def _images(events: Iterable[Event]) -> Iterable[Event]:
    return (e for e in events if e["event"] == "ok" and e.get("f") == "get_image")

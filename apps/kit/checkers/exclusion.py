"""Who may: one holder at a time, one leader of an epoch, and no old token after a new one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from apps.kit.claims import Event, Finding, History
from apps.kit.history import Pick, Which, chooser, frozen, picker


@dataclass(frozen=True, slots=True)
class _Stay:
    """From entering to leaving; who was never seen to leave stayed to the end."""

    enter: Event
    leave: Event | None

    @property
    def end(self) -> float:
        return math.inf if self.leave is None else float(self.leave["t"])

    @property
    def events(self) -> tuple[Event, ...]:
        return (self.enter,) if self.leave is None else (self.enter, self.leave)


def mutual_exclusion(
    history: History,
    *,
    enter: Which = "enter",
    leave: Which = "exit",
    holder: Pick = "node",
    resource: Pick | None = None,
    skew: float = 0.0,
) -> Finding:
    """No two are inside at once (Dijkstra 1965), by the wall clocks of who enters and leaves.

    Two stays overlap if they do so by more than `skew` seconds, by which clocks may differ. `leave`
    may be several events: a crash, the end of a lease. Who enters again has left before. What is
    paused inside is still inside: of leases see `fenced`.
    """
    is_enter, is_leave = chooser(enter), chooser(leave)
    who, what = picker(holder), picker(resource or (lambda _: None))
    stays: defaultdict[Hashable, list[_Stay]] = defaultdict(list)
    inside: dict[tuple[Hashable, Hashable], Event] = {}
    for event in history:
        if not is_enter(event) and not is_leave(event):
            continue
        key = frozen(what(event)), frozen(who(event))
        if key in inside:
            stays[key[0]].append(_Stay(inside.pop(key), event))
        if is_enter(event):
            inside[key] = event
    for (thing, _), event in inside.items():
        stays[thing].append(_Stay(event, None))
    for found in stays.values():
        latest: _Stay | None = None
        for stay in sorted(found, key=lambda one: one.enter["t"]):
            if latest is not None and stay.enter["t"] + skew < min(latest.end, stay.end):
                told = f"{who(stay.enter)} entered while {who(latest.enter)} was inside"
                return Finding(False, told, (*latest.events, *stay.events))
            latest = stay if latest is None or stay.end > latest.end else latest
    count = sum(map(len, stays.values()))
    if not count:
        return Finding(None, "nobody entered")
    return Finding(True, f"{count} stays of {len(set(_holders(stays, who)))}, no two at once")


def fenced(
    history: History,
    *,
    accepted: Which = "accepted",
    fence: Pick = "fence",
    holder: Pick = "holder",
    resource: Pick = "node",
) -> Finding:
    """A resource that took a token takes no lower one, and each token has one holder.

    That is what makes a lock safe whose holder may be paused (Kleppmann, "How to do distributed
    locking", 2016). Tokens are anything with an order; a resource's events are in its own.
    """
    chosen, token, who, what = chooser(accepted), picker(fence), picker(holder), picker(resource)
    highest: dict[Hashable, Event] = {}
    holders: dict[Hashable, Event] = {}
    count = 0
    for event in history:
        if not chosen(event):
            continue
        count += 1
        number = frozen(token(event))
        first = holders.setdefault(number, event)
        if who(first) != who(event):
            told = f"{who(first)} and {who(event)} hold one token, {number}"
            return Finding(False, told, (first, event))
        before = highest.setdefault(frozen(what(event)), event)
        if token(event) < token(before):
            told = f"token {token(event)} was taken after {token(before)}"
            return Finding(False, told, (before, event))
        highest[frozen(what(event))] = event
    if not count:
        return Finding(None, "no token was taken")
    return Finding(True, f"{count} uses of {len(holders)} tokens, each the highest so far")


def single_leader(
    history: History, *, elected: Which = "leader", epoch: Pick = "epoch", leader: Pick = "node"
) -> Finding:
    """No epoch has two leaders: election safety (Ongaro and Ousterhout 2014, figure 3)."""
    chosen, when, who = chooser(elected), picker(epoch), picker(leader)
    first: dict[Hashable, Event] = {}
    for event in history:
        if chosen(event):
            before = first.setdefault(frozen(when(event)), event)
            if who(before) != who(event):
                told = f"epoch {when(event)} has two leaders: {who(before)} and {who(event)}"
                return Finding(False, told, (before, event))
    if not first:
        return Finding(None, "nobody was elected")
    leaders = len({frozen(who(event)) for event in first.values()})
    return Finding(True, f"{len(first)} epochs of {leaders} leaders, one each")


def _holders(stays: dict[Hashable, list[_Stay]], who: Any) -> list[Hashable]:
    return [frozen(who(stay.enter)) for found in stays.values() for stay in found]

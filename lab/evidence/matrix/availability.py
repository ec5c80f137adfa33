"""What clients noticed of a fault, by their operations; the words are those of the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apps.kit.claims import Event, History
from apps.kit.history import operations

FLOOR = 0.25
"""Seconds that nobody minds, however quick all was before."""
TIMES = 2.0
"""How many times as long as before is too long."""


@dataclass(frozen=True, slots=True)
class Availability:
    """What clients noticed."""

    asked: int
    """Operations that were asked, or still open, from the injection on."""
    disturbed: int
    """How many of them were disturbed."""
    unavailable: float
    """The longest time that nobody was served, in seconds; 0 if it was no longer than before."""
    recovered: float | None
    """Seconds from the fault's end until all went as before; None if it did not any more."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """An operation, as far as time goes."""

    start: float
    end: float
    well: bool

    @property
    def lasted(self) -> float:
        return self.end - self.start


def measure(history: History, seconds: float = float("inf")) -> Availability | None:
    """Measure it; None if no operation was asked. A history without a fault is measured whole.

    Operations that were asked later than so many seconds after the injection are no part of the
    workload any more: they only show that it recovered. Without a fault that counts from the first
    one on: units that ask by themselves have something under way whenever one looks.
    """
    events = list(history)
    asked = _asked(events)
    if not asked:
        return None
    injected, _, healed = _fault(events)
    before = [op for op in asked if op.end <= injected]
    since = [op for op in asked if op.end > injected and op.start <= injected + seconds]
    slow = max(FLOOR, TIMES * max((op.lasted for op in before), default=0.0))
    quiet = max(FLOOR, TIMES * _longest_silence(before, min(op.start for op in asked)))
    if injected == -float("inf"):  # nothing to compare with, and nothing to recover from
        last = min(op.start for op in asked) + seconds
        since, slow, quiet = [op for op in asked if op.start <= last], float("inf"), float("inf")
    disturbed = [op for op in since if not op.well or op.lasted > slow]
    silence = _longest_silence(since, injected)
    return Availability(
        asked=len(since),
        disturbed=len(disturbed),
        unavailable=silence if silence > quiet else 0.0,
        recovered=_recovered(asked, disturbed, healed),
    )


def befell(history: History, seconds: float = float("inf")) -> bool:
    """Tell whether a fault had taken before all was over; see `measure` for `seconds`.

    So it is, too, if nothing was asked at all, or there was no fault.
    """
    events = list(history)
    injected, took, _ = _fault(events)
    asked = [op for op in _asked(events) if op.start <= injected + seconds]
    return took == -float("inf") or not asked or any(op.end >= took for op in asked)


def _asked(events: Sequence[Event]) -> list[_Asked]:
    """Give the operations; one whose client ended without an outcome was over at once."""
    return [
        _Asked(op.start, op.completed["t"] if op.completed else op.start, op.outcome == "ok")
        for op in operations(events)
    ]


def _fault(events: Sequence[Event]) -> tuple[float, float, float]:
    """Give when the first fault was injected, when the last had taken, and when all was over."""
    injected = [event for event in events if event["event"] == "inject"]
    never = -float("inf")
    begun = min((event["t"] for event in injected), default=never)
    took = max((event.get("took", event["t"]) for event in injected), default=never)
    healed = [event["t"] for event in events if event["event"] == "heal"]
    return begun, took, max([took, *healed])


def _longest_silence(asked: Sequence[_Asked], began: float) -> float:
    """Give the longest time in which something was asked and nothing ended well."""
    longest, open_since = 0.0, None
    # Each operation's begin and end, in order; of one instant, begins come first.
    moments = sorted(
        [(max(op.start, began), 0, op) for op in asked] + [(op.end, 1, op) for op in asked],
        key=lambda moment: moment[:2],
    )
    open_now = 0
    for t, ends, op in moments:
        if not ends:
            open_now += 1
            open_since = t if open_since is None else open_since
            continue
        open_now -= 1
        if open_since is not None:
            longest = max(longest, t - open_since)
        if op.well:
            open_since = t if open_now else None
    return longest


def _recovered(asked: Sequence[_Asked], disturbed: Sequence[_Asked], healed: float) -> float | None:
    if not disturbed:
        return 0.0
    last = max(op.end for op in disturbed)
    if not any(op.well and op.end >= last for op in asked):
        return None
    return max(0.0, last - healed)

"""What a run of this pattern is judged by: the paper's conditions, over a history.

Promised: the Clock Condition and its vectors' stronger form, and the three conditions of mutual
exclusion (Lamport 1978, "Ordering the Events Totally": I, II, III). A known limit: two events with
C(a) < C(b) of which neither happened before the other.

No claim trusts a wall clock. That one left before another entered means here that a chain of
messages proves it, so the judgement holds for hosts whose clocks differ, too.

Each claim takes a history or a `Causality` made of one; `judge` makes one for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from apps.kit.claims import Finding, History
from apps.kit.faults import injections
from apps.lamport_clock.causality import Causality

Run: TypeAlias = "History | Causality"


def clock_condition(run: Run) -> Finding:
    """C(a) < C(b) wherever a -> b, over restarts of a node too ("Logical Clocks", C1 and C2)."""
    seen = _seen(run)
    steps = [*seen.edges, *_restarts(seen)]
    for a, b in steps:
        if seen.events[a]["lamport"] >= seen.events[b]["lamport"]:
            text = "the number does not grow from an event to one that it led to"
            return Finding(False, text, seen.witness(a, b))
    if not steps:
        return Finding(None, "no event led to another in this history")
    return Finding(True, f"the number grows along each of {len(steps)} certain steps")


def vector_condition(run: Run) -> Finding:
    """V(a) < V(b) exactly where a -> b: a vector counts its event's true past (Mattern 1989)."""
    seen = _seen(run)
    if not seen.events:
        return Finding(None, "no event with a vector in this history")
    counts = [event["vector"].get(seen.process(i), 0) for i, event in enumerate(seen.events)]
    for a, b in seen.edges:
        if seen.process(a) == seen.process(b) and counts[a] >= counts[b]:
            return Finding(False, "a process does not count its own events", seen.witness(a, b))
    for i, event in enumerate(seen.events):
        past = {process: counts[last] for process, last in seen.past(i).items()}
        if past != event["vector"] and (wrong := _misjudged(seen, counts, i)) is not None:
            text = "the vectors order these two events otherwise than they were"
            return Finding(False, text, seen.witness(wrong, i))
    exact = len(seen.events) - len(seen.uncertain)
    text = f"each of {exact} vectors is exactly its event's past"
    if seen.uncertain:
        text += f", and each of {len(seen.uncertain)} holds what is known of it"
    return Finding(True, text)


def mutual_exclusion(run: Run) -> Finding:
    """Who entered left before the next one entered (condition I)."""
    seen = _seen(run)
    spells = _spells(seen)
    if not spells:
        return Finding(None, "nobody entered in this history")
    for one, next_ in pairwise(spells):
        if not any(end == next_.enter or seen.before(end, next_.enter) for end in one.ends):
            holds = None if next_.enter in seen.uncertain else False
            text = "two were inside, as far as any chain of messages can tell"
            return Finding(holds, text, seen.witness(one.enter, *one.ends[:1], next_.enter))
    return Finding(True, f"{len(spells)} entries, each after the end of the one before")


def granted_in_order(run: Run) -> Finding:
    """The resource is granted in the order of the requests (condition II): the fence grows."""
    seen = _seen(run)
    spells = _spells(seen)
    if not spells:
        return Finding(None, "nobody entered in this history")
    for one, next_ in pairwise(spells):
        if seen.events[one.enter]["fence"] >= seen.events[next_.enter]["fence"]:
            holds = None if seen.uncertain & {one.enter, next_.enter} else False
            text = "a later request was granted before an earlier one"
            return Finding(holds, text, seen.witness(one.enter, next_.enter))
    return Finding(True, f"the fence grew over {len(spells)} entries")


def every_request_granted(run: Run) -> Finding:
    """Every request that was not withdrawn is granted in the end (condition III).

    Of the last life of each node: a crash takes the requests with it. Promised only of a run that
    went on, with every node up and connected, until holds were over and clients answered.
    """
    seen = _seen(run)
    asked = 0
    for lives in seen.lives().values():
        last = [seen.events[i] for i in lives[-1]]
        answered = {e["fence"][0] for e in last if e["event"] in ("enter", "withdraw")}
        requests = [event for event in last if event["event"] == "request"]
        asked += len(requests)
        for event in requests:
            if event["lamport"] not in answered:
                return Finding(False, f"{event['node']} asked and was never granted", (event,))
    if not asked:
        return Finding(None, "nobody asked in this history")
    return Finding(True, f"{asked} requests, each granted or withdrawn")


def concurrent_pairs(run: Run) -> Finding:
    """C(a) < C(b) without a -> b: what a number cannot tell and a vector can (a known limit)."""
    seen = _seen(run)
    for a, b in pairwise(range(len(seen.events))):
        if seen.before(a, b):
            continue
        low, high = sorted((a, b), key=lambda i: int(seen.events[i]["lamport"]))
        if seen.events[low]["lamport"] < seen.events[high]["lamport"]:
            text = "the numbers differ, yet neither event happened before the other"
            return Finding(True, text, seen.witness(low, high))
    return Finding(None, "no two concurrent events with different numbers in this history")


def nobody_enters_while_cut(history: History) -> Finding:
    """Shown if a partition or a lost host kept everyone out until it was healed (a known limit).

    An entry shortly after the cut may still follow from what was heard before it, and healing is
    over on some hosts sooner than on others.
    """
    events = list(history)
    entries = [event for event in events if event["event"] == "enter"]
    ends = {event["id"]: event["t"] for event in events if event["event"] == "heal"}
    told, shown = [], []
    for begun in [e for word in ("partition", "power_off") for e in injections(events, word)]:
        took, healed = begun.get("took", begun["t"]), ends.get(begun["id"])
        if healed is None:
            continue
        moments = [took, *(e["t"] for e in entries if took < e["t"] < healed), healed]
        longest = max(later - sooner for sooner, later in pairwise(moments))
        if longest < (healed - took) / 2:
            return Finding(False, "there were entries, although not all could speak", (begun,))
        told.append(f"for {longest:.1f} s of a {begun['fault']['fault']}")
        shown.append(begun)
    if not told:
        return Finding(None, "nobody was cut off and healed in this history")
    return Finding(True, f"nobody entered {', '.join(told)}", tuple(shown))


def judge(history: History) -> dict[str, Finding]:
    """Judge a history by every promise of the pattern; the result goes from claim to finding."""
    seen = Causality(history)
    promises = (
        clock_condition,
        vector_condition,
        mutual_exclusion,
        granted_in_order,
        every_request_granted,
    )
    return {promise.__name__: promise(seen) for promise in promises}


@dataclass(frozen=True, slots=True)
class _Spell:
    """One stay inside. It was over at each of `ends` at the latest: the exit, a later life."""

    enter: int
    ends: list[int]


def _spells(seen: Causality) -> list[_Spell]:
    """All stays inside, in an order that respects happened-before."""
    return sorted(_unsorted_spells(seen), key=lambda spell: spell.enter)


def _unsorted_spells(seen: Causality) -> Iterator[_Spell]:
    for lives in seen.lives().values():
        for number, life in enumerate(lives):
            later = [line[0] for line in lives[number + 1 :]]
            enter: int | None = None
            for i in life:
                kind = seen.events[i]["event"]
                if kind == "enter":
                    if enter is not None:
                        yield _Spell(enter, later)
                    enter = i
                elif kind == "exit" and enter is not None:
                    yield _Spell(enter, [i, *later])
                    enter = None
            if enter is not None:
                yield _Spell(enter, later)


def _misjudged(seen: Causality, counts: list[int], b: int) -> int | None:
    """Give an event that is in the past of b and not in its vector, or the other way round.

    A history may begin in the middle of a run: a vector may count events from before that. And it
    may lack events: of an uncertain past, the vector may tell more than is known.
    """
    vector, past = seen.events[b]["vector"], seen.past(b)
    for process, line in seen.lines.items():
        last = past.get(process)
        counted = vector.get(process, 0)
        if last is not None and counted < counts[last]:
            return last
        if b in seen.uncertain:
            continue
        if last is not None and counted > counts[last]:
            return last
        if last is None and counted >= counts[line[0]]:
            return line[0]
    return None


def _restarts(seen: Causality) -> list[tuple[int, int]]:
    return [
        (one[-1], next_[0]) for lives in seen.lives().values() for one, next_ in pairwise(lives)
    ]


def _seen(run: Run) -> Causality:
    return run if isinstance(run, Causality) else Causality(run)

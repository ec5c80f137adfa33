"""What pipelines and pools promise, as judged over the events of their rounds.

A round begins (`begun`), and ends when its file is complete and was read back (`finished`). One
that is broken off, by whatever killed its unit, begins again with what its file has (`found`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from apps.kit.checkers import exactly_once
from apps.kit.claims import Event, Finding, History

Work = tuple[str, str, int, int]
"""A round: host, component, first and last number."""


def kept_once(history: History) -> Finding:
    """Of each round that finished, every number was kept once, as the file itself says."""
    items: list[Event] = []
    ends = [*_finished(history)]
    for place, end in enumerate(ends):
        wanted = set(range(end["first"], end["last"] + 1)) - set(end["given_up"])
        fixed = {"node": end["node"], "t": end["t"], "place": place}
        items += [{**fixed, "event": "given", "number": f"{place}:{n}"} for n in sorted(wanted)]
        items += [{**fixed, "event": "kept", "number": f"{place}:{n}"} for n, _ in end["output"]]
    if not items:
        return Finding(None, "no round finished")
    found = exactly_once(items, sent="given", delivered="kept", id_="number")
    places = dict.fromkeys(item["place"] for item in found.witness)
    return Finding(found.holds, found.detail, tuple(ends[place] for place in places))


def squares_are_right(history: History) -> Finding:
    """Every square that was kept is the square of its number."""
    judged = 0
    for end in _finished(history):
        for number, square in end["output"]:
            if square != number * number:
                return Finding(False, f"{number} squared was kept as {square}", (end,))
            judged += 1
    return Finding(True, f"{judged} squares, each right") if judged else _NOTHING


_NOTHING = Finding(None, "nothing was squared")


def lost_work_is_done(history: History) -> Finding:
    """What a stage held when it died, another did, or it was reported as given up.

    Of rounds that finished; one that is still broken off at the end proves nothing.
    """
    lost: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
    losses: list[Event] = []
    for event in history:
        place = (event["node"], event["component"])
        if event["event"] == "lost":
            lost[place].append(event)
        elif event["event"] == "finished" and event["output"] is not None:
            done = {number for number, _ in event["output"]} | set(event["given_up"])
            for loss in lost.pop(place, []):
                undone = {n for n in loss["numbers"] if event["first"] <= n <= event["last"]} - done
                if undone:
                    return Finding(False, f"{sorted(undone)} were never done", (loss, event))
                losses.append(loss)
    if not losses:
        return Finding(None, "no stage died in a round that finished")
    held = sum(len(loss["numbers"]) for loss in losses)
    whys = ", ".join(sorted({f"{loss['stage']}: {loss['why']}" for loss in losses}))
    return Finding(True, f"{len(losses)} died with {held} numbers ({whys})", tuple(losses[:3]))


def stored_work_survives(history: History) -> Finding:
    """What a pipeline said was on the disk is found there when its round begins again."""
    checked = []
    for told, again in _broken_off(history, "pipeline"):
        if again["found"] < told["done"]:
            what = f"{told['done']} squares were on the disk, and {again['found']} found again"
            return Finding(False, what, (told, again))
        checked.append((told, again))
    if not checked:
        return Finding(None, "no round was broken off after a part of it was stored")
    told, again = checked[-1]
    return Finding(
        True,
        f"{len(checked)} broken off; the last went on with {again['found']} of "
        f"{again['last'] - again['first'] + 1} squares",
        (told, again),
    )


def threads_die_together(history: History) -> Finding:
    """A pool that was killed did its round anew, though a part of it had been squared."""
    for told, again in _broken_off(history, "pool"):
        if again["found"] == 0:
            what = f"{told['done']} squares died with their process, and were done again"
            return Finding(True, what, (told, again))
    return Finding(None, "no pool was killed in the middle of a round")


def _broken_off(history: History, component: str) -> Iterable[tuple[Event, Event]]:
    """Yield what was last told of a round before it began again, and that beginning."""
    told: dict[Work, Event] = {}
    for event in history:
        if event["component"] != component or "first" not in event:
            continue
        work = (event["node"], component, event["first"], event["last"])
        if event["event"] == "progress":
            told[work] = event
        elif event["event"] == "finished":
            told.pop(work, None)
        elif event["event"] == "begun" and work in told:
            yield told.pop(work), event


def _finished(history: History) -> Iterable[Event]:
    return (
        event for event in history if event["event"] == "finished" and event["output"] is not None
    )

"""What the way of samples into InfluxDB promises, judged over publishers' accounts and its own.

A publisher numbers its samples from 0 and says of each batch what is known of it: `invoke`, then
`ok` (it is on the collector's disk), `fail` or `unknown`. `stored` is what the database has of a
publisher: how many points it counts, and which numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

from apps.kit.claims import Event, Finding, History


def nothing_lost(history: History) -> Finding:
    """Every sample that was acknowledged is in the database."""
    acknowledged, has = _of(history, "ok"), _stored(history)
    count = 0
    for source, batches in acknowledged.items():
        if source not in has:
            return Finding(None, f"nobody looked for what {source} sent", tuple(batches[:1]))
        there = _numbers(has[source]["has"])
        for event in batches:
            missing = _numbers([event["value"]]) - there
            if missing:
                told = f"{len(missing)} acknowledged samples of {source} are not there"
                return Finding(False, told, (event, has[source]))
        count += len(_numbers(event["value"] for event in batches))
    if not count:
        return Finding(None, "nothing was acknowledged")
    return Finding(
        True, f"{count} samples of {len(acknowledged)} publishers acknowledged, all there"
    )


def counted_once(history: History) -> Finding:
    """The database counts each sample once, and none that nobody sent, however often it came."""
    sent, has = _of(history, "invoke"), _stored(history)
    points = copies = 0
    for source, event in has.items():
        there = _numbers(event["has"])
        asked = [one["value"] for one in sent.get(source, ())]
        if len(there) != event["points"]:
            told = f"{event['points']} points for {len(there)} samples of {source}"
            return Finding(False, told, (event,))
        if made_up := there - _numbers(asked):
            return Finding(False, f"{len(made_up)} samples that {source} never sent", (event,))
        points += event["points"]
        copies += sum(last - first + 1 for first, last in asked) - len(_numbers(asked))
    if not points:
        return Finding(None, "the database has no sample of any publisher")
    twice = f", though {copies} were sent twice" if copies else ""
    return Finding(True, f"{points} points, each sample once{twice}")


def all_arrived(history: History) -> Finding:
    """The database has exactly what was sent: nothing is missing, and nothing is too much."""
    sent, has = _of(history, "invoke"), _stored(history)
    total = 0
    if unseen := sorted(sent.keys() - has.keys()):
        return Finding(None, f"nobody looked for what {unseen[0]} sent")
    for source, event in has.items():
        numbers = _numbers(one["value"] for one in sent.get(source, ()))
        if (there := _numbers(event["has"])) != numbers or event["points"] != len(numbers):
            told = f"{source} sent {len(numbers)} samples, {len(there)} of them are there"
            return Finding(False, told, (event,))
        total += len(numbers)
    if not total:
        return Finding(None, "nothing was sent")
    return Finding(True, f"{total} samples sent by {len(has)} publishers, {total} points counted")


def refusal_is_told(history: History) -> Finding:
    """What finds no room is answered so, and none of it is missing in the end."""
    events = list(history)
    full = [event for event in events if event["event"] == "full"]
    if not full:
        return Finding(None, "there was room all the time")
    lost = nothing_lost(events)
    if lost.holds is False:
        return lost
    batches = sum(int(event.get("batches", 1)) for event in full)
    return Finding(True, f"{batches} batches found no room and were told so", tuple(full[:1]))


def drops_are_counted(summary: Event, points: int, told: int) -> Finding:
    """Of a flood, what the agent took is in the database, and so is the count of what it did not.

    `points` and `told` are the database's numbers of samples, and of samples dropped.
    """
    taken, dropped = summary["taken"], summary["dropped"]
    said = f"{taken} taken and {points} there; {dropped} dropped and {told} told"
    return Finding((taken, dropped) == (points, told), said, (summary,))


def _of(history: History, name: str) -> dict[str, list[Event]]:
    """Give the publishers' events of a name, by source."""
    found: dict[str, list[Event]] = {}
    for event in history:
        if event["event"] == name and event.get("f") == "publish":
            found.setdefault(str(event["source"]), []).append(event)
    return found


def _stored(history: History) -> dict[str, Event]:
    """Give what was last seen in the database, by source."""
    return {str(event["source"]): event for event in history if event["event"] == "stored"}


def _numbers(ranges: Iterable[list[int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}

"""In which order nodes deliver: all in one, each a prefix of the longest, causes before effects.

The definitions are those of Hadzilacos and Toueg ("A Modular Approach to Fault-Tolerant Broadcasts
and Related Problems", 1994). A node's deliveries are in the order in which it wrote them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from apps.kit.causality import Causality
from apps.kit.claims import Event, Finding, History
from apps.kit.history import Pick, Which, chooser, frozen, picker

Deliveries = dict[Hashable, dict[Hashable, Event]]
"""By node, its deliveries by the id of the message, in order; the first of each message."""


def total_order(
    history: History, *, delivered: Which = "deliver", id_: Pick = "id", at: Pick = "node"
) -> Finding:
    """There is one order of all messages that every node's deliveries follow.

    A node may lack some. The order may be one that no single node shows: a before b here, b before
    c there, and c before a elsewhere has none.
    """
    nodes = _deliveries(history, delivered, id_, at)
    count = sum(map(len, nodes.values()))
    if len(nodes) < 2:
        return Finding(None, f"{count} deliveries on {len(nodes)} nodes: nothing to compare")
    cycle = _cycle(nodes)
    if not cycle:
        return Finding(True, f"{count} deliveries on {len(nodes)} nodes, in one order")
    cycle = _two_that_differ(nodes) or cycle
    who = ", ".join(str(node) for node, _, _ in cycle)
    wanted = {(node, message) for node, *two in cycle for message in two}
    shown = tuple(
        event
        for node, found in nodes.items()
        for message, event in found.items()
        if (node, message) in wanted
    )
    return Finding(False, f"no one order has what {who} delivered", shown)


def same_prefix(
    history: History, *, delivered: Which = "deliver", id_: Pick = "id", at: Pick = "node"
) -> Finding:
    """What each node delivered is how the longest begins: total order without gaps."""
    nodes = _deliveries(history, delivered, id_, at)
    logs = {node: list(found) for node, found in nodes.items()}
    if len(logs) < 2:
        return Finding(None, f"{len(logs)} nodes delivered something: nothing to compare")
    longest = max(logs, key=lambda node: len(logs[node]))
    for node, log in logs.items():
        place = _first_difference(log, logs[longest])
        if place is not None:
            told = f"{node} and {longest} differ at place {place}"
            pair = nodes[node][log[place]], nodes[longest][logs[longest][place]]
            return Finding(False, told, pair)
    lengths = ", ".join(f"{node}: {len(log)}" for node, log in logs.items())
    return Finding(True, f"each node's deliveries begin the longest's ({lengths})")


def prefix(
    history: History,
    *,
    read: Which = "read",
    log: Pick = "value",
    of: Sequence[Any] | None = None,
) -> Finding:
    """Every log that was read is how the longest begins; or how `of` does, if it is given.

    Of logs that are read whole; for those that are seen to grow, see `same_prefix`.
    """
    chosen, whole = chooser(read), picker(log)
    reads = [(event, whole(event)) for event in history if chosen(event)]
    if not reads:
        return Finding(None, "no log was read")
    longest = max(reads, key=lambda one: len(one[1]))
    reference = longest[1] if of is None else of
    for event, found in reads:
        place = _first_difference(found, reference)
        if place is not None:
            told = f"a log read on {event['node']} differs at place {place}"
            return Finding(False, told, (event,) if of is not None else (longest[0], event))
    return Finding(True, f"{len(reads)} logs read, each how one of {len(reference)} begins")


def causal(
    history: History,
    *,
    sent: Which = "send",
    received: Which = "recv",
    delivered: Which | None = None,
    id_: Pick = "id",
    process: Pick = "node",
) -> Finding:
    """If sending one message led to sending another, nobody delivers the other first.

    What led to what is told by the order in each process, and by sendings and receipts. `delivered`
    names the deliveries, if they are other events than the receipts; only the first of a message at
    a process counts, and what is lost is not looked for.
    """
    seen = Causality(history, process=process, sent=sent, received=received, id_=id_)
    is_sent, is_delivered = chooser(sent), chooser(received if delivered is None else delivered)
    name = picker(id_)
    sendings = {name(e): place for place, e in enumerate(seen.events) if is_sent(e)}
    count = 0
    for line in seen.lines.values():
        reached: dict[str, tuple[int, int]] = {}  # by process: its last event before a delivered …
        done: set[Hashable] = set()  # … sending, and the delivery
        for place in line:
            event = seen.events[place]
            if not is_delivered(event) or name(event) not in sendings or name(event) in done:
                continue
            done.add(name(event))
            count += 1
            sending = sendings[name(event)]
            last, delivery = reached.get(seen.process(sending), (-1, -1))
            if last >= sending:
                other = sendings[name(seen.events[delivery])]
                told = "a message was delivered after one that it led to"
                return Finding(
                    False, told, seen.witness(*seen.path(sending, other), delivery, place)
                )
            for process_, event_ in seen.past(sending).items():
                before = event_ - (event_ == sending)
                if before > reached.get(process_, (-1, -1))[0]:
                    reached[process_] = (before, place)
    if not count:
        return Finding(None, "nothing that was sent was delivered")
    return Finding(True, f"{count} deliveries, none before what led to it")


def _deliveries(history: History, delivered: Which, id_: Pick, at: Pick) -> Deliveries:
    chosen, name, node = chooser(delivered), picker(id_), picker(at)
    found: defaultdict[Hashable, dict[Hashable, Event]] = defaultdict(dict)
    for event in history:
        if chosen(event):
            found[frozen(node(event))].setdefault(frozen(name(event)), event)
    return dict(found)


def _first_difference(log: Sequence[Any], other: Sequence[Any]) -> int | None:
    for place, (one, two) in enumerate(itertools.zip_longest(log, other, fillvalue=_END)):
        if one is _END:
            return None
        if one != two:
            return place
    return None


_END = object()


def _cycle(nodes: Deliveries) -> list[tuple[Hashable, Hashable, Hashable]]:
    """Give a short circle of (node, its earlier message, its later one); empty if there is none.

    Messages that nothing comes before are taken away until none is left (Kahn 1962), or a rest that
    holds a circle: then the shortest through the rest is looked for from a few of its messages.
    """
    after: defaultdict[Hashable, dict[Hashable, Hashable]] = defaultdict(dict)
    before: defaultdict[Hashable, int] = defaultdict(int)
    for node, found in nodes.items():
        for one, two in itertools.pairwise(found):
            if two not in after[one]:
                after[one][two] = node
                before[two] += 1
    ready = deque(message for message in list(after) if not before[message])
    while ready:
        for following in after.pop(ready.popleft(), {}):
            before[following] -= 1
            if not before[following]:
                ready.append(following)
    rest = [message for message in after if before[message]]
    circles = [_circle_through(message, after) for message in rest[:100]]
    shortest = min((circle for circle in circles if circle), key=len, default=[])
    return _joined(shortest)


def _two_that_differ(nodes: Deliveries) -> list[tuple[Hashable, Hashable, Hashable]]:
    """Give two messages that two nodes have in other orders, as `_cycle` does; empty if none do."""
    places = {node: {m: place for place, m in enumerate(found)} for node, found in nodes.items()}
    for a, b in itertools.combinations(nodes, 2):
        theirs = places[b]
        for one, two in itertools.pairwise(m for m in nodes[a] if m in theirs):
            if theirs[one] > theirs[two]:
                return [(a, one, two), (b, two, one)]
    return []


def _circle_through(
    start: Hashable, after: Mapping[Hashable, Mapping[Hashable, Hashable]]
) -> list[tuple[Hashable, Hashable, Hashable]]:
    came: dict[Hashable, tuple[Hashable, Hashable, Hashable]] = {}
    ahead = deque([start])
    while ahead and start not in came:
        message = ahead.popleft()
        for following, node in after.get(message, {}).items():
            if following not in came:
                came[following] = (node, message, following)
                ahead.append(following)
    path: list[tuple[Hashable, Hashable, Hashable]] = []
    at = start
    while at in came and (not path or at != start):
        path.append(came[at])
        at = came[at][1]
    return path[::-1] if start in came else []


def _joined(
    steps: Iterable[tuple[Hashable, Hashable, Hashable]],
) -> list[tuple[Hashable, Hashable, Hashable]]:
    """Make one step of a node's consecutive ones: its order is transitive."""
    joined: list[tuple[Hashable, Hashable, Hashable]] = []
    for node, one, two in steps:
        if joined and joined[-1][0] == node:
            joined[-1] = (node, joined[-1][1], two)
        else:
            joined.append((node, one, two))
    if len(joined) > 1 and joined[0][0] == joined[-1][0]:
        joined[0] = (joined[0][0], joined.pop()[1], joined[0][2])
    return joined

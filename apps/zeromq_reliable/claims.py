"""What the pirates, Majordomo and Titanic promise, as judged over a history.

A worker's `executed`, Titanic's `accepted`, `dispatched`, `answered` and `closed` carry `call`, the
client's operation that they belong to, so that a client's word is held against what was done.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from apps.kit.checkers import Queue, linearizable
from apps.kit.claims import Event, Finding, History
from apps.kit.faults import injections
from apps.kit.history import Operation, left_out, operations

CALLS = ("ask", "call")
"""What is answered in one breath; Titanic's take several."""


def replies_are_right(history: History) -> Finding:
    """Every reply is the one to what was asked: nobody gets another's, or an older one."""
    events = list(history)
    tickets = {op.result: op for op in _of(events, "store") if op.outcome == "ok"}
    judged = 0
    for op in _of(events, *CALLS, "fetch"):
        asked = tickets.get(op.value) if op.f == "fetch" else op
        if op.outcome != "ok" or asked is None:
            continue
        judged += 1
        if op.result != _reply(asked):
            told = f"{asked.value!r} was asked, and {op.result!r} answered"
            return Finding(False, told, (*asked.events, *op.events))
    if not judged:
        return Finding(None, "nothing was answered")
    return Finding(True, f"{judged} replies, each to what was asked")


def all_are_answered(history: History, fs: Collection[str]) -> Finding:
    """Every operation of these kinds succeeded."""
    found = _of(list(history), *fs)
    for op in found:
        if op.outcome != "ok":
            return Finding(False, f"{op.f} {op.op} was {op.outcome}", op.events)
    if not found:
        return Finding(None, "nothing was asked")
    counts = Counter(op.f for op in found)
    return Finding(True, ", ".join(f"{n} times {f}" for f, n in sorted(counts.items())))


def told_truly(history: History) -> Finding:
    """What failed was not worked, and what was answered was worked at least once.

    A host whose power is cut takes the last second of its journal along.
    """
    events = list(history)
    worked = _executions(events)
    cut = bool(injections(events, "power_off"))
    told: Counter[str] = Counter()
    for op in _of(events, *CALLS):
        told[op.outcome] += 1
        done = worked[op.op]
        if done and op.outcome == "fail":
            return Finding(False, f"{op.op} failed, and was worked", (*op.events, *done))
        if not done and op.outcome == "ok" and not cut:
            if left_out(events):
                return Finding(None, "events were left out, for there were too many", op.events)
            return Finding(False, f"{op.op} was answered, and never worked", op.events)
    if not told["ok"]:
        return Finding(None, "nothing was answered")
    return Finding(True, ", ".join(f"{n} {outcome}" for outcome, n in sorted(told.items())))


def none_is_lost(history: History) -> Finding:
    """Every request that Titanic gave a ticket for was answered, and its client got the reply."""
    events = list(history)
    tickets = {op.result: op for op in _of(events, "store") if op.outcome == "ok"}
    fetched = {op.value: op for op in _of(events, "fetch") if op.outcome == "ok"}
    failed = {op.value: op for op in _of(events, "fetch") if op.outcome != "ok"}
    if not tickets:
        return Finding(None, "no ticket was given")
    for ticket, op in tickets.items():
        if ticket not in fetched:
            tried = failed[ticket].events if ticket in failed else ()
            told = f"{op.op} got the ticket {ticket}, and never a reply"
            return Finding(False, told, (*op.events, *tried))
    lives = sum(event["event"] == "recovered" for event in events)
    found = sum(event["unanswered"] for event in events if event["event"] == "recovered")
    kept = f"; {lives} times Titanic began anew, with {found} unanswered" if lives else ""
    return Finding(True, f"{len(tickets)} tickets, each answered{kept}")


def one_reply_each(history: History) -> Finding:
    """No ticket has two replies: one of the workers' is accepted, every fetch gives that one."""
    answered: dict[str, Event] = {}
    fetched: dict[str, Operation] = {}
    events = list(history)
    for event in events:
        if event["event"] == "answered":
            before = answered.setdefault(event["ticket"], event)
            if before is not event:
                told = f"two replies were accepted for {event['ticket']}"
                return Finding(False, told, (before, event))
    for op in _of(events, "fetch"):
        if op.outcome == "ok":
            first = fetched.setdefault(op.value, op)
            if first.result != op.result:
                told = f"{op.value} was answered in two ways"
                return Finding(False, told, (*first.events, *op.events))
    if not answered:
        return Finding(None, "Titanic had no answer")
    return Finding(True, f"{len(answered)} tickets, one reply each")


def first_come_first_asked(history: History) -> Finding:
    """Titanic first asks for requests in the order in which it accepted them.

    To store is to enqueue, to be dispatched for the first time is to be dequeued, and that history
    linearizes as a queue. Titanic's clock and the clients' must be one, as on local hosts.
    """
    events = list(history)
    if injections(events, "power_off") or injections(events, "clock"):
        return Finding(None, "a journal lost its end, or a clock was turned")
    told = [e for e in events if e.get("f") == "store"]
    seen: set[str] = set()
    for number, event in enumerate(e for e in events if e["event"] == "dispatched"):
        if event["call"] and event["call"] not in seen:
            seen.add(event["call"])
            taken = {**event, "op": f"dispatch-{number}", "f": "dispatch", "value": event["call"]}
            told += [{**taken, "event": "invoke"}, {**taken, "event": "ok"}]
    fs = {"store": "enqueue", "dispatch": "dequeue"}
    queue = operations(
        told, fs, value=lambda e: e["op"] if e["f"] == "store" else None, result="value"
    )
    if not seen:
        return Finding(None, "nothing was dispatched")
    return linearizable(queue, Queue)


def names_are_known(history: History, offered: Collection[str]) -> Finding:
    """The broker finds the services that somebody offers, and no others."""
    found = [op for op in _of(list(history), "find") if op.outcome == "ok"]
    for op in found:
        if op.result != (op.value in offered):
            told = f"{op.value} is {'found' if op.result else 'not found'}"
            return Finding(False, told, op.events)
    if not found:
        return Finding(None, "no service was looked for")
    told = ", ".join(f"{op.value}: {'yes' if op.result else 'no'}" for op in found)
    return Finding(True, told, tuple(e for op in found[:3] for e in op.events))


def worked_twice(history: History) -> Finding:
    """Some request was worked more than once."""
    found = _executions(history)
    twice = {call: done for call, done in found.items() if len(done) > 1}
    if not twice:
        return Finding(None, f"each of {len(found)} requests was worked once")
    more = sum(len(done) - 1 for done in twice.values())
    told = f"{len(twice)} of {len(found)} requests were, {more} times more than needed"
    return Finding(True, told, tuple(next(iter(twice.values())))[:3])


def accepted_twice(history: History) -> Finding:
    """Some request has two tickets, as its client never saw the first."""
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in history:
        if event["event"] == "accepted" and event["call"]:
            found[event["call"]].append(event)
    twice = [done for done in found.values() if len(done) > 1]
    if not twice:
        return Finding(None, f"each of {len(found)} requests has one ticket")
    return Finding(True, f"{len(twice)} of {len(found)} requests have", tuple(twice[0])[:3])


def open_tickets(history: History) -> list[str]:
    """Give the tickets that were given and whose replies nobody fetched yet."""
    events = list(history)
    fetched = {op.value for op in _of(events, "fetch") if op.outcome == "ok"}
    given = [op.result for op in _of(events, "store") if op.outcome == "ok"]
    return [ticket for ticket in given if ticket not in fetched]


def _of(events: Iterable[Event], *fs: str) -> list[Operation]:
    return operations(events, {f: f for f in fs})


def _reply(op: Operation) -> str:
    """Give what the service that was asked must answer."""
    text = str(op.value)
    return text.upper() if op.invoked.get("service") == "upper" else text


def _executions(events: Iterable[Event]) -> defaultdict[str, list[Event]]:
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["event"] == "executed" and event["call"]:
            found[event["call"]].append(event)
    return found

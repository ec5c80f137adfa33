"""What the right server promises, and what each wrong one loses, as judged over a history."""

from __future__ import annotations

from collections.abc import Callable

from apps.kit.claims import Event, Finding, History
from apps.kit.history import operations
from apps.posix_sockets.wrong.short_send import SIZE


def echoes_match(history: History) -> Finding:
    """Every answer is the text that was asked, over whatever kind of socket."""
    answered = unknown = 0
    for op in operations(history, {"echo": "echo"}):
        if op.outcome == "ok":
            answered += 1
            if op.result != op.value:
                return Finding(False, f"asked {op.value!r}, answered {op.result!r}", op.events)
        unknown += op.outcome == "unknown"
    if not answered:
        return Finding(None, "nothing was answered")
    return Finding(True, f"{answered} answers, each its own text; {unknown} outcomes unknown")


def peers_are_borne(history: History, names: set[str]) -> Finding:
    """Every awkward peer of these names saw what it should have seen."""
    seen = operations(history, {"peer": "peer"})
    for op in seen:
        if op.outcome != "ok":
            why = (op.completed or {}).get("error", "no outcome")
            return Finding(False, f"{op.value}: {why}", op.events)
    missing = names - {str(op.value) for op in seen}
    if missing:
        return Finding(None, f"nobody was {', '.join(sorted(missing))}")
    told = "; ".join(f"{op.value}: {op.result}" for op in seen)
    return Finding(True, told)


def all_connected(history: History) -> Finding:
    """Whoever opened many connections at once had an answer over each."""
    found = operations(history, {"many": "many"})
    if not found:
        return Finding(None, "nobody opened many connections")
    for op in found:
        if op.outcome != "ok" or op.result != op.value:
            why = (op.completed or {}).get("error", "no outcome")
            return Finding(False, f"{op.value} connections: {why}", op.events)
    return Finding(True, f"{sum(op.result for op in found)} connections at once, each answered")


def _of(history: History, mistake: str, field: str) -> tuple[list[Event], list[object]]:
    found = [e for e in history if e["event"] == "evidence" and e["mistake"] == mistake]
    told = [event for event in found if field in event]
    return told, [event[field] for event in told]


def one_recv(history: History) -> Finding:
    """Messages were taken together, and apart."""
    events = list(history)
    told, sent = _of(events, "one_recv", "sent")
    took_events, took = _of(events, "one_recv", "took")
    lost = [message for text in sent if isinstance(text, list) for message in text]
    if not lost or not took:
        return Finding(None, "nobody met it")
    wrong = took != lost
    return Finding(wrong, f"sent {lost}, taken for messages: {took}", (*told, *took_events))


def short_send(history: History) -> Finding:
    """Fewer bytes arrived than the sender believes to have sent."""
    told, arrived = _of(history, "short_send", "arrived")
    if not arrived:
        return Finding(None, "nobody met it")
    lost = SIZE - int(str(arrived[0]))
    said = f"{arrived[0]} of {SIZE} bytes arrived; {lost} were lost, and nobody was told"
    return Finding(lost > 0, said, tuple(told))


def blocking_accept(history: History) -> Finding:
    """A client was answered only when somebody else connected."""
    told, alone = _of(history, "blocking_accept", "answered_alone")
    if not alone:
        return Finding(None, "nobody met it")
    shown = not alone[0] and bool(told[0]["answered_when_another_came"])
    said = "a client's question lay there until somebody else connected"
    return Finding(shown, said if shown else "it was answered by itself", tuple(told))


def no_reuseaddr(history: History) -> Finding:
    """The port could not be bound again, though nobody listened at it."""
    told, errors = _of(history, "no_reuseaddr", "error")
    if not errors:
        return Finding(None, "nobody met it")
    shown = errors[0] == "EADDRINUSE" and bool(told[0]["nobody_listens"])
    said = (
        f"to listen again: {errors[0] or 'no error'}; nobody listens: {told[0]['nobody_listens']}"
    )
    return Finding(shown, said, tuple(told))


def byte_order(history: History) -> Finding:
    """A length was understood as another number."""
    events = list(history)
    told, meant = _of(events, "byte_order", "meant")
    heard, understood = _of(events, "byte_order", "understood")
    if not meant or not understood:
        return Finding(None, "nobody met it")
    said = f"a text of {meant[0]} bytes was announced, {understood[0]} bytes were understood"
    return Finding(meant[0] != understood[0], said, (*told, *heard))


LOSES: dict[str, tuple[str, Callable[[History], Finding]]] = {
    "one_recv": ("who takes a recv for a message loses where messages end", one_recv),
    "short_send": ("who does not look at what send took loses the rest", short_send),
    "blocking_accept": (
        "who accepts in the loop and blocks leaves clients waiting",
        blocking_accept,
    ),
    "no_reuseaddr": ("who listens without SO_REUSEADDR cannot be restarted", no_reuseaddr),
    "byte_order": ("who sends his own byte order is misunderstood", byte_order),
}
"""By mistake: what is claimed of it, and the judge."""

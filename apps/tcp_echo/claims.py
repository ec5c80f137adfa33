"""What request/response over TCP promises, judged over a history of calls."""

from __future__ import annotations

from apps.kit.claims import Event, Finding, History
from apps.kit.faults import injections

OUTCOMES = ("ok", "fail", "unknown")


def replies_match(history: History) -> Finding:
    """Every reply carries the text of its own request, and every call has one outcome."""
    invoked: dict[str, Event] = {}
    settled: dict[str, Event] = {}
    answered = 0
    for event in history:
        if event["event"] == "invoke":
            invoked[event["op"]] = event
        elif event["event"] in OUTCOMES:
            asked = invoked.get(event["op"])
            if asked is None or event["op"] in settled:
                return Finding(False, "an outcome without a call of its own", (event,))
            settled[event["op"]] = event
            if event["event"] == "ok":
                answered += 1
                if event["value"] != asked["value"]:
                    return Finding(False, "a reply of another text", (asked, event))
    if not answered:
        return Finding(None, "no call was answered")
    lost = len(invoked) - len(settled)
    told = f"{answered} of {len(invoked)} calls answered, each with its own text"
    return Finding(True, told + (f"; {lost} callers ended without an outcome" if lost else ""))


def no_bytes_cross(history: History) -> Finding:
    """No call is given a text that another call asked, on whatever host."""
    askers: dict[str, Event] = {}
    clients: set[str] = set()
    for event in history:
        if event["event"] == "invoke":
            if event["value"] in askers:
                return Finding(
                    None, "two calls asked the same text", (askers[event["value"]], event)
                )
            askers[event["value"]] = event
        elif event["event"] == "ok":
            asker = askers.get(event["value"])
            if asker is None or asker["op"] != event["op"]:
                witness = (event,) if asker is None else (asker, event)
                return Finding(False, f"{event['node']} got another's bytes", witness)
            clients.add(event["node"])
    if len(clients) < 2:
        return Finding(None, "fewer than two hosts were answered")
    return Finding(True, f"{len(askers)} distinct texts from {len(clients)} hosts at once")


def heard_and_not_answered(history: History) -> Finding:
    """Some request reached the server, and its answer not the client: nobody there can know that.

    The answer to a connection's nth request is the nth frame of the other direction.
    """
    asked: dict[str, Event] = {}
    heard: dict[str, Event] = {}
    answered: set[str] = set()
    for event in history:
        if event["component"] == "client" and event["event"] == "send":
            asked[event["id"]] = event
        elif event["component"] == "client" and event["event"] == "recv":
            way, _, number = event["id"].partition("#")
            server, _, client = way.partition(">")
            answered.add(f"{client}>{server}#{number}")
        elif event["component"] == "server" and event["event"] == "recv":
            heard[event["id"]] = event
    found = [(asked[id_], heard[id_]) for id_ in asked.keys() & heard.keys() - answered]
    if not found:
        return Finding(None, "every request that was heard was answered")
    told = f"{len(found)} requests were heard and not answered, as far as their clients know"
    return Finding(True, told, min(found, key=lambda pair: pair[0]["t"]))


def serves_again(history: History) -> Finding:
    """After its last kill the server said ready again, and answered calls."""
    events = list(history)
    killed = max((e["t"] for e in injections(events, "kill")), default=None)
    if killed is None:
        return Finding(None, "the server was not killed")
    ready = [e for e in events if e["event"] == "ready" and e["t"] > killed]
    if not ready:
        return Finding(False, "the server did not come back")
    failed = [e for e in events if e["event"] in {"fail", "unknown"}]
    after = [e for e in events if e["event"] == "ok" and e["t"] > ready[0]["t"]]
    if not after:
        return Finding(None, "nobody asked after it came back", (ready[0],))
    away = ready[0]["t"] - killed
    told = f"back after {away:.1f} s; {len(failed)} calls failed, {len(after)} then went well"
    return Finding(True, told, (ready[0],))

"""Crowds of clients on several hosts, abuse beside them, and all that can befall their server.

It is killed, paused, cut off, its connections are reset and its packets delayed and lost. Whatever
it is, a client is told what is known of its call: answered, refused, or unknown.
"""

from __future__ import annotations

from collections.abc import Callable

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Running, Workload, outlast
from apps.kit.faults import Fault, Kill, Link, Partition, Pause, Reset
from apps.kit.history import messages, operations
from apps.kit.outcome import Refused, Unknown
from apps.tcp_echo.claims import (
    heard_and_not_answered,
    no_bytes_cross,
    replies_match,
    serves_again,
)

SERVER = "tcp_echo_server"
CLIENT = "tcp_echo_client"
ABUSE = {
    "a line without end": ("head -c 1000000 /dev/zero | tr '\\0' a", "error: frame too long"),
    "bytes that are no UTF-8": ("printf '\\377\\376\\n'", "error: not UTF-8 at byte 0"),
    "half a line": ("printf half", "error: stream ended inside a frame"),
}
"""What is sent, and the complaint that has to come back."""
ANSWERED = 0
"""What a client's command ends with if it got its echo."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server = lab.hosts(SERVER)[0]
    target = f"{server}:{lab.option(server, 'tcp_echo_server_port')}"
    serve_many(lab, target)
    break_under_load(lab, server, target)
    break_and_ask(lab, server, target)
    history = lab.history()
    lab.promised("every reply matches its request", replies_match(history))
    lab.promised("concurrent clients never see each other's bytes", no_bytes_cross(history))
    lab.limit("a call without an answer may have been served", heard_and_not_answered(history))


def play(lab: Lab, seconds: float) -> None:
    """Let crowds ask for so long whatever befalls them; then everybody must be answered again."""
    server = lab.hosts(SERVER)[0]
    target = f"{server}:{lab.option(server, 'tcp_echo_server_port')}"
    amount = ("--for", seconds, "--callers", 4, "--think", 0.1, "--timeout", 2)
    outlast(lab, start_crowds(lab, target, *amount))
    lab.calm()
    answered_again(lab, target)
    history = lab.history()
    lab.promised("every reply matches its request", replies_match(history))
    lab.promised("concurrent clients never see each other's bytes", no_bytes_cross(history))
    lab.figure("lost", sum(op.outcome != "ok" for op in operations(history)))
    lab.figure("duplicated", sum(m.copies for m in messages(history)))


def serve_many(lab: Lab, target: str) -> None:
    """Let crowds ask, with abuse beside them."""
    lab.say("crowds ask from every client host, with garbage and silence beside them")
    crowds = start_crowds(lab, target, "--count", 500, "--callers", 8, "--think", 0.02)
    abused = abuse(lab, target)
    ended = [crowd.wait() for crowd in crowds]
    lab.promised("bad input gets a clear error", abused)
    failed = [e for run in ended for e in run.events if e["event"] in {"fail", "unknown"}]
    lab.promised(
        "other clients are unaffected by it",
        Finding(
            not failed, f"{len(failed)} calls of {len(ended)} crowds failed", tuple(failed[:3])
        ),
    )


def break_under_load(lab: Lab, server: str, target: str) -> None:
    """Reset the connections of crowds, then kill the server under them."""
    crowds = start_crowds(lab, target, "--for", 100, "--callers", 8, "--think", 0.05)
    lab.say("the connections of crowds are reset, and then their server is killed")
    for fault in (Reset(server, tuple(lab.hosts(CLIENT))), Kill(server, SERVER)):
        lab.wait_until(answers(lab), "the crowds are answered")
        lab.inject(fault)
    lab.wait_until(lambda: bool(lab.history(SERVER, "ready")), "the server is back")
    lab.wait_until(answers(lab), "the crowds are answered again")
    for crowd in crowds:
        crowd.stop()
    lab.promised("after kill -9 it serves again", serves_again(lab.history()))


def break_and_ask(lab: Lab, server: str, target: str) -> None:
    """Ask once from every host while the server cannot answer, or only with trouble."""
    cut = Partition("isolate", (server, *lab.hosts(CLIENT)))
    troubles: dict[str, tuple[Fault, int]] = {
        "a call to a paused server is unknown": (Pause(server, SERVER), Unknown.exit_status),
        "a call to a server that is cut off is refused": (cut, Refused.exit_status),
        "an answer that is late is waited for": (Link((server,), delay=0.1, jitter=0.05), ANSWERED),
        "packets that are lost are sent again": (Link((server,), loss=0.1), ANSWERED),
    }
    for claim, (fault, status) in troubles.items():
        with lab.inject(fault):
            lab.promised(claim, ends_so(lab, target, status, claim))
    answered_again(lab, target)


def answered_again(lab: Lab, target: str) -> None:
    """Claim that every host is answered, now that all is well."""
    claim = "afterwards every host is answered"
    lab.promised(claim, ends_so(lab, target, ANSWERED, claim))


def ends_so(lab: Lab, target: str, status: int, text: str) -> Finding:
    """Ask once from every client host, and look whether each client ends with this status."""
    patience = 20 if status == ANSWERED else 1
    asked = [
        lab.start(host, "tcp_echo", "client", target, f"{host}: {text}", "--timeout", patience)
        for host in lab.hosts(CLIENT)
    ]
    ended = [client.wait() for client in asked]
    wrong = [run for run in ended if run.exit_status != status]
    told = ", ".join(f"{run.host}: {run.events[-1]['event']}" for run in ended if run.events)
    return Finding(not wrong, told, tuple(e for run in wrong for e in run.events)[:3])


def answers(lab: Lab) -> Callable[[], bool]:
    """Give whether the server has answered more calls than now."""
    before = len(lab.history(SERVER, "send"))
    return lambda: len(lab.history(SERVER, "send")) > before


def start_crowds(lab: Lab, target: str, *options: object) -> list[Running]:
    """Start a crowd on every client host."""
    return [
        lab.start(host, "tcp_echo", "client", target, *options, "--seed", lab.seed)
        for host in lab.hosts(CLIENT)
    ]


def abuse(lab: Lab, target: str) -> Finding:
    """Send what no client should, with nc, and look at what comes back."""
    host = lab.hosts(CLIENT)[0]
    nc = f"timeout 10 nc -N {target.replace(':', ' ')}"
    silence = lab.start_shell(host, f"sleep 2 | {nc}")
    for what, (sent, complaint) in ABUSE.items():
        said = lab.shell(host, f"{sent} | {nc}").stdout.strip()
        if not said.startswith(complaint):
            return Finding(False, f"{what} was answered with {said[:80]!r}")
    silence.wait()
    return Finding(True, f"{', '.join(ABUSE)}: each was told what is wrong; silence was borne")


WORKLOAD = Workload(play, aims=(SERVER,), immune={"disk": "it keeps nothing on a disk"})

"""Crowds of clients on several hosts, abuse beside them, and a kill -9 in the middle."""

from __future__ import annotations

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Running
from apps.tcp_echo.claims import no_bytes_cross, replies_match, serves_again

ABUSE = {
    "a line without end": ("head -c 1000000 /dev/zero | tr '\\0' a", "error: frame too long"),
    "bytes that are no UTF-8": ("printf '\\377\\376\\n'", "error: not UTF-8 at byte 0"),
    "half a line": ("printf half", "error: stream ended inside a frame"),
}
"""What is sent, and the complaint that has to come back."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server = lab.hosts("tcp_echo_server")[0]
    target = f"{server}:{lab.option(server, 'tcp_echo_server_port')}"

    lab.say("crowds ask from every client host, with garbage and silence beside them")
    crowds = start_crowds(lab, target, "--count", 500, "--callers", 8, "--think", 0.02)
    abused = abuse(lab, target)
    ended = [crowd.wait() for crowd in crowds]
    history = lab.history()
    lab.promised("every reply matches its request", replies_match(history))
    lab.promised("concurrent clients never see each other's bytes", no_bytes_cross(history))
    lab.promised("bad input gets a clear error", abused)
    failed = [e for run in ended for e in run.events if e["event"] in {"fail", "unknown"}]
    lab.promised(
        "other clients are unaffected by it",
        Finding(
            not failed, f"{len(failed)} calls of {len(ended)} crowds failed", tuple(failed[:3])
        ),
    )

    lab.say("the server is killed under load")
    before = len(lab.history("tcp_echo_server", "recv"))
    crowds = start_crowds(lab, target, "--count", 800, "--callers", 8, "--think", 0.05)
    lab.wait_until(
        lambda: len(lab.history("tcp_echo_server", "recv")) > before, "the crowds are answered"
    )
    lab.kill(server, "tcp_echo_server")
    for crowd in crowds:
        crowd.wait()
    lab.promised("after kill -9 it serves again", serves_again(lab.history()))
    lab.promised("… and no reply was mixed up", replies_match(lab.history()))


def start_crowds(lab: Lab, target: str, *options: object) -> list[Running]:
    """Start a crowd on every client host."""
    hosts = lab.hosts("tcp_echo_client")
    return [
        lab.start(host, "tcp_echo", "client", target, *options, "--seed", lab.seed)
        for host in hosts
    ]


def abuse(lab: Lab, target: str) -> Finding:
    """Send what no client should, with nc, and look at what comes back."""
    host = lab.hosts("tcp_echo_client")[0]
    nc = f"timeout 10 nc -N {target.replace(':', ' ')}"
    silence = lab.start_shell(host, f"sleep 2 | {nc}")
    for what, (sent, complaint) in ABUSE.items():
        said = lab.shell(host, f"{sent} | {nc}").stdout.strip()
        if not said.startswith(complaint):
            return Finding(False, f"{what} was answered with {said[:80]!r}")
    silence.wait()
    return Finding(True, f"{', '.join(ABUSE)}: each was told what is wrong; silence was borne")

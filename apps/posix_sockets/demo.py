"""Awkward peers, a thousand connections and a restart for the right server; the wrong ones met.

The wrong ones run on the server's host beside it, and are met from another host.
"""

from __future__ import annotations

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Workload, answered, outlast
from apps.kit.faults import Kill, Link, Pause, Reset
from apps.kit.history import messages, operations
from apps.kit.outcome import Refused, Unknown
from apps.posix_sockets.claims import LOSES, all_connected, echoes_match, peers_are_borne
from apps.posix_sockets.peers import PEERS
from apps.posix_sockets.wrong import NAMES

SERVER = "posix_sockets_server"
CLIENT = "posix_sockets_client"
P = "posix_sockets"
CONNECTIONS = 1000
WRONG_PORT = 4041
"""The first of the ports that the wrong servers listen at."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server = lab.hosts(SERVER)[0]
    target = target_of(lab)
    bear(lab, target)
    be_asked_over_all(lab, server, target)
    break_it(lab, server, target)
    meet_the_wrong(lab, server)
    history = lab.history()
    lab.promised("every answer is the text that was asked", echoes_match(history))
    for claim, judge in LOSES.values():
        lab.limit(claim, judge(history))


def play(lab: Lab, seconds: float) -> None:
    """Let crowds ask over TCP and UDP for so long; then everybody must be answered again."""
    target = target_of(lab)
    amount = ("--for", seconds, "--callers", 3, "--think", 0.1, "--timeout", 2, "--seed", lab.seed)
    crowds = [
        lab.start(host, P, "client", target, *udp, *amount)
        for host in lab.hosts(CLIENT)
        for udp in ((), ("--udp",))
    ]
    outlast(lab, crowds)
    lab.calm()
    answered_again(lab, target)
    history = lab.history()
    lab.promised("every answer is the text that was asked", echoes_match(history))
    lab.figure("lost", sum(op.outcome != "ok" for op in operations(history)))
    lab.figure("duplicated", sum(m.copies for m in messages(history)))


def bear(lab: Lab, target: str) -> None:
    """Let every awkward peer come, with a thousand connections and a silent one beside them."""
    host, *_ = hosts = lab.hosts(CLIENT)
    lab.say(f"{CONNECTIONS} connections at once, silence, and {', '.join(PEERS)}")
    silence = lab.start_shell(host, f"sleep 3 | timeout 10 nc -N {target.replace(':', ' ')}")
    many = lab.start(hosts[-1], P, "many", target, "--connections", CONNECTIONS)
    peers = [lab.start(host, P, "peer", target, name) for name in PEERS]
    for running in (many, *peers, silence):
        running.wait()
    history = lab.history()
    lab.promised("awkward peers are borne", peers_are_borne(history, set(PEERS)))
    lab.promised(f"{CONNECTIONS} connections at once are answered", all_connected(history))


def be_asked_over_all(lab: Lab, server: str, target: str) -> None:
    """Ask over UDP, over TCP, and at the path, which only root may reach."""
    lab.say("the same service over TCP, UDP and a Unix-domain socket")
    host = lab.hosts(CLIENT)[0]
    load = ("--count", 100, "--callers", 2, "--seed", lab.seed)
    for udp in ((), ("--udp",)):
        lab.run(host, P, "client", target, *udp, *load)
    path = lab.option(server, "posix_sockets_server_path")
    sent = r"printf '\0\0\0\1\0\0\0\5hello'"
    place = f"/var/lib/lab-posix-sockets-server/{path}"
    local = lab.shell(server, f"{sent} | sudo -n timeout 10 nc -N -U {place} | tail -c 5")
    told = f"nc -U {path} was answered {local.stdout.strip()!r}"
    lab.promised("the Unix-domain socket answers", Finding(local.stdout.strip() == "hello", told))


def break_it(lab: Lab, server: str, target: str) -> None:
    """Reset the connections of crowds and lose their packets, kill and pause the server."""
    lab.say("connections are reset, packets lost, the server is killed and paused")
    amount = ("--for", 100, "--callers", 4, "--think", 0.05, "--timeout", 2, "--seed", lab.seed)
    crowds = [lab.start(host, P, "client", target, *amount) for host in lab.hosts(CLIENT)]
    for fault in (Reset(server, tuple(lab.hosts(CLIENT))), Kill(server, SERVER)):
        answered(lab, SERVER)
        lab.inject(fault)
    lab.wait_ready(server, SERVER)
    for crowd in crowds:
        crowd.stop()
    host = lab.hosts(CLIENT)[0]
    with lab.inject(Pause(server, SERVER)):
        paused = lab.run(host, P, "client", target, "hello", "--timeout", 1)
    told = Finding(paused.exit_status == Unknown.exit_status, paused.stderr.strip())
    lab.promised("a call to a paused server is unknown", told)
    with lab.inject(Link((server,), loss=0.1)):
        lab.run(host, P, "client", target, "--udp", "--timeout", 10, "over a bad link")
    restart_at_once(lab, server, target)


def restart_at_once(lab: Lab, server: str, target: str) -> None:
    """Stop the server under open connections, ask in vain, and start it: it listens again."""
    host = lab.hosts(CLIENT)[0]
    lab.stop(server, SERVER)
    away = lab.run(host, P, "client", target, "hello", "--timeout", 1)
    told = Finding(away.exit_status == Refused.exit_status, away.stderr.strip())
    lab.promised("without a server, a call is refused", told)
    lab.restart(server, SERVER)
    answered_again(lab, target)


def answered_again(lab: Lab, target: str) -> None:
    """Claim that every host is answered, now that all is well."""
    asked = [
        lab.start(host, P, "client", target, f"{host} is back", "--timeout", 20)
        for host in lab.hosts(CLIENT)
    ]
    ended = [client.wait() for client in asked]
    wrong = [run for run in ended if run.exit_status]
    told = ", ".join(f"{run.host}: {run.events[-1]['event']}" for run in ended if run.events)
    witness = tuple(e for run in wrong for e in run.events)[:3]
    lab.promised("afterwards every host is answered", Finding(not wrong, told, witness))


def meet_the_wrong(lab: Lab, server: str) -> None:
    """Start each wrong program on the server's host, and meet it from another."""
    lab.say(f"the wrong ones: {', '.join(NAMES)}")
    host, address = lab.hosts(CLIENT)[0], lab.address(server)
    met = []
    for port, name in enumerate(NAMES, WRONG_PORT):
        at = f"{address}:{port}"
        met.append(lab.start(server, P, "wrong", name, at))
        met.append(lab.start(host, P, "meet", name, at))
    for running in met:
        running.wait()


def target_of(lab: Lab) -> str:
    """Give the server's address, as its clients take it."""
    server = lab.hosts(SERVER)[0]
    return f"{server}:{lab.option(server, 'posix_sockets_server_port')}"


WORKLOAD = Workload(play, aims=(SERVER,), immune={"disk": "it keeps nothing on a disk"})

"""zeromq on the lab: bare pyzmq and hand-written ZMTP are clients, bad peers harm nobody."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import pytest

from apps.zeromq import zmtp
from apps.zeromq.demo import ABUSE
from lab.hosts.inventory import Inventory

testinfra_hosts = ["ansible://zeromq_sink"]
PYTHON = "/opt/distlab/bin/python"
CLIENT = f"timeout 30 {PYTHON} -m apps.zeromq"
PORTS = {
    "zeromq_server": (5550,),
    "zeromq_broker": (5551, 5552),
    "zeromq_forwarder": (5553, 5554),
    "zeromq_sink": (5555, 5556),
}
BARE_REQUEST = """
import zmq
with zmq.Context() as context, context.socket(zmq.REQ) as socket:
    socket.rcvtimeo = 10_000
    socket.linger = 0
    socket.connect("tcp://{at}")
    socket.send(b"hello")
    print(socket.recv().decode())
"""
BARE_PUBLISHER = """
import time, zmq
with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
    socket.connect("tcp://{at}")
    assert socket.poll(10_000)
    socket.send(b"bare 1 somebody hello")
    time.sleep(0.2)
"""
FLOOD = """
import socket
held = []
for _ in range(300):
    sock = socket.create_connection({at!r})
    sock.sendall(b"\\xff" + bytes(8))
    held.append(sock)
"""


@pytest.fixture
def first(inventory: Inventory) -> Callable[[str], str]:
    """Give the first host of a group."""
    return lambda group: inventory.groups[group][0]


def bare(script: str, **fields: Any) -> str:
    """Give the command that runs a script without a line of ours."""
    return f"timeout 30 {PYTHON} -c {shlex.quote(script.format(**fields))}"


def test_bare_pyzmq_is_a_client(host: Any, first: Callable[[str], str]) -> None:
    server, broker = first("zeromq_server"), first("zeromq_broker")
    assert host.check_output(bare(BARE_REQUEST, at=f"{server}:5550")) == f"{server} hello"
    assert host.check_output(bare(BARE_REQUEST, at=f"{broker}:5551")).endswith(" hello")


def test_bare_pyzmq_is_a_publisher(host: Any, first: Callable[[str], str]) -> None:
    forwarder = first("zeromq_forwarder")
    host.check_output(bare(BARE_PUBLISHER, at=f"{forwarder}:5553"))
    # It has gone; the forwarder keeps its last value for who comes now.
    said = host.check_output(f"{CLIENT} subscribe {forwarder} bare --count 1 --for 20")
    assert said.splitlines()[0] == "bare #1 of somebody: hello"


def test_zmtp_by_hand_is_a_client(host: Any, first: Callable[[str], str]) -> None:
    server = first("zeromq_server")
    sent = zmtp.shell(zmtp.GREETING + zmtp.ready("REQ"), zmtp.message([b"", b"by hand"]), b"")
    answer = host.check_output(f"{sent} | timeout 10 nc {server} 5550 -q 1 | tail -c 10")
    assert answer == f"{server} by hand"


@pytest.mark.parametrize("group", PORTS)
def test_bad_peers_harm_nobody(host: Any, first: Callable[[str], str], group: str) -> None:
    peer, ports = first(group), PORTS[group]
    for port in ports:
        host.check_output(bare(FLOOD, at=(peer, port)))
    sent = "".join(
        f"{zmtp.shell(*bad)} | timeout 3 nc {peer} {port} & " for bad in ABUSE for port in ports
    )
    host.run(f"({sent} wait) > /dev/null")
    assert everything_works(host, first)


def everything_works(host: Any, first: Callable[[str], str]) -> bool:
    """Whether the unit that was at the other end answers, and so do those around it."""
    broker, sink, forwarder = map(first, ("zeromq_broker", "zeromq_sink", "zeromq_forwarder"))
    listen = "--listen $(getent hosts $(hostname) | cut -d' ' -f1)"
    said = host.check_output(
        f"{CLIENT} request {first('zeromq_server')} one && {CLIENT} request {broker}:5551 two && "
        f"{CLIENT} ventilate {sink} {listen} --count 10 && "
        f"{CLIENT} publish {forwarder} three --settle 10"
    )
    return all(word in said for word in ("one", "two", "total 385", "1 published"))


def test_garbage_on_the_back_of_the_broker_gets_no_request(
    host: Any, first: Callable[[str], str]
) -> None:
    """A peer of ZMTP 1 needs no handshake, and what is no ZMTP looks like one to libzmq."""
    broker = first("zeromq_broker")
    script = (
        f"(printf 'GET / HTTP/1.0\\r\\n'; sleep 3) | timeout 5 nc {broker} 5552 & "
        f"{CLIENT} request {broker}:5551 --count 60 --timeout 2; kill %1 2> /dev/null; true"
    )
    assert "60 answered, 0 failed" in host.check_output(f"bash -c {shlex.quote(script)}")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("request {server}:5999 x --timeout 0.5", 3, "refused: "),
        ("request {server} $(head -c 60001 /dev/zero | tr '\\0' x)", 4, "rejected: a text has at"),
        ("ventilate {sink}:5999 --listen 127.0.0.1 --timeout 0.5", 3, "0 of 1 workers came"),
        ("subscribe {server}:5999 --for 0.5", 3, "nothing came in 0.5 s"),
        ("broadcast --listen 127.0.0.1 --timeout 0.5", 3, "0 of 1 subscribers came"),
    ],
)
def test_a_client_ends_with_what_is_known(
    host: Any, first: Callable[[str], str], words: str, status: int, said: str
) -> None:
    words = words.format(server=first("zeromq_server"), sink=first("zeromq_sink"))
    ended = host.run(f"{CLIENT} {words}")
    assert (ended.rc, ended.stderr.count("\n")) == (status, 1)
    assert said in ended.stderr


def test_connections_are_events_of_the_journal(host: Any) -> None:
    told = host.check_output("journalctl --unit lab-zeromq-sink --output cat --lines 2000")
    assert '"event":"link"' in told
    assert '"what":"handshake_succeeded"' in told

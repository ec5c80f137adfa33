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
BOUND = {
    "zeromq_server": ((5550,), "request {host} well", "well"),
    "zeromq_broker": ((5551, 5552), "request {host}:5551 well", "well"),
    "zeromq_forwarder": ((5553, 5554), "publish {host} well --settle 10", "1 published"),
    "zeromq_sink": ((5555, 5556), "ventilate {host} --count 10", "total 385"),
}
"""Who is bound where; a client of it, and what that says if all is well."""
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


BY_HAND = """
import socket
with socket.create_connection({at!r}, 20) as sock, sock.makefile("rb") as answers:
    sock.sendall({hello!r})
    had = b""
    while b"READY" not in had:
        had += answers.read1()
    sock.sendall({request!r})
    while {answer!r} not in had:
        had += answers.read1()
    print("answered")
"""
BESIDE_GARBAGE = """
import socket, subprocess
with socket.create_connection({at!r}) as garbage:
    garbage.sendall(b"GET / HTTP/1.0")
    subprocess.run({client!r}, shell=True, check=True)
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
    """No library at all: greeting and READY, a request of two frames, and its answer."""
    server = first("zeromq_server")
    script = bare(
        BY_HAND,
        at=(server, 5550),
        hello=zmtp.GREETING + zmtp.ready("REQ"),
        request=zmtp.message([b"", b"by hand"]),
        answer=zmtp.message([b"", f"{server} by hand".encode()]),
    )
    assert host.check_output(script) == "answered"


@pytest.mark.parametrize("group", BOUND)
def test_bad_peers_harm_nobody(host: Any, first: Callable[[str], str], group: str) -> None:
    peer, (ports, words, answer) = first(group), BOUND[group]
    for port in ports:
        host.check_output(bare(FLOOD, at=(peer, port)))
    sent = "".join(
        f"{zmtp.shell(*bad)} | timeout 1 nc {peer} {port} & " for bad in ABUSE for port in ports
    )
    host.run(f"({sent} wait) > /dev/null")
    assert answer in host.check_output(f"{CLIENT} {words.format(host=peer)}")


def test_garbage_on_the_back_of_the_broker_gets_no_request(
    host: Any, first: Callable[[str], str]
) -> None:
    """A peer of ZMTP 1 needs no handshake, and what is no ZMTP looks like one to libzmq."""
    broker = first("zeromq_broker")
    client = f"{CLIENT} request {broker}:5551 --count 60"
    said = host.check_output(bare(BESIDE_GARBAGE, at=(broker, 5552), client=client))
    assert "60 answered, 0 failed" in said


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

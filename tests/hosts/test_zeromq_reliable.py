"""zeromq_reliable on the lab: bare clients and workers of 7/MDP, strangers, liars, tickets."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from lab.hosts.inventory import Inventory

testinfra_hosts = ["ansible://zeromq_reliable_titanic"]
PYTHON = "/opt/distlab/bin/python"
CLIENT = f"{PYTHON} -m apps.zeromq_reliable"
BARE = """
import sys, zmq
context = zmq.Context()
def socket(kind):
    made = context.socket(kind)
    made.linger = 0
    made.rcvtimeo = made.sndtimeo = 20000
    made.connect("tcp://%s")
    return made
def told(*values):
    print(*values, flush=True)
"""
"""What a script of pyzmq alone begins with."""
MDP_CLIENT = """
request = socket(zmq.REQ)
request.send_multipart([b"MDPC01", b"upper", b"from a", b"bare client"])
told(request.recv_multipart())
dealer = socket(zmq.DEALER)
dealer.send_multipart([b"", b"MDPC01", b"mmi.service", b"upper"])
told(dealer.recv_multipart())
"""
MDP_WORKER = """
worker = socket(zmq.DEALER)
worker.send_multipart([b"", b"MDPW01", b"\\1", b"bare"])
while True:
    empty, header, command, *rest = worker.recv_multipart()
    assert (empty, header) == (b"", b"MDPW01")
    if command == b"\\2":
        client, delimiter, *body = rest
        worker.send_multipart([b"", header, b"\\3", client, delimiter, *body[:-1], b"done"])
    else:
        assert command == b"\\4", command
        worker.send_multipart([b"", header, b"\\4"])
"""
LIAR = """
worker, victim = socket(zmq.DEALER), socket(zmq.DEALER)
worker.send_multipart([b"", b"MDPW01", b"\\1", b"lies"])
victim.send_multipart([b"", b"MDPC01", b"lies", b"hi"])
commands = []
while not commands or commands[-1] != b"\\5":
    empty, header, command, *rest = worker.recv_multipart()
    commands.append(command)
    if command == b"\\2":
        worker.send_multipart([b"", header, b"\\3", b"somebody else", b"", b"lie"])
victim.rcvtimeo = 500
try:
    told("victim was told", victim.recv_multipart())
except zmq.Again:
    told("victim waits on")
"""
STRANGER = """
stranger = socket(zmq.DEALER)
for frames in %s:
    stranger.send_multipart(frames)
stranger.send_multipart([b"", b"MDPW01", b"\\4"])
told(stranger.recv_multipart())
"""


@pytest.fixture
def broker(inventory: Inventory) -> str:
    """The broker's host, where the queue is as well."""
    return inventory.groups["zeromq_reliable_broker"][0]


def bare(host: Any, broker: str, script: str, port: int = 5572) -> Any:
    """Run a script on a host that knows nothing of this project but pyzmq."""
    text = BARE % f"{broker}:{port}" + script
    return host.run(f"cd / && timeout 30 {PYTHON} -Ic {shlex.quote(text)}")


def asked(host: Any, *words: str) -> Any:
    return host.run(f"timeout 40 {CLIENT} {' '.join(words)}")


def served(host: Any, broker: str) -> None:
    """Look whether everybody else is still served."""
    for verb in ("client {}", "call {} echo", "submit {} echo"):
        ended = asked(host, verb.format(broker), "aye")
        assert (ended.rc, ended.stdout) == (0, "aye\n"), ended.stderr


def test_everybody_is_answered(host: Any, broker: str) -> None:
    served(host, broker)
    found = asked(host, "find", broker, "upper", "titanic.close", "tea")
    assert found.stdout == "upper: yes\ntitanic.close: yes\ntea: nobody\n"


def test_a_bare_client_of_the_rfc_is_served(host: Any, broker: str) -> None:
    told = bare(host, broker, MDP_CLIENT)
    assert told.stdout.splitlines() == [
        "[b'MDPC01', b'upper', b'from a', b'BARE CLIENT']",
        "[b'', b'MDPC01', b'mmi.service', b'200']",
    ], told.stderr


def test_a_bare_worker_of_the_rfc_serves(host: Any, broker: str) -> None:
    text = BARE % f"{broker}:5572" + MDP_WORKER
    script = (
        f"timeout 40 {PYTHON} -Ic {shlex.quote(text)} & worker=$!; "
        f"{CLIENT} call {broker} bare hi && {CLIENT} submit {broker} bare hi; "
        "status=$?; kill $worker; exit $status"
    )
    ended = host.run(f"timeout 40 sh -c {shlex.quote(script)}")
    assert (ended.rc, ended.stdout) == (0, "done\ndone\n"), ended.stderr


def test_a_worker_that_lies_is_disconnected(host: Any, broker: str) -> None:
    told = bare(host, broker, LIAR)
    assert told.stdout == "victim waits on\n", told.stderr
    served(host, broker)


@pytest.mark.parametrize(
    "messages",
    [
        '[[b"garbage"], [b""], [b"\\xff" * 60000]]',
        '[[b"", b"MDPW01", b"\\7"], [b"", b"MDPW02", b"\\1", b"echo"], [b"", b"MDPC01"]]',
        '[[b"", b"MDPC01", b"echo", *[b"x" * 60000] * 10], [b""] * 1000]',
        '[[b"", b"MDPC01", b"titanic.request", b"echo"]] * 3',
    ],
    ids=["garbage", "no commands", "oversized", "no request"],
)
def test_strangers_are_refused(host: Any, broker: str, messages: str) -> None:
    """Each is told DISCONNECT in the end, for it never said READY."""
    told = bare(host, broker, STRANGER % messages)
    disconnect = "[b'', b'MDPW01', b'\\x05']"
    assert disconnect in told.stdout or "MDPC01" in told.stdout, told.stderr
    served(host, broker)


@pytest.mark.parametrize("port", [5570, 5571, 5572])
def test_what_is_no_zeromq_harms_nobody(host: Any, broker: str, port: int) -> None:
    for sent in ("head -c 300000 /dev/urandom", r"printf '\377\0\0\0\0\0\0\0\1\177\3\0NULL'"):
        host.run(f"{sent} | timeout 2 nc -N {broker} {port}")
    bare(host, broker, 's = socket(zmq.DEALER)\ns.send(b"x" * 1000000)\ns.send(b"x")\n', port)
    served(host, broker)


def test_words_and_statuses_say_what_is_known(host: Any, broker: str) -> None:
    refused = asked(host, "call", f"{broker}:1", "echo", "hi", "--timeout", "1")
    assert refused.rc == 3
    assert "Nothing was sent" in refused.stderr
    unknown = asked(host, "call", broker, "tea", "hi", "--timeout", "1")
    assert unknown.rc == 5
    assert "may have been done" in unknown.stderr
    for words in (["fetch", broker, "0" * 32], ["call", broker, "'e cho'", "hi"]):
        assert asked(host, *words).rc == 4
    assert asked(host, "call", broker).rc == 2


def test_a_ticket_outlives_broker_and_titanic(host: Any, broker: str, inventory: Inventory) -> None:
    import testinfra

    ended = asked(host, "submit", broker, "upper", "treasure", "--leave")
    ticket = ended.stdout.strip()
    titanic = inventory.groups["zeromq_reliable_titanic"][0]
    for name, unit in ((titanic, "titanic"), (broker, "broker")):
        there = testinfra.get_host(
            f"ansible://{name}", ansible_inventory=host.backend.ansible_runner.inventory_file
        )
        there.check_output(f"systemctl kill --signal=KILL lab-zeromq-reliable-{unit}")
    for _ in range(2):
        assert asked(host, "fetch", broker, ticket).stdout == "TREASURE\n"
    assert asked(host, "close", broker, ticket).rc == 0
    assert asked(host, "fetch", broker, ticket).rc == 4

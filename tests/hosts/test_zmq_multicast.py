"""zmq_multicast on the lab: Debian's bare pyzmq takes part, the probe is right, garbage harmless.

That every subscriber has all of 10,000 messages under loss is a claim of the demo.
"""

from __future__ import annotations

import json
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from apps.kit.faults import Link
from lab.faults.control import Faults
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Output, Remote
from tests.conftest import eventually

PYTHON = "/opt/distlab/bin/python"
CLIENT = f"timeout 30 {PYTHON} -m apps.zmq_multicast"
GROUP, PORT = "239.192.18.1", 5590

BARE = """
import sys, zmq
with zmq.Context() as context, context.socket(zmq.SUB) as sock:
    sock.linger = 0
    sock.subscribe(b"tick ")
    sock.connect(sys.argv[1])
    for _ in range(3):
        print(sock.recv().decode() if sock.poll(10000) else "nothing came")
"""
"""A subscriber that knows nothing of this project, for the system's own Python."""

HOSTILE = (Path(__file__).parent / "hostile_multicast.py").read_text()


@pytest.fixture
def client(inventory: Inventory) -> str:
    """A host on which nobody has the group's port."""
    return inventory.groups["zmq_multicast_client"][0]


@pytest.fixture
def subscribers(inventory: Inventory) -> tuple[str, ...]:
    """The subscribers' hosts."""
    return tuple(inventory.groups["zmq_multicast_subscriber"])


@pytest.fixture
def publisher(inventory: Inventory) -> str:
    """The publisher's host."""
    return inventory.groups["zmq_multicast_publisher"][0]


def own(remote: Remote, host: str) -> str:
    return str(remote.inventory.hosts[host].address)


def script(remote: Remote, host: str, text: str, *arguments: object) -> str:
    """Run a script by the system's Python on a host."""
    words = ["timeout", "30", "/usr/bin/python3", "-c", text, *map(str, arguments)]
    return remote.must(host, shlex.join(words), 40)


def probe(remote: Remote, host: str, *options: str) -> tuple[Output, dict[str, Any]]:
    """Run the probe; give how it ended, and its checks by name."""
    done = remote.run(host, f"{CLIENT} probe --json {shlex.join(options)}", 40)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return done, {event["name"]: event for event in events if event["event"] == "check"}


def lives(remote: Remote, host: str) -> str:
    """Give the main processes of the pattern's units there: no other, if none was started anew."""
    return remote.must(host, "systemctl show --value -p MainPID 'lab-zmq-multicast-*'")


def heard(remote: Remote, host: str, message: str) -> bool:
    """Whether the subscriber of a host was handed a message."""
    asked = "sudo -n journalctl -u lab-zmq-multicast-subscriber -o cat -n 1000"
    return message in remote.must(host, asked)


def test_debians_own_pyzmq_hears_the_publisher(remote: Remote, client: str, publisher: str) -> None:
    said = script(remote, client, BARE, f"epgm://{own(remote, client)};{GROUP}:{PORT}")
    numbers = [
        int(number)
        for number in re.findall(rf"^tick {publisher}/\w+ (\d+) data ", said, re.MULTILINE)
    ]
    assert len(numbers) == 3, said
    assert numbers == list(range(numbers[0], numbers[0] + 3))


def test_this_pattern_alone_has_debians_build(remote: Remote, client: str) -> None:
    asked = "import zmq; print(zmq.has('pgm'), zmq.has('norm'))"
    assert remote.must(client, f'{PYTHON} -c "{asked}"').split() == ["False", "False"]
    ours = f"from apps.zmq_multicast.binding import zmq; {asked}"
    assert remote.must(client, f'{PYTHON} -c "{ours}"').split() == ["True", "True"]


@pytest.mark.parametrize("transport", ["epgm", "norm"])
def test_the_probe_finds_nothing_in_the_way(remote: Remote, client: str, transport: str) -> None:
    done, checks = probe(remote, client, "--transport", transport, "--wait", "10")
    assert done.exit_status == 0, done.stdout
    assert checks["opens"]["ok"]
    assert checks["heard"]["ok"]


@pytest.mark.parametrize(
    ("interface", "why"),
    [
        ("", "without one, libzmq takes what this host's name"),
        ("n1", "goes through DNS"),
        ("203.0.113.7", "libzmq would abort"),
    ],
)
def test_the_probe_says_why_it_would_not_work(
    remote: Remote, client: str, interface: str, why: str
) -> None:
    done, checks = probe(remote, client, "--interface", interface)
    assert done.exit_status == 4
    assert why in checks["interface"]["detail"]


def test_the_probe_sees_that_the_port_is_anothers(
    remote: Remote, subscribers: tuple[str, ...]
) -> None:
    done, checks = probe(remote, subscribers[0])
    assert done.exit_status == 4
    assert "another user of this host has it" in checks["membership"]["detail"]
    done = remote.run(subscribers[0], f"{CLIENT} publish hello", 40)
    assert done.exit_status == 4
    assert "take another host, or another --port" in done.stderr


def test_a_links_loss_is_the_groups_too(
    remote: Remote, faults: Faults, client: str, publisher: str
) -> None:
    with faults.inject(Link((publisher,), loss=1.0), 60):
        _, checks = probe(remote, client, "--wait", "2")
        assert checks["heard"]["ok"] is None, checks
        table = remote.must(publisher, "sudo -n nft list table netdev distlab_faults")
        assert re.search(r"224\.0\.0\.0/3.* counter packets [1-9]", table), table
    _, checks = probe(remote, client, "--wait", "10")
    assert checks["heard"]["ok"], checks


def test_hostile_datagrams_harm_nobody(
    remote: Remote, client: str, publisher: str, subscribers: tuple[str, ...]
) -> None:
    units = (publisher, *subscribers)
    before = {host: lives(remote, host) for host in units}
    others = [own(remote, host) for host in units]
    script(remote, client, HOSTILE, own(remote, client), GROUP, PORT, *others)
    said = remote.must(client, f"{CLIENT} publish --json afterwards", 40)
    stream = re.findall(r'"stream":"([^"]+)"', said)[0]
    for host in subscribers:
        eventually(partial(heard, remote, host, f"{stream}#1"), f"{host} hears")
    assert {host: lives(remote, host) for host in units} == before


def test_nothing_is_routed_beyond_the_lab(remote: Remote, client: str) -> None:
    """What is sent to the group may pass no router; nobody forwards it, either."""
    sniff = (
        "import socket, sys\n"
        "with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as sock:\n"
        "    sock.settimeout(10)\n"
        "    join = socket.inet_aton(sys.argv[1]) + socket.inet_aton(sys.argv[2])\n"
        "    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, join)\n"
        "    while True:\n"
        "        data = sock.recv(2000)\n"
        "        if socket.inet_ntoa(data[16:20]) == sys.argv[1]:\n"
        "            print(data[8])\n"
        "            break\n"
    )
    words = ["sudo", "-n", "timeout", "20", "python3", "-c", sniff, GROUP, own(remote, client)]
    assert remote.must(client, shlex.join(words), 30).strip() == "1"

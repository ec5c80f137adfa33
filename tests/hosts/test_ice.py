"""ice on the lab: an old client and a new server, a call back through a firewall, bad input."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab.hosts.inventory import Inventory

testinfra_hosts = ["ansible://ice_client"]
CLIENT = "/opt/distlab/bin/python -m apps.ice"
V1 = Path(__file__).parent / "greeter_v1"


@pytest.fixture
def server(inventory: Inventory) -> str:
    """The greeter's host, by the name that every host knows."""
    return inventory.groups["ice_server"][0]


def greet(host: Any, server: str, *words: str) -> Any:
    return host.run(f"timeout 30 {CLIENT} client {server} {' '.join(words)}")


def test_a_guest_is_greeted(host: Any, server: str) -> None:
    said = greet(host, server, "Ada", "--language", "de", "--times", "2")
    assert said.rc == 0, said.stderr
    assert said.stdout.startswith("Hallo, Ada! Hallo, Ada!")


def test_a_client_of_the_first_version_is_served(host: Any, server: str, tmp_path: Path) -> None:
    """It is made from the interface's first version here, and run there by the system's Python."""
    source = str(V1 / "greeter.ice")
    subprocess.run(["slice2py", "--output-dir", str(tmp_path), source], check=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(tmp_path, "old")
        tar.add(V1 / "old_client.py", "old/old_client.py")
    text = base64.b64encode(packed.getvalue()).decode()
    home = host.check_output("mktemp -d")
    try:
        host.check_output(f"echo {text} | base64 -d | tar -xz -C {home}")
        call = f"cd {home}/old && timeout 20 python3 old_client.py {server} 4061"
        assert host.check_output(f"{call} Ada") == "Hello, Ada!\nTrue"
        assert host.check_output(f"{call} ''").startswith("unkind: a guest has a name")
    finally:
        host.check_output(f"rm -r {home}")


def test_an_ear_behind_a_firewall_hears(host: Any, server: str, inventory: Inventory) -> None:
    """Its host refuses all connections from the greeter's; it is called over its own."""
    address = inventory.hosts[server].address
    rule = f"ip saddr {address} tcp flags syn / syn,ack drop"
    script = (
        "nft add table inet ear_test && "
        "nft add chain inet ear_test input '{ type filter hook input priority 1; }' && "
        f"nft add rule inet ear_test input {rule}; "
        f"timeout 25 {CLIENT} listen {server} --json --for 20 > /tmp/ear.$$ & "
        'until grep -q \'"event":"ok"\' /tmp/ear.$$; do sleep 0.1; done; '
        f"{CLIENT} client {server} Grace >/dev/null; "
        'until grep -q \'"event":"heard".*Grace\' /tmp/ear.$$; do sleep 0.1; done; '
        "kill %1; cat /tmp/ear.$$; rm /tmp/ear.$$; nft delete table inet ear_test"
    )
    told = host.check_output(f"timeout 25 bash -mc {_quoted(script)}")
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert [e["text"] for e in events if e["event"] == "heard"][-1] == "Hello, Grace!"


def test_words_and_statuses_say_what_is_known(host: Any, server: str) -> None:
    rejected = greet(host, server, "Ada", "--language", "xx")
    assert rejected.rc == 4
    assert "choose de, en" in rejected.stderr
    unknown = greet(host, server, "Ada", "--after", "3000", "--timeout", "1")
    assert unknown.rc == 5
    assert "may have been done" in unknown.stderr
    refused = greet(host, f"{server}:1", "Ada", "--timeout", "1")
    assert refused.rc == 3
    assert greet(host, server, "Ada", "--times", "many").rc == 2


@pytest.mark.parametrize(
    "sent",
    [
        "head -c 300000 /dev/urandom",
        "printf 'IceP\\001\\000\\001\\000\\000\\000\\377\\377\\377\\177'",
        "printf 'IceP\\001\\000\\001\\000\\000\\000\\016\\000\\000\\000'",
        "head -c 100000 /dev/zero",
        "true",
    ],
    ids=["garbage", "too long", "no request", "zeros", "nothing"],
)
def test_bad_input_harms_nobody(host: Any, server: str, sent: str) -> None:
    host.run(f"{sent} | timeout 5 nc -N {server} 4061")
    assert greet(host, server, "Ada").rc == 0


def test_silence_and_a_flood_are_survived(host: Any, server: str) -> None:
    flood = (
        "import socket\n"
        f"held = [socket.create_connection(('{server}', 4061), 10) for _ in range(1500)]\n"
        "for number, one in enumerate(held):\n"
        "    if number % 2:\n"
        "        one.sendall(b'IceP\\x01\\x00\\x01')\n"
        "import subprocess, sys\n"
        "sys.exit(subprocess.run(sys.argv[1:]).returncode)\n"
    )
    command = f"{CLIENT} client {server} Ada"
    done = host.run(f"ulimit -n 4096; timeout 60 python3 -c {_quoted(flood)} {command}")
    assert done.rc == 0, done.stderr
    assert done.stdout.startswith("Hello, Ada!")


def test_an_over_long_name_cannot_be_sent(host: Any, server: str) -> None:
    name = "$(head -c 100000 /dev/zero | tr '\\0' a)"
    assert greet(host, server, name).rc == 4
    assert greet(host, server, "$(head -c 200 /dev/zero | tr '\\0' a)").rc == 4


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"
